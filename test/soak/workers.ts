import { type ChildProcess, spawn } from 'node:child_process';
import { once } from 'node:events';
import { createInterface } from 'node:readline';
import { fileURLToPath } from 'node:url';

const ENTRY = fileURLToPath(new URL('./worker.ts', import.meta.url));
/** Windows of different sizes, so that claims differ. */
const WINDOWS = [2_048, 16, 128];

/** The worker processes. One that has ended is started again. */
export class Workers {
  readonly size: number;
  readonly #connection: string;
  readonly #children: (ChildProcess | undefined)[] = [];
  #running = false;
  /** Processes that have ended by themselves, with what they said last. */
  readonly lost: string[] = [];

  readonly #onFault: ((kind: string) => void) | undefined;

  /** @param onFault told of each fault of their engines; without it these have none */
  constructor(connection: string, size: number, onFault?: (kind: string) => void) {
    this.#connection = connection;
    this.size = size;
    this.#onFault = onFault;
  }

  start(): void {
    this.#running = true;
    for (let place = 0; place < this.size; place++) this.#startOne(place);
  }

  end(place: number, signal: NodeJS.Signals): void {
    this.#children[place]?.kill(signal);
  }

  /** Stops one, and lets it go on. */
  async freeze(place: number, ms: number): Promise<void> {
    const child = this.#children[place];
    child?.kill('SIGSTOP');
    await new Promise((resolve) => setTimeout(resolve, ms));
    child?.kill('SIGCONT');
  }

  /** Ends all of them, some by SIGTERM and some by SIGKILL. */
  async stop(): Promise<void> {
    this.#running = false;
    await Promise.all(
      this.#children.map(async (child, place) => {
        if (!child || child.exitCode !== null || child.signalCode !== null) return;
        child.kill('SIGCONT');
        child.kill(place % 2 === 0 ? 'SIGTERM' : 'SIGKILL');
        await once(child, 'close');
      }),
    );
  }

  #startOne(place: number): void {
    const options = {
      connection: this.#connection,
      window: WINDOWS[place % WINDOWS.length],
      faulty: this.#onFault !== undefined,
    };
    const child = spawn(process.execPath, ['--import', 'tsx', ENTRY, JSON.stringify(options)], {
      stdio: ['ignore', 'pipe', 'pipe'],
    });
    this.#children[place] = child;
    if (this.#onFault) createInterface({ input: child.stdout! }).on('line', this.#onFault);
    else child.stdout!.resume();
    let said = '';
    child.stderr!.on('data', (text: Buffer) => {
      said = (said + text.toString()).slice(-2_000);
    });
    child.on('close', (code) => {
      if (!this.#running) return;
      // SIGTERM and SIGKILL are the simulation's own.
      if (code !== 0 && code !== null) this.lost.push(`worker ${place} ended with ${code}: ${said}`);
      this.#startOne(place);
    });
  }
}
