import { rankOf } from '../backend/rank.ts';
import { idsOf, type RowResult, type RunOptions, type Sequence, type SessionSpec } from '../backend/types.ts';
import type { Engine } from '../engine/engine.ts';
import { cutBatches } from './batcher.ts';
import { BudgetMemory } from './budget-memory.ts';
import { runIsolated } from './isolate.ts';
import { TokenBudgets } from './token-budgets.ts';

/** What became of a row that is with the engine: its place in a batch. */
interface Underway {
  readonly batch: Promise<readonly RowResult[]>;
  readonly place: number;
}

/**
 * Runs rows: in batches of like length under the token budget of the session, a bad row apart from its neighbours, and
 * rows with the same tokens once, also when they belong to different callers at the same time.
 */
export class RowRunner {
  readonly #engine: Engine;
  readonly #budgets: TokenBudgets;
  /** Rows that are with the engine, by `nameOf`. */
  readonly #underway = new Map<string, Underway>();

  /** @param tokenBudget tokens in a batch, padding included; by default the best number is found out */
  constructor(engine: Engine, tokenBudget: number | undefined, budgetFile: string) {
    this.#engine = engine;
    const memory = new BudgetMemory(budgetFile, (session) => engine.planOf(session).profile, engine.logger);
    const first = (session: SessionSpec) => tokenBudget ?? engine.planOf(session).tokenBudget;
    this.#budgets = new TokenBudgets(first, tokenBudget !== undefined, memory);
    engine.on('batch', (report) => this.#budgets.learn(report));
  }

  /**
   * @param onBatch given the places of rows in `sequences` and what became of them, batch by batch; of all rows when
   *   `run` resolves. When it rejects (as `runIsolated` does), of those that were done until then.
   */
  async run(
    session: SessionSpec,
    sequences: readonly Sequence[],
    options: RunOptions,
    onBatch: (rows: readonly number[], results: readonly RowResult[]) => void,
  ): Promise<void> {
    const places = new Map<string, number[]>();
    sequences.forEach((sequence, place) => {
      const name = nameOf(session, options, sequence);
      const same = places.get(name);
      if (same) same.push(place);
      else places.set(name, [place]);
    });
    const tell = (names: readonly string[], results: readonly RowResult[]) => {
      const rows = names.map((name) => places.get(name)!);
      onBatch(
        rows.flat(),
        rows.flatMap((same, i) => same.map(() => results[i]!)),
      );
    };
    const names = [...places.keys()];
    const joined = names.flatMap((name) => {
      const underway = this.#underway.get(name);
      return underway ? [underway.batch.then((results) => tell([name], [results[underway.place]!]))] : [];
    });
    const own = names.filter((name) => !this.#underway.has(name));
    const rows = own.map((name) => sequences[places.get(name)![0]!]!);
    const lengths = rows.map((row) => idsOf(row).length);
    const cuts = cutBatches(lengths, () => this.#budgets.next(session, rows.length));
    const started = cuts.map(async ({ rows: cut, budget }) => {
      const batchNames = cut.map((row) => own[row]!);
      const batch = runIsolated(
        this.#engine,
        session,
        cut.map((row) => rows[row]!),
        { ...options, budget, onMemory: (tokens) => this.#budgets.lower(session, tokens) },
      );
      batchNames.forEach((name, place) => {
        this.#underway.set(name, { batch, place });
      });
      try {
        tell(batchNames, await batch);
      } finally {
        for (const name of batchNames) this.#underway.delete(name);
      }
    });
    const runs = await Promise.allSettled([...joined, ...started]);
    // Only now, when no batch is under way any more: what `onBatch` has not been given by then it will never be given.
    const failed = runs.find((run) => run.status === 'rejected');
    if (failed) throw failed.reason;
  }
}

/** Rows with the same name have the same result, and are due equally soon. */
function nameOf(session: SessionSpec, options: RunOptions, sequence: Sequence): string {
  const ids = idsOf(sequence);
  const tokens = Buffer.from(ids.buffer, ids.byteOffset, ids.byteLength).toString('latin1');
  const second = sequence instanceof Int32Array ? '' : sequence.secondFrom;
  const normalize = session.output === 'vector' && session.normalize;
  return `${session.key} ${normalize} ${rankOf(options)} ${second} ${tokens}`;
}
