import { setImmediate as nextTurn } from 'node:timers/promises';
import type { ModelDescription } from '../models/description.ts';
import { cpuTokenBudget, cutBatches } from './batcher.ts';
import type { Engine } from './engine.ts';
import { runIsolated } from './isolate.ts';
import { type SessionOptions, sessionSpec } from './session-spec.ts';
import { loadTokenizer, type Tokenizer } from './tokenizer.ts';
import type { RowResult, RunOptions } from './types.ts';

export interface EmbedderOptions {
  readonly engine: Engine;
  /** Tokens in a batch, padding included. */
  readonly tokenBudget?: number;
}

export interface EmbedOptions extends SessionOptions, RunOptions {
  /** Put before each text; for a model's own see `ModelDescription.prompts`. */
  readonly prompt?: string | undefined;
  /** Called as each batch is done, with the places of its rows in `texts` and their results, in the same order. */
  onBatch?(rows: readonly number[], results: readonly RowResult[]): void;
}

/**
 * Time after which tokenizing lets others have a turn, in ms: results that came meanwhile are taken and the engine
 * is given its next batch.
 */
const tokenizeSliceMs = 5;

/** From texts to vectors: what the worker, the command line and the HTTP server use. */
export class Embedder {
  readonly #engine: Engine;
  readonly #tokenBudget: number;
  /** By folder and limit: an entry is a few MB and takes 50 ms to make. */
  readonly #tokenizers = new Map<string, Tokenizer>();

  constructor({ engine, tokenBudget = cpuTokenBudget }: EmbedderOptions) {
    this.#engine = engine;
    this.#tokenBudget = tokenBudget;
  }

  /** The tokenizer of a model, loaded once. Raises UserError when it cannot be loaded. */
  tokenizer(description: ModelDescription): Tokenizer {
    const key = `${description.directory}#${description.maxTokens}`;
    const tokenizer = this.#tokenizers.get(key) ?? loadTokenizer(description);
    this.#tokenizers.set(key, tokenizer);
    return tokenizer;
  }

  /**
   * A vector for each text, in the texts' order, or the EngineError that this text alone caused.
   * Any string is taken; '' gives the vector of the special tokens, which says nothing.
   * Rejects with an EngineError when the engine can do nothing for any of them (`load`, `start`, `stopped`); what
   * `onBatch` was given until then stays good.
   *
   * @example
   * const [vector] = await embedder.embedTexts(store.find('all-MiniLM-L6-v2'), ['a small cat']);
   */
  async embedTexts(
    description: ModelDescription,
    texts: readonly string[],
    options: EmbedOptions = {},
  ): Promise<RowResult[]> {
    const session = sessionSpec(description, options);
    const sequences = await this.#tokenize(description, texts, options.prompt ?? '');
    const results = new Array<RowResult>(texts.length);
    const batches = cutBatches(
      sequences.map((sequence) => sequence.length),
      this.#tokenBudget,
    );
    const runs = await Promise.allSettled(
      batches.map(async (rows) => {
        const done = await runIsolated(
          this.#engine,
          session,
          rows.map((row) => sequences[row]!),
          options,
        );
        rows.forEach((row, index) => {
          results[row] = done[index]!;
        });
        options.onBatch?.(rows, done);
      }),
    );
    // Only now, when no batch is under way any more: what `onBatch` has not been given by then it will never be given.
    const failed = runs.find((run) => run.status === 'rejected');
    if (failed) throw failed.reason;
    return results;
  }

  async #tokenize(
    description: ModelDescription,
    texts: readonly string[],
    prompt: string,
  ): Promise<Int32Array[]> {
    const tokenizer = this.tokenizer(description);
    const sequences: Int32Array[] = [];
    let turn = performance.now();
    for (const text of texts) {
      sequences.push(tokenizer.encode(prompt + text));
      if (performance.now() - turn > tokenizeSliceMs) {
        await nextTurn();
        turn = performance.now();
      }
    }
    return sequences;
  }
}

/** What the worker needs of an Embedder; benchmarks of the queue alone give one that answers at once. */
export type TextEmbedder = Pick<Embedder, 'embedTexts' | 'tokenizer'>;
