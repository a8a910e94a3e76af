import cliProgress from 'cli-progress';
import { formatCount, formatSeconds } from '../format.ts';
import { errorColours as colours, say } from '../output.ts';

/** How often a line is printed where there is no terminal. */
const LINE_MS = 2_000;
const FRAMES_PER_SECOND = 10;
/** Below this share a rate says little about the time that is left: models are being loaded, batches tried out. */
const SETTLED = 0.05;

/** Shows progress on stderr: a bar on a terminal, a line now and then elsewhere. */
export class Progress {
  readonly #label: string;
  readonly #total: number;
  readonly #before: number;
  readonly #begin = performance.now();
  readonly #bar: cliProgress.SingleBar | undefined;
  #done: number;
  #lineAt: number;

  /** @param done how much was done before, which does not count for the rate */
  constructor(label: string, total: number, done = 0, stream: NodeJS.WriteStream = process.stderr) {
    this.#label = label;
    this.#total = total;
    this.#before = done;
    this.#done = done;
    this.#lineAt = this.#begin + LINE_MS;
    if (!stream.isTTY) return;
    const barsize = Math.min(40, Math.max(8, stream.columns - 78));
    this.#bar = new cliProgress.SingleBar({
      format: `  ${label}  ${colours.cyan('{bar}')} {share}  ${colours.dim('{rest}')}`,
      barCompleteChar: '█',
      barIncompleteChar: '░',
      barsize,
      stream,
      hideCursor: true,
      clearOnComplete: true,
      fps: FRAMES_PER_SECOND,
      // The demo handles Ctrl-C itself.
      gracefulExit: false,
    });
    this.#bar.start(total, done, { share: percent(done, total), rest: '' });
  }

  /** How much is done in all. @param tokensPerRow 0: tokens are not shown */
  update(done: number, tokensPerRow = 0): void {
    this.#done = done;
    const settled = done - this.#before >= SETTLED * (this.#total - this.#before);
    const facts = describe(settled ? this.#total - done : 0, this.rate, tokensPerRow);
    const now = performance.now();
    if (this.#bar) {
      this.#bar.update(done, { share: percent(done, this.#total), rest: facts.join('  ') });
    } else if (now >= this.#lineAt) {
      this.#lineAt = now + LINE_MS;
      say(`${this.#label}: ${formatCount(done)} of ${formatCount(this.#total)} rows, ${facts.join(', ')}`);
    }
  }

  /** Rows a second since it began. */
  get rate(): number {
    return ((this.#done - this.#before) / (performance.now() - this.#begin)) * 1_000;
  }

  get seconds(): number {
    return (performance.now() - this.#begin) / 1_000;
  }

  /** Takes the bar away. */
  stop(): void {
    this.#bar?.stop();
  }
}

function describe(left: number, rate: number, tokensPerRow: number): string[] {
  const parts = [`${formatCount(rate)} rows/s`];
  if (tokensPerRow > 0) parts.push(`${formatCount(rate * tokensPerRow)} tokens/s`);
  if (rate > 0 && left > 0) parts.push(`${formatSeconds(left / rate)} left`);
  return parts;
}

function percent(done: number, total: number): string {
  return `${Math.floor((done / Math.max(1, total)) * 100)} %`.padStart(5);
}
