import { UserError } from '../../errors.ts';
import type { FeatureExtractionModel, SimilarityModel } from '../../models/description.ts';
import { EngineError } from '../backend/engine-error.ts';
import type { RowResult, RunOptions } from '../backend/types.ts';
import type { Tokenizer } from '../tokenizer/tokenizer.ts';
import type { LabelResult } from './label-task.ts';
import { ranked, softmax } from './scores.ts';
import { checkTaskOptions, type LabelTaskOptions, type TaskOptions } from './task-options.ts';

/**
 * What similarities are multiplied by before the softmax. sentence-transformers trains with it by default
 * (MultipleNegativesRankingLoss, `scale=20.0`): a softmax over 20 times the cosines of the candidates is what the
 * bundled model has learned to get right, so its output is taken as it was meant.
 */
export const similarityScale = 20;

/** Sentences of labels whose vectors are kept: 6 MB of them at 384 dimensions. */
const keptSentences = 4096;

/** What the task needs of an Embedder. */
export interface SimilarityTools {
  embedTexts(
    model: FeatureExtractionModel,
    texts: readonly string[],
    options: RunOptions & {
      prompt: string;
      normalize: true;
      onBatch?(rows: readonly number[], results: readonly RowResult[]): void;
    },
  ): Promise<RowResult[]>;
  tokenizer(model: FeatureExtractionModel): Tokenizer;
}

/**
 * Zero-shot classification by a model that gives vectors: each label is put into a sentence (`hypothesis_template`),
 * and the nearest sentence names the text.
 *
 * The texts are taken as passages and the sentences as queries, with the model's prompts for these. A sentence is
 * embedded once and by itself, so its vector does not depend on the other labels. The scores are the softmax of
 * `similarityScale` times the cosine similarities; with `multi_label`, and for a single label, the similarity itself
 * (from -1 to 1), so that a threshold means the same whatever the other labels are.
 */
export class Similarity {
  readonly #tools: SimilarityTools;
  /** By model and sentence, the one used last at the end. */
  readonly #vectors = new Map<string, Promise<Float32Array>>();

  constructor(tools: SimilarityTools) {
    this.#tools = tools;
  }

  /**
   * Labels for each text, as `Embedder.labelTexts`.
   * Raises UserError when the options do not fit, or a label's sentence is longer than the model's limit.
   */
  async labelTexts(
    { vectors: model }: SimilarityModel,
    texts: readonly string[],
    given: LabelTaskOptions,
    run: RunOptions,
    onBatch?: (rows: readonly number[], results: readonly (LabelResult | EngineError)[]) => void,
  ): Promise<(LabelResult | EngineError)[]> {
    const options = checkTaskOptions('zero-shot-classification', given);
    const sentences = await this.#sentenceVectors(model, options, run);
    const finish = (result: RowResult) =>
      result instanceof EngineError ? result : nearest(result, sentences, options);
    const results = new Array<LabelResult | EngineError>(texts.length);
    await this.#tools.embedTexts(model, texts, {
      ...run,
      prompt: model.prompts.passage,
      normalize: true,
      onBatch: (rows, vectors) => {
        const finished = vectors.map(finish);
        rows.forEach((row, index) => {
          results[row] = finished[index]!;
        });
        onBatch?.(rows, finished);
      },
    });
    return results;
  }

  async #sentenceVectors(
    model: FeatureExtractionModel,
    { labels, hypothesis_template: template }: TaskOptions<'zero-shot-classification'>,
    run: RunOptions,
  ): Promise<Float32Array[]> {
    // Not replaceAll with a string: '$&' in a label would mean something.
    const sentences = labels.map((label) => template.replaceAll('{}', () => label));
    for (const sentence of sentences) this.#checkLength(model, sentence);
    const vectors = sentences.map((sentence) => this.#sentenceVector(model, sentence, run));
    for (const key of [...this.#vectors.keys()].slice(0, Math.max(0, this.#vectors.size - keptSentences))) {
      this.#vectors.delete(key);
    }
    // All of them, also when one fails: who tries again at once shall not meet what is left of this try.
    await Promise.allSettled(vectors);
    return Promise.all(vectors);
  }

  #sentenceVector(model: FeatureExtractionModel, sentence: string, run: RunOptions): Promise<Float32Array> {
    const key = JSON.stringify([model.onnxPath, model.pooling, model.prompts.query, sentence]);
    const vector = this.#vectors.get(key) ?? this.#embed(model, sentence, run);
    this.#vectors.delete(key);
    this.#vectors.set(key, vector);
    // Whoever asks next tries again. (The rejection itself is the caller's.)
    vector.catch(() => this.#vectors.get(key) === vector && this.#vectors.delete(key));
    return vector;
  }

  async #embed(model: FeatureExtractionModel, sentence: string, run: RunOptions): Promise<Float32Array> {
    const options = { ...run, prompt: model.prompts.query, normalize: true } as const;
    const [result] = await this.#tools.embedTexts(model, [sentence], options);
    if (result instanceof EngineError) {
      throw new UserError(`The label's sentence '${sentence}' has no vector: ${result.message}`, {
        hint: 'Change the label or choose another model',
        cause: result,
      });
    }
    // A copy: rows of a batch share one buffer.
    return result!.slice();
  }

  #checkLength(model: FeatureExtractionModel, sentence: string): void {
    const tokenizer = this.#tools.tokenizer(model);
    const specials = tokenizer.encode('').length;
    const most = model.maxTokens - specials - tokenizer.count(model.prompts.query);
    const tokens = tokenizer.count(sentence);
    if (tokens > most) {
      throw new UserError(`'${sentence}' has ${tokens} tokens, and model '${model.name}' takes ${most}`, {
        hint: 'Choose shorter labels or a shorter hypothesis_template',
      });
    }
  }
}

/** All vectors have length 1, so a product is a cosine. */
function nearest(
  text: Float32Array,
  sentences: readonly Float32Array[],
  { labels, multi_label, top_k }: TaskOptions<'zero-shot-classification'>,
): LabelResult {
  const similarities = sentences.map((sentence) =>
    sentence.reduce((sum, each, place) => sum + each * text[place]!, 0),
  );
  const scores =
    multi_label || labels.length === 1
      ? similarities
      : softmax(similarities.map((similarity) => similarityScale * similarity));
  return ranked(labels, scores, top_k);
}
