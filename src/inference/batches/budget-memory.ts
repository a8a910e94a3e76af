import { createHash } from 'node:crypto';
import { mkdirSync, readFileSync, renameSync, statSync, writeFileSync } from 'node:fs';
import { cpus, homedir } from 'node:os';
import { dirname, join } from 'node:path';
import type { Logger } from 'pino';
import { z } from 'zod';
import { messageOf } from '../../errors.ts';
import { version } from '../../version.ts';
import type { SessionSpec } from '../backend/types.ts';

/** Where what was found out is kept: in the user's cache folder, as the XDG Base Directory Specification has it. */
export function defaultBudgetFile(): string {
  return join(process.env.XDG_CACHE_HOME || join(homedir(), '.cache'), 'pgembedder', 'token-budgets.json');
}

const schema = z.record(z.string(), z.int().positive());

/**
 * Token budgets that were found out, in a file of the user's cache folder, by what they depend on: the model file,
 * the device and its threads, the processor. A file that cannot be read or written costs nothing but the comparison.
 */
export class BudgetMemory {
  readonly #path: string;
  readonly #profileOf: (session: SessionSpec) => string;
  readonly #logger: Logger;

  /** @param profileOf the device and how it is used, as in `Plan` */
  constructor(path: string, profileOf: (session: SessionSpec) => string, logger: Logger) {
    this.#path = path;
    this.#profileOf = profileOf;
    this.#logger = logger;
  }

  load(session: SessionSpec): number | undefined {
    const all = this.#read();
    try {
      return all[this.#keyOf(session)];
    } catch {
      // Its file cannot be looked at; loading it says more.
      return undefined;
    }
  }

  /** Others may write at the same time: the last one wins, and the file is whole at any moment. */
  save(session: SessionSpec, budget: number): void {
    const temporary = `${this.#path}.${process.pid}`;
    this.#logger.info({ model: session.model, tokenBudget: budget }, 'token budget chosen');
    try {
      const all = { ...this.#read(), [this.#keyOf(session)]: budget };
      mkdirSync(dirname(this.#path), { recursive: true });
      writeFileSync(temporary, `${JSON.stringify(all, null, 2)}\n`);
      renameSync(temporary, this.#path);
    } catch (error) {
      this.#logger.debug({ reason: messageOf(error) }, 'the token budget is not remembered');
    }
  }

  #read(): Record<string, number> {
    try {
      return schema.parse(JSON.parse(readFileSync(this.#path, 'utf8')));
    } catch {
      return {};
    }
  }

  #keyOf(session: SessionSpec): string {
    const { onnxPath, expectedSha256 } = session;
    const file = expectedSha256 ?? `${onnxPath} ${statSync(onnxPath, { throwIfNoEntry: false })?.mtimeMs}`;
    const parts = [file, this.#profileOf(session), cpus()[0]?.model, version];
    return createHash('sha256').update(parts.join('\n')).digest('hex').slice(0, 32);
  }
}
