import { limits } from '../../limits.ts';
import { EngineError } from '../backend/engine-error.ts';
import { comparePriority, type Priority } from '../backend/priority.ts';
import type { CallOptions, SequenceResult } from '../backend/run.ts';
import { batchKey } from '../backend/session.ts';
import { idsOf, type TokenSequence } from '../tokenizer/token-sequence.ts';
import { type EngineReply, MOST_IN_A_ROW, type RunRequest } from '../wire/protocol.ts';
import type { SessionSpec } from '../wire/session-spec.ts';
import { flatten, splitBySizes, splitValues } from './flat-sequences.ts';

/** One call of `Engine.run` on its way, with the promise that waits for it. */
export interface Call {
  readonly sequences: readonly TokenSequence[];
  /** Calls share a batch only where this is the same. */
  readonly batchKey: string;
  /** Whether its vectors are to be scaled. */
  readonly normalize: boolean;
  readonly priority: Priority;
  /** The token budget that it was cut under; null when it was not cut. */
  readonly budget: number | null;
  /** When it was made; in ms of `performance.now`. */
  readonly addedAt: number;
  /** Its tokens, without padding. */
  readonly tokens: number;
  /** Whether it must not share a batch, since one that it shared has failed. */
  alone: boolean;
  resolve(results: SequenceResult[]): void;
  reject(error: EngineError): void;
}

/** What goes through the model in one run: a call, or several small ones. */
export interface Batch {
  readonly calls: readonly Call[];
  readonly request: RunRequest;
  /** When it was given to a process; in ms of `performance.now`. */
  readonly sentAt: number;
  /** Whether the process has said that it runs it. */
  started: boolean;
}

/** What a process gives for a batch. */
type Answer = Pick<Extract<EngineReply, { type: 'result' }>, 'values' | 'notFinite' | 'sizes'>;

/** Waiting calls looked at for ones that can share a batch. */
const MOST_CANDIDATES = 256;

/**
 * Calls that wait for the processes of one session: by priority, and each priority in its order. So that a stream of
 * interactive calls does not keep the queue waiting for ever, the call that has waited longest has its turn now and then.
 */
export class BatchQueue {
  readonly #output: SessionSpec['output'];
  #calls: Call[] = [];
  #interactiveSequences = 0;
  #tokens = 0;
  #lastId = 0;
  /** Batches taken in a row past a call that had waited for longer. */
  #inARow = 0;

  constructor(output: SessionSpec['output']) {
    this.#output = output;
  }

  get size(): number {
    return this.#calls.length;
  }

  /** Tokens of the calls that wait. */
  get tokens(): number {
    return this.#tokens;
  }

  /** The priority of the batch that `take` would give; undefined when there is none. */
  get nextPriority(): Priority | undefined {
    return this.#calls[this.#nextPlace()]?.priority;
  }

