import { type ChildProcess, fork } from 'node:child_process';
import { once } from 'node:events';
import { fileURLToPath } from 'node:url';

/** Something to compare with, in a process of its own that is loaded and warm. Its module answers by `serve`. */
export class Rival {
  readonly #process: ChildProcess;

  private constructor(process: ChildProcess) {
    this.#process = process;
  }

  /**
   * @param path the module, relative to bench/rivals/
   * @param setting what it needs to know; given as JSON in its first argument
   */
  static async start(path: string, setting: unknown): Promise<Rival> {
    const file = fileURLToPath(new URL(`../rivals/${path}`, import.meta.url));
    const rival = new Rival(
      fork(file, [JSON.stringify(setting)], {
        serialization: 'advanced',
        // Not the TypeScript loader of this process.
        execArgv: [],
        stdio: ['ignore', 'ignore', 'inherit', 'ipc'],
      }),
    );
    await rival.#answer();
    return rival;
  }

  /** Seconds that it takes for the texts. */
  async run(texts: readonly string[], options: object = {}): Promise<number> {
    this.#process.send({ texts, options });
    return await this.#answer();
  }

  stop(): void {
    this.#process.disconnect();
  }

  async #answer(): Promise<number> {
    const ended = new AbortController();
    const end = once(this.#process, 'exit', { signal: ended.signal }).then(
      ([code]) => Promise.reject(new Error(`${this.#process.spawnargs[1]} ended with ${code}`)),
      () => new Promise<never>(() => {}),
    );
    try {
      const [seconds] = await Promise.race([once(this.#process, 'message'), end]);
      return seconds;
    } finally {
      ended.abort();
    }
  }
}
