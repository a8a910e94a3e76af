import cliProgress from 'cli-progress';
import type { PullReport } from '../models/pull/pull.ts';
import type { SourceFile } from '../models/pull/source.ts';
import { formatBytes, plural } from './format.ts';
import { errorColours as colours, say } from './output.ts';

const FRAMES_PER_SECOND = 10;

/** Shows how far a pull is, on stderr: a bar over all files on a terminal, a line for each file elsewhere. */
export class PullProgress implements PullReport {
  readonly #name: string;
  readonly #stream: NodeJS.WriteStream;
  readonly #here = new Map<string, number>();
  #total: number | null = 0;
  #bar: cliProgress.SingleBar | undefined;

  constructor(name: string, stream: NodeJS.WriteStream = process.stderr) {
    this.#name = name;
    this.#stream = stream;
  }

  plan(files: readonly SourceFile[], bytesHere: number): void {
    if (files.length === 0) return;
    this.#total = files.reduce<number | null>(
      (sum, { bytes }) => (sum === null || bytes === null ? null : sum + bytes),
      0,
    );
    const size = this.#total === null ? '' : `, ${formatBytes(this.#total)}`;
    const before = bytesHere > 0 ? `, ${formatBytes(bytesHere)} of it here already` : '';
    say(`${this.#name}: ${plural(files.length, 'file')}${size}${before}`);
    if (!this.#stream.isTTY || this.#total === null) return;
    this.#bar = new cliProgress.SingleBar({
      format: `  ${colours.cyan('{bar}')} {share}  ${colours.dim('{size}')}`,
      barCompleteChar: '█',
      barIncompleteChar: '░',
      barsize: Math.min(40, Math.max(8, this.#stream.columns - 40)),
      stream: this.#stream,
      clearOnComplete: true,
      fps: FRAMES_PER_SECOND,
      // Ctrl-C ends the process as usual, so the bar must not change settings of the terminal.
      hideCursor: false,
      linewrap: true,
      gracefulExit: false,
    });
    this.#bar.start(this.#total, 0, this.#facts());
  }

  progress(path: string, bytes: number): void {
    this.#here.set(path, bytes);
    this.#bar?.update(this.#sum(), this.#facts());
  }

  done(path: string, bytes: number): void {
    this.progress(path, bytes);
    if (!this.#bar) say(`  ${path}  ${formatBytes(bytes)}`);
  }

  retry(reason: string): void {
    if (!this.#bar) say(`  ${reason}; trying again`);
  }

  /** Takes the bar away. */
  stop(): void {
    this.#bar?.stop();
  }

  #sum(): number {
    return [...this.#here.values()].reduce((sum, bytes) => sum + bytes, 0);
  }

  #facts(): { share: string; size: string } {
    const done = this.#sum();
    const total = this.#total ?? 0;
    return {
      share: `${Math.floor((done / Math.max(1, total)) * 100)} %`.padStart(5),
      size: `${formatBytes(done)} of ${formatBytes(total)}`,
    };
  }
}
