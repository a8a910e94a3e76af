import { EngineError } from './engine-error.ts';
import type { EngineReply, RunRequest } from './protocol.ts';
import type { RowResult, SessionSpec } from './types.ts';

/** A batch on its way, with the promise that waits for it. */
export interface Batch {
  readonly request: RunRequest;
  readonly ahead: boolean;
  /** Whether the process has said that it runs it. */
  started: boolean;
  resolve(results: RowResult[]): void;
  reject(error: EngineError): void;
}

/** Batches that wait for the engine process: first come, first served, those that are `ahead` before the others. */
export class BatchQueue {
  #batches: Batch[] = [];
  #lastId = 0;

  get size(): number {
    return this.#batches.length;
  }

  /** Puts a batch in its place and returns the promise of its results. */
  add(session: SessionSpec, sequences: readonly Int32Array[], ahead: boolean): Promise<RowResult[]> {
    const { promise, resolve, reject } = withResolvers<RowResult[]>();
    const request: RunRequest = { type: 'run', id: ++this.#lastId, session, ...flatten(sequences) };
    const place = ahead ? this.#batches.findIndex((batch) => !batch.ahead) : -1;
    const batch = { request, ahead, started: false, resolve, reject };
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
  const rows = batch.request.lengths.length;
  const dimensions = reply.vectors.length / rows;
  const results: RowResult[] = Array.from({ length: rows }, (_, row) =>
    reply.vectors.subarray(row * dimensions, (row + 1) * dimensions),
  );
  for (const row of reply.notFinite) {
    results[row] = new EngineError('not-finite', `The model gave no finite vector for the row`, {
      hint: 'Change its text or choose another model',
    });
  }
  batch.resolve(results);
}

function flatten(sequences: readonly Int32Array[]): { lengths: Int32Array; ids: Int32Array } {
  const lengths = Int32Array.from(sequences, (sequence) => sequence.length);
  const ids = new Int32Array(lengths.reduce((sum, length) => sum + length, 0));
  let at = 0;
  for (const sequence of sequences) {
    ids.set(sequence, at);
    at += sequence.length;
  }
  return { lengths, ids };
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
