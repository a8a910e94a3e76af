import { EngineError } from './engine-error.ts';
import type { EngineReply, RunRequest } from './protocol.ts';
import { idsOf, type RowResult, type RunOptions, type Sequence, type SessionSpec } from './types.ts';

/** A batch on its way, with the promise that waits for it. */
export interface Batch {
  readonly request: RunRequest;
  /** 0 goes before 1, and 1 before 2. */
  readonly rank: number;
  /** When it was asked for, and when it was given to the process; in ms of `performance.now`. */
  readonly addedAt: number;
  sentAt: number;
  /** Whether the process has said that it loads its model, and that it runs it. */
  loading: boolean;
  started: boolean;
  /** Processes that ended while they loaded its model. */
  deathsInLoad: number;
  resolve(results: RowResult[]): void;
  reject(error: EngineError): void;
}

/** Batches that wait for the engine process: those `ahead`, then the others, then those `behind`; each in their order. */
export class BatchQueue {
  #batches: Batch[] = [];
  #lastId = 0;

  get size(): number {
    return this.#batches.length;
  }

  /** Puts a batch in its place and returns the promise of its results. */
  add(
    session: SessionSpec,
    sequences: readonly Sequence[],
    { ahead, behind }: RunOptions,
  ): Promise<RowResult[]> {
    const { promise, resolve, reject } = withResolvers<RowResult[]>();
    const request: RunRequest = { type: 'run', id: ++this.#lastId, session, ...flatten(sequences) };
    const rank = ahead ? 0 : behind ? 2 : 1;
    const place = this.#batches.findIndex((batch) => batch.rank > rank);
    const batch = {
      request,
      rank,
      addedAt: performance.now(),
      sentAt: 0,
      loading: false,
      started: false,
      deathsInLoad: 0,
      resolve,
      reject,
    };
    this.#batches.splice(place < 0 ? this.#batches.length : place, 0, batch);
    return promise;
  }

  peek(): Batch | undefined {
    return this.#batches[0];
  }

  /** The next batch; there has to be one. */
  take(): Batch {
    return this.#batches.shift()!;
  }

  takeAll(): Batch[] {
    return this.#batches.splice(0);
  }

  /** Takes those of one session out. */
  takeSession(key: string): Batch[] {
    const taken = this.#batches.filter(({ request }) => request.session.key === key);
    this.#batches = this.#batches.filter(({ request }) => request.session.key !== key);
    return taken;
  }

  /** Back to the front, in their order: they were taken but did not start. */
  putBack(batches: readonly Batch[]): void {
    this.#batches.unshift(...batches);
  }
}

/** Gives a batch its answer. */
export function settle(batch: Batch, reply: Extract<EngineReply, { type: 'result' | 'failed' }>): void {
  if (reply.type === 'failed') {
    batch.reject(
      new EngineError(reply.kind, reply.message, reply.hint === undefined ? {} : { hint: reply.hint }),
    );
    return;
  }
  const results: RowResult[] = splitRows(reply.values, batch.request);
  for (const row of reply.notFinite) {
    const what = batch.request.session.output === 'vector' ? 'vector' : 'scores';
    results[row] = new EngineError('not-finite', `The model gave no finite ${what} for the row`, {
      hint: 'Change its text or choose another model',
    });
  }
  batch.resolve(results);
}

/** Each row's part of a batch's numbers: the same for every row, or the same for every token. */
function splitRows(values: Float32Array, { lengths, session }: RunRequest): Float32Array[] {
  const perToken = session.output === 'token-logits';
  const sets = perToken ? lengths.reduce((sum, length) => sum + length, 0) : lengths.length;
  const size = values.length / sets;
  let at = 0;
  return Array.from(lengths, (length) => {
    const from = at;
    at += size * (perToken ? length : 1);
    return values.subarray(from, at);
  });
}

function flatten(sequences: readonly Sequence[]): Pick<RunRequest, 'lengths' | 'ids' | 'secondFrom'> {
  const lengths = Int32Array.from(sequences, (sequence) => idsOf(sequence).length);
  const ids = new Int32Array(lengths.reduce((sum, length) => sum + length, 0));
  let at = 0;
  for (const sequence of sequences) {
    ids.set(idsOf(sequence), at);
    at += idsOf(sequence).length;
  }
  const pairs = sequences.some((sequence) => !(sequence instanceof Int32Array));
  return { lengths, ids, secondFrom: pairs ? Int32Array.from(sequences, secondFrom) : null };
}

function secondFrom(sequence: Sequence): number {
  return sequence instanceof Int32Array ? sequence.length : sequence.secondFrom;
}

/** Promise.withResolvers, which Node 20 does not have. */
function withResolvers<T>() {
  let resolve!: (value: T) => void;
  let reject!: (error: unknown) => void;
  const promise = new Promise<T>((yes, no) => {
    resolve = yes;
    reject = no;
  });
  return { promise, resolve, reject };
}