  /** Puts a call in its place and returns the promise of its results. Rejects with EngineError of kind `busy`. */
  add(
    spec: SessionSpec,
    sequences: readonly TokenSequence[],
    options: CallOptions,
  ): Promise<SequenceResult[]> {
    const { promise, resolve, reject } = withResolvers<SequenceResult[]>();
    const { priority = 'normal' } = options;
    const call: Call = {
      sequences,
      batchKey: batchKey(spec, priority),
      normalize: spec.output === 'vector' && spec.normalize,
      priority,
      budget: options.budget ?? null,
      addedAt: performance.now(),
      tokens: sequences.reduce((sum, sequence) => sum + idsOf(sequence).length, 0),
      alone: options.alone ?? false,
      resolve,
      reject,
    };
    if (
      priority === 'interactive' &&
      this.#interactiveSequences + sequences.length > limits.waitingSequences
    ) {
      reject(busy(this.#interactiveSequences));
      return promise;
    }
    this.#insert(this.#placeAfter(priority), call);
    return promise;
  }

  /**
   * The next batch: a call, and with it those that may share one with it and fit into `tokens` (sequences x longest) and into
   * the budgets that they were cut under, so that texts which came one by one share a run. There has to be a call.
   */
  take(tokens: number): Batch {
    const place = this.#nextPlace();
    const first = this.#remove(place);
    const isOldest = this.#calls.every(({ addedAt }) => addedAt >= first.addedAt);
    this.#inARow = isOldest ? 0 : this.#inARow + 1;
    const calls = [first];
    let size = first.sequences.length;
    let longest = longestOf(first);
    for (let at = place; !first.alone && at < Math.min(this.#calls.length, place + MOST_CANDIDATES); ) {
      const other = this.#calls[at]!;
      if (other.priority !== first.priority) break;
      const together = Math.max(longest, longestOf(other));
      const most = Math.min(tokens, first.budget ?? tokens, other.budget ?? tokens);
      const fits = (size + other.sequences.length) * together <= most;
      if (other.alone || other.batchKey !== first.batchKey || !fits) {
        at++;
        continue;
      }
      calls.push(this.#remove(at));
      size += other.sequences.length;
      longest = together;
    }
    const request: RunRequest = {
      type: 'run',
      id: ++this.#lastId,
      priority: first.priority,
      normalize: first.normalize,
      ...flatten(calls.flatMap(({ sequences }) => sequences)),
    };
    return { calls, request, sentAt: performance.now(), started: false };
  }

  takeAll(): Call[] {
    this.#interactiveSequences = 0;
    this.#tokens = 0;
    return this.#calls.splice(0);
  }

  /** Back to the front of their priorities, in their order: they were taken but nothing came of it. */
  putBack(calls: readonly Call[]): void {
    for (const call of calls.toReversed()) {
      const place = this.#calls.findIndex(({ priority }) => comparePriority(priority, call.priority) >= 0);
      this.#insert(place < 0 ? this.#calls.length : place, call);
    }
  }

  /**
   * Gives each call of a batch its part of the answer. Not those with a sequence that is not finite, if they shared the batch:
   * such a sequence spoils its neighbours in an int8 model, and they are returned, to be run again alone.
   */
  resolve({ calls, request }: Batch, { values, notFinite, sizes }: Answer): Call[] {
    const results: SequenceResult[] = sizes
      ? splitBySizes(values, sizes)
      : splitValues(values, request.lengths, this.#output === 'token-logits');
    for (const place of notFinite) {
      const what = this.#output === 'vector' || this.#output === 'sparse' ? 'vector' : 'scores';
      results[place] = new EngineError('not-finite', `The model gave no finite ${what} for the row`, {
        hint: 'Change its text or choose another model',
      });
    }
    let from = 0;
    return calls.filter(({ sequences, resolve }) => {
      const own = results.slice(from, from + sequences.length);
      from += sequences.length;
      if (calls.length > 1 && own.some((result) => result instanceof EngineError)) return true;
      resolve(own);
      return false;
    });
  }

  #nextPlace(): number {
    if (this.#inARow < MOST_IN_A_ROW) return 0;
    return this.#calls.reduce(
      (oldest, call, i) => (call.addedAt < this.#calls[oldest]!.addedAt ? i : oldest),
      0,
    );
  }

  #placeAfter(own: Priority): number {
    const place = this.#calls.findIndex(({ priority }) => comparePriority(priority, own) > 0);
    return place < 0 ? this.#calls.length : place;
  }

  #insert(place: number, call: Call): void {
    this.#calls.splice(place, 0, call);
    this.#tokens += call.tokens;
    if (call.priority === 'interactive') this.#interactiveSequences += call.sequences.length;
  }

  #remove(place: number): Call {
    const call = this.#calls.splice(place, 1)[0]!;
    this.#tokens -= call.tokens;
    if (call.priority === 'interactive') this.#interactiveSequences -= call.sequences.length;
    return call;
  }
}

function busy(texts: number): EngineError {
  return new EngineError('busy', `${texts} texts wait for the engine already`, {
    hint: 'Try again in a moment, or run another worker',
  });
}

function longestOf({ sequences }: Call): number {
  return sequences.reduce((most, sequence) => Math.max(most, idsOf(sequence).length), 1);
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
