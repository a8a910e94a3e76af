import { createHash } from 'node:crypto';
import { splitTextInSlices } from '../chunking/chunking.ts';
import type { Chunk } from '../chunking/types.ts';
import { EngineError } from '../inference/backend/engine-error.ts';
import type { ChunkResult, Output, Result, RowInput } from '../queue/batch.ts';
import type { Job } from '../queue/jobs.ts';
import type { Tokenizer } from '../tasks/text-tokenizer.ts';
import type { ServedPipeline } from './served-pipelines.ts';

/** A text that the model is to be given. */
export interface ModelText {
  readonly item: WorkItem;
  readonly text: string;
  /** Its place among the outputs of the item. */
  readonly place: number;
}

/** A job with its text: the whole of it, or its chunks. Gathers the results until there is one for each text. */
export class WorkItem {
  readonly served: ServedPipeline;
  readonly job: Job;
  readonly #sourceHash: string | null;
  /** The texts to be given to the model; a chunk that is in the target already is not among them. */
  readonly texts: readonly ModelText[];
  readonly #chunks: readonly (Chunk & { hash: string })[] | null;
  readonly #outputs: (Output | null)[];
  #waiting: number;
  #error: EngineError | undefined;

  private constructor(
    served: ServedPipeline,
    job: Job,
    sourceHash: string | null,
    texts: readonly (string | null)[],
    chunks: readonly (Chunk & { hash: string })[] | null,
  ) {
    this.served = served;
    this.job = job;
    this.#sourceHash = sourceHash;
    this.#chunks = chunks;
    this.#outputs = texts.map(() => null);
    this.texts = texts.flatMap((text, place) => (text === null ? [] : [{ item: this, text, place }]));
    this.#waiting = this.texts.length;
  }

  /** A row that is taken whole; null where it has no text. */
  static whole(served: ServedPipeline, job: Job, { text, sourceHash }: RowInput): WorkItem | null {
    if (text === null || text.trim() === '') return null;
    return new WorkItem(served, job, sourceHash, [served.prompt + text], null);
  }

  /** A row in chunks; null where it has no text. */
  static async chunked(
    served: ServedPipeline,
    job: Job,
    input: RowInput,
    tokenizer: Tokenizer,
  ): Promise<WorkItem | null> {
    if (input.text === null || served.chunking === null) return null;
    const there = new Set(input.hashes);
    const texts: (string | null)[] = [];
    const cut = await splitTextInSlices(input.text, served.chunking, tokenizer);
    const chunks = cut.map((chunk) => {
      const text = served.prompt + input.before + chunk.text + input.after;
      const hash = hashOf(text);
      texts.push(there.has(hash) ? null : text);
      return { ...chunk, hash };
    });
    return chunks.length === 0 ? null : new WorkItem(served, job, input.sourceHash, texts, chunks);
  }

  /** Whether there is a result or an error for each text. */
  get done(): boolean {
    return this.#waiting === 0;
  }

  /** What one of its texts failed with. */
  get error(): EngineError | undefined {
    return this.#error;
  }

  /** Takes what came out for a text. */
  put(place: number, output: Output | EngineError): void {
    this.#waiting--;
    if (output instanceof EngineError) this.#error ??= output;
    else this.#outputs[place] = output;
  }

  /** What to write, when it is done and without an error. */
  result(): Result {
    const row = { job: this.job, sourceHash: this.#sourceHash };
    if (!this.#chunks) return { ...row, output: this.#outputs[0]! };
    const output = this.#chunks.map(
      ({ text, start, end, headings, hash }, place): ChunkResult => ({
        text,
        start,
        end,
        heading: headings.length > 0 ? headings.join(' > ') : null,
        hash,
        output: this.#outputs[place]!,
      }),
    );
    return { ...row, output };
  }
}

/** The md5 of a text as a UUID: sixteen bytes in the target, and PostgreSQL can compute it too. */
function hashOf(text: string): string {
  const hex = createHash('md5').update(text).digest('hex');
  return hex.replace(/^(.{8})(.{4})(.{4})(.{4})(.{12})$/, '$1-$2-$3-$4-$5');
}
