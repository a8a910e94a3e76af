import { randomUUID } from 'node:crypto';
import { setTimeout as wait } from 'node:timers/promises';
import { INSUFFICIENT_PRIVILEGE } from '../database/errors.ts';
import { cancelMarked, runMarked } from '../database/marked.ts';
import { codeOf, messageOf } from '../errors.ts';
import {
  beginBuild,
  buildWaits,
  endBuild,
  type MissingIndex,
  missingIndexes,
  setIndexError,
} from '../pipelines/indexes.ts';
import type { WorkerContext } from './context.ts';

/** A build may not have begun yet when it is to be cancelled: it is looked for again after this. */
const CANCEL_AGAIN_MS = 100;
/** A build that waits longer than this for other transactions no longer holds up the next one; and the most builds at once. */
const PATIENCE_MS = 10_000;
const MOST_BUILDS = 3;

/**
 * Builds the indexes that filled pipelines lack. `create index concurrently` blocks no writer; a worker runs it, since
 * it may not run in a transaction. One at a time, since each wants much memory; but a build that waits for somebody's
 * open transaction, which may never end, holds up no other.
 *
 * Nothing here needs a session, which a pooler in transaction mode does not keep: the register of workers says who
 * builds, and the statements carry a mark by which a running one is found and cancelled.
 */
export class IndexBuilder {
  readonly #context: WorkerContext;
  readonly #mark = `pgembedder index ${randomUUID()}`;
  readonly #builds = new Map<number, Promise<void>>();
  #building = false;
  #cancelled = false;

  constructor(context: WorkerContext) {
    this.#context = context;
  }

  /** Builds what is missing, unless another worker is at it. */
  async build(): Promise<void> {
    const { chores, claimant } = this.#context;
    this.#building = true;
    try {
      if (!(await beginBuild(chores, claimant.workerId))) return;
      try {
        await this.#buildAll();
      } finally {
        await endBuild(chores, claimant.workerId);
      }
    } finally {
      this.#building = false;
    }
  }

  /** Ends a build that is under way. The next build drops what it leaves behind. */
  async cancel(): Promise<void> {
    this.#cancelled = true;
    while (this.#building) {
      await cancelMarked(this.#context.database, this.#mark);
      await wait(CANCEL_AGAIN_MS);
    }
  }

  /** Goes on for as long as a build is under way: others may have become due meanwhile. */
  async #buildAll(): Promise<void> {
    do {
      for (const missing of await missingIndexes(this.#context.chores)) {
        if (this.#cancelled || this.#builds.size >= MOST_BUILDS) break;
        if (this.#builds.has(missing.id)) continue;
        this.#builds.set(
          missing.id,
          this.#buildOne(missing).finally(() => this.#builds.delete(missing.id)),
        );
        while (await this.#goesOn(missing.id));
      }
      if (this.#builds.size > 0)
        await Promise.race([...this.#builds.values(), wait(PATIENCE_MS, undefined, { ref: false })]);
    } while (this.#builds.size > 0);
  }

  /** Waits for a build for ten seconds. False: it has ended, or waits for other transactions. */
  async #goesOn(id: number): Promise<boolean> {
    await Promise.race([this.#builds.get(id), wait(PATIENCE_MS, undefined, { ref: false })]);
    if (!this.#builds.has(id)) return false;
    return !(await buildWaits(this.#context.database, id));
  }

  async #buildOne({ id, pipeline, statements, advice }: MissingIndex): Promise<void> {
    const { database, chores, logger, events } = this.#context;
    const begin = performance.now();
    if (advice) logger.warn({ pipeline, advice }, 'index is built with little memory');
    try {
      for (const statement of statements) {
        if (this.#cancelled) return;
        await runMarked(chores, this.#mark, statement);
      }
      const seconds = Math.round(performance.now() - begin) / 1_000;
      logger.info({ pipeline, seconds }, 'index built');
      events.emit('indexed', { pipeline });
      await setIndexError(database, id, null);
    } catch (error) {
      if (this.#cancelled) {
        logger.info({ pipeline }, 'index build was cancelled');
        return;
      }
      const way =
        codeOf(error) === INSUFFICIENT_PRIVILEGE
          ? `. Let the worker's role be a member of the table's owner, or run: ${statements.at(-1)}`
          : '';
      const reason = `index could not be built: ${messageOf(error)}${way}`;
      logger.error({ pipeline, reason }, 'index could not be built');
      await setIndexError(database, id, reason).catch(() => {});
    }
  }
}
