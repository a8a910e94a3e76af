import { groupBy } from '../../group-by.ts';
import { traced } from '../../tracing.ts';
import type { Backend } from '../backend/backend.ts';
import type { RunOptions, SequenceResult } from '../backend/run.ts';
import { type BackendSession, batchKey } from '../backend/session.ts';
import { cutBatches } from './batcher.ts';
import { runIsolated } from './isolate.ts';
import { TokenBudgets } from './token-budgets.ts';

/** What a sequence belongs to. */
export interface Item {
  readonly sequence: object;
}

/** An item and what became of its sequence. */
export interface DoneItem<Of extends Item> {
  readonly item: Of;
  readonly result: SequenceResult;
}

/** Items whose sequences are the same: one of them is run. */
interface Group<Of extends Item> {
  readonly identity: string;
  readonly items: readonly Of[];
}

/**
 * Runs sequences: in batches of like length as the session's plan has it, a bad one apart from its neighbours, and the
 * same ones once, also when they belong to different callers at the same time.
 */
export class SequenceRunner {
  readonly #backend: Backend;
  readonly #budgets: TokenBudgets;
  /** The batches that sequences are in now; by what may share a batch, and within it by identity. */
  readonly #underway = new Map<string, Promise<ReadonlyMap<string, SequenceResult>>>();

  /** @param tokenBudget most tokens of a batch, in place of what the backend plans */
  constructor(backend: Backend, tokenBudget?: number) {
    this.#backend = backend;
    this.#budgets = new TokenBudgets(tokenBudget);
    backend.on('batch', (report) => this.#budgets.learn(report));
  }

  /**
   * @param onBatch given items and what became of them, batch by batch; all items when `run` resolves. When it rejects (as
   *   `runIsolated` does), those that were done until then.
   */
  async run<Of extends Item>(
    session: BackendSession,
    items: readonly Of[],
    options: RunOptions,
    onBatch: (done: readonly DoneItem<Of>[]) => void,
  ): Promise<void> {
    const key = batchKey(session, options.priority);
    const same = groupBy(items, ({ sequence }) => `${key} ${this.#backend.identityOf(sequence)}`);
    const groups = [...same].map(([identity, group]): Group<Of> => ({ identity, items: group }));
    const tell = (told: readonly Group<Of>[], results: ReadonlyMap<string, SequenceResult>) => {
      onBatch(
        told.flatMap((group) => group.items.map((item) => ({ item, result: results.get(group.identity)! }))),
      );
    };
    const joined = groups.flatMap((group) => {
      const batch = this.#underway.get(group.identity);
      return batch ? [batch.then((results) => tell([group], results))] : [];
    });
    const own = groups.filter(({ identity }) => !this.#underway.has(identity));
    const plan = this.#budgets.apply(this.#backend.planOf(session), session);
    const batches = cutBatches(own, (group) => this.#backend.tokensOf(sequenceOf(group)), plan);
    const started = batches.map(async (batch) => {
      const running = this.#runBatch(session, batch, { ...options, budget: plan.tokenBudget });
      for (const { identity } of batch) this.#underway.set(identity, running);
      try {
        tell(batch, await running);
      } finally {
        for (const { identity } of batch) this.#underway.delete(identity);
      }
    });
    const runs = await Promise.allSettled([...joined, ...started]);
    // Only now, when no batch is under way any more: what `onBatch` has not been given by then it will never be given.
    const failed = runs.find((run) => run.status === 'rejected');
    if (failed) throw failed.reason;
  }

  async #runBatch(
    session: BackendSession,
    batch: readonly Group<Item>[],
    options: RunOptions & { budget: number },
  ): Promise<ReadonlyMap<string, SequenceResult>> {
    const attributes = { 'pgembedder.model': session.model, 'pgembedder.sequences': batch.length };
    const results = await traced('run', attributes, () =>
      runIsolated(this.#backend, session, batch.map(sequenceOf), {
        ...options,
        onMemory: (tokens) => this.#budgets.lower(this.#backend.planOf(session), session, tokens),
      }),
    );
    return new Map(batch.map(({ identity }, place) => [identity, results[place]!]));
  }
}

function sequenceOf({ items }: Group<Item>): object {
  return items[0]!.sequence;
}
