import { type ChildProcess, spawn } from 'node:child_process';
import { once } from 'node:events';
import { join } from 'node:path';
import { stripVTControlCharacters } from 'node:util';
import { packageRoot } from '../../src/package-root.ts';

const MAIN = join(packageRoot, 'dist', 'cli', 'main.js');

export interface CliOptions {
  env?: Record<string, string>;
  cwd?: string;
  /** What stdin gives; nothing without it. */
  input?: string | Uint8Array;
  /** Stdin stays open, for `write` and `end`. */
  keepOpen?: boolean;
}

export interface CliResult {
  code: number | null;
  signal: NodeJS.Signals | null;
  stdout: string;
  stderr: string;
}

/** A running `pgembedder`. */
export class Cli {
  readonly #child: ChildProcess;
  readonly #closed: Promise<unknown>;
  #stdout = '';
  #stderr = '';

  constructor(args: readonly string[], { env = {}, cwd, input = '', keepOpen = false }: CliOptions = {}) {
    // Nothing of the surroundings that a command reads.
    const { DATABASE_URL: _url, NO_COLOR: _no, FORCE_COLOR: _force, ...inherited } = process.env;
    this.#child = spawn(process.execPath, [MAIN, ...args], {
      cwd,
      env: { ...inherited, ...env },
      stdio: ['pipe', 'pipe', 'pipe'],
    });
    this.#closed = once(this.#child, 'close');
    this.#child.stdout!.setEncoding('utf8').on('data', (text: string) => {
      this.#stdout += text;
    });
    this.#child.stderr!.setEncoding('utf8').on('data', (text: string) => {
      this.#stderr += text;
    });
    // A command that does not read stdin may be gone before this is written.
    this.#child.stdin!.on('error', () => {});
    if (!keepOpen) this.#child.stdin!.end(input);
  }

  /** What it has written to stderr so far. */
  get stderr(): string {
    return this.#stderr;
  }

  write(text: string): void {
    this.#child.stdin!.write(text);
  }

  end(): void {
    this.#child.stdin!.end();
  }

  kill(signal: NodeJS.Signals): void {
    this.#child.kill(signal);
  }

  /** Resolves when it has written this text, to stdout or stderr. Rejects when it ends without. */
  async said(text: string): Promise<void> {
    const has = () => this.#stderr.includes(text) || this.#stdout.includes(text);
    while (!has()) {
      const ended = await Promise.race([
        once(this.#child.stderr!, 'data').then(() => false),
        once(this.#child.stdout!, 'data').then(() => false),
        this.#closed.then(() => true),
      ]);
      if (ended && !has()) throw new Error(`it ended and never said '${text}':\n${this.#stderr}`);
    }
  }

  async result(): Promise<CliResult> {
    await this.#closed;
    return {
      code: this.#child.exitCode,
      signal: this.#child.signalCode,
      stdout: this.#stdout,
      stderr: this.#stderr,
    };
  }
}

/** Runs `pgembedder` to its end. */
export function run(args: readonly string[], options: CliOptions = {}): Promise<CliResult> {
  return new Cli(args, options).result();
}

/** Runs it, expects exit code 0, and gives stdout as JSON. */
export async function runJson<T>(args: readonly string[], options: CliOptions = {}): Promise<T> {
  const { code, stdout, stderr } = await run([...args, '--json'], options);
  if (code !== 0) throw new Error(`exit code ${code}: ${stderr}`);
  return JSON.parse(stdout) as T;
}

/** Whether a text holds no colours and no other control sequences. */
export function isPlain(text: string): boolean {
  return stripVTControlCharacters(text) === text;
}
