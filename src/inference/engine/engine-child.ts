import { type ChildProcess, fork } from 'node:child_process';
import { createInterface } from 'node:readline';
import { stripVTControlCharacters } from 'node:util';
import type { Logger } from 'pino';
import { runtimeEnvironment } from '../devices/runtime-environment.ts';
import { type EngineReply, type EngineSettings, isEngineReply, type RunRequest } from '../wire/protocol.ts';

/** How an engine process ended: by a signal or with an exit code. */
export interface EngineExit {
  readonly pid: number | undefined;
  readonly signal: NodeJS.Signals | null;
  readonly code: number | null;
  /** The last line it wrote to stderr, or ''. */
  readonly lastWords: string;
}

export interface EngineChildOptions {
  /** The module to run. */
  readonly entry: string;
  readonly settings: EngineSettings;
  readonly logger: Logger;
  onReply(reply: EngineReply): void;
  /** Called once, after the last reply. */
  onExit(exit: EngineExit): void;
}

/** One engine process from its start to its end. Knows nothing of batches. */
export class EngineChild {
  readonly #process: ChildProcess;
  /** Resolves when the process has ended and everything it said was heard. */
  readonly closed: Promise<void>;
  #lastWords = '';

  constructor({ entry, settings, logger, onReply, onExit }: EngineChildOptions) {
    this.#process = fork(entry, [JSON.stringify(settings)], {
      serialization: 'advanced',
      // stdout belongs to the command that runs the client; nothing here writes to it.
      stdio: ['ignore', 'ignore', 'pipe', 'ipc'],
      // The client's own flags (a debugger's port, a test runner's loader) are not for this process.
      execArgv: [],
      env: runtimeEnvironment(),
    });
    this.#process.on('message', (message: unknown) => {
      if (isEngineReply(message)) {
        onReply(message);
      }
    });
    // Without a listener it would be thrown; 'close' follows and is what counts.
    this.#process.on('error', (error) => logger.error({ err: error }, 'engine process: error'));
    if (this.#process.stderr) {
      createInterface({ input: this.#process.stderr }).on('line', (line) => {
        this.#lastWords = stripVTControlCharacters(line);
        logger.warn({ enginePid: this.pid }, this.#lastWords);
      });
    }
    // 'close' and not 'exit': it waits for the channel, so no reply that was sent is still to come.
    this.closed = new Promise((resolve) => {
      let told = false;
      const tell = (code: number | null, signal: NodeJS.Signals | null) => {
        if (told) return;
        told = true;
        onExit({ pid: this.pid, signal, code, lastWords: this.#lastWords });
        resolve();
      };
      this.#process.once('close', tell);
      // After disconnect() on this side Node (seen in 20.20) gives no 'close', and no reply can come any more.
      this.#process.once('exit', (code, signal) => {
        if (!this.#process.connected) setImmediate(tell, code, signal);
      });
    });
  }

  get pid(): number | undefined {
    return this.#process.pid;
  }

  /** False when the process is gone or going; what is sent then is lost. */
  send(request: RunRequest): boolean {
    if (!this.#process.connected) {
      return false;
    }
    // An error here means that the process is gone; `onExit` tells.
    this.#process.send(request, () => {});
    return true;
  }

  kill(): void {
    this.#process.kill('SIGKILL');
  }

  /** Lets the process end by closing its channel, and kills it when that takes longer than `graceMs`. */
  async end(graceMs: number): Promise<void> {
    if (this.#process.connected) {
      this.#process.disconnect();
    }
    const timer = setTimeout(() => this.kill(), graceMs);
    await this.closed;
    clearTimeout(timer);
  }
}
