import { UserError } from '../../errors.ts';
import type { SimilarityModel, VectorModel } from '../../model-files/description.ts';
import type { LabelResult } from '../../tasks/results.ts';
import { ranked, softmax } from '../../tasks/scores.ts';
import { checkTaskOptions, type LabelTaskOptions } from '../../tasks/task-options.ts';
import type { TextTokenizer } from '../../tasks/text-tokenizer.ts';
import { type ZeroShotOptions, zeroShotClassification } from '../../tasks/zero-shot-classification.ts';
import { EngineError } from '../backend/engine-error.ts';
import type { RunOptions, SequenceResult } from '../backend/run.ts';

/**
 * What similarities are multiplied by before the softmax. sentence-transformers trains with it by default
 * (MultipleNegativesRankingLoss, `scale=20.0`): a softmax over 20 times the cosines of the candidates is what the
 * bundled model has learned to get right, so its output is taken as it was meant.
 */
export const SIMILARITY_SCALE = 20;

/** Sentences of labels whose vectors are kept: 6 MB of them at 384 dimensions. */
const KEPT_SENTENCES = 4096;

/** A text by its place in the call, and its result. */
interface Done<Result> {
  readonly place: number;
  readonly result: Result | EngineError;
}

/** What the task needs of an Embedder. */
export interface VectorSource {
  embedTexts(
    model: VectorModel,
    texts: readonly string[],
    options: RunOptions & {
      prompt: string;
      normalize: true;
      onBatch?(done: readonly Done<Float32Array>[]): void;
    },
  ): Promise<SequenceResult[]>;
  /** The same for models, and options of them, that give the same vectors. */
  callKey(model: VectorModel, options: { prompt: string; normalize: true }): string;
}

/**
 * Zero-shot classification by a model that gives vectors: each label is put into a sentence (`hypothesis_template`),
 * and the nearest sentence names the text.
 *
 * The texts are taken as passages and the sentences as queries, with the model's prompts for these. A sentence is
 * embedded once and by itself, so its vector does not depend on the other labels. The scores are the softmax of
 * `SIMILARITY_SCALE` times the cosine similarities; with `multi_label`, and for a single label, the similarity itself
 * (from -1 to 1), so that a threshold means the same whatever the other labels are.
 */
export class Similarity {
  readonly #source: VectorSource;
  readonly #tokenizerOf: (model: VectorModel) => TextTokenizer;
  /** By model and sentence, the one used last at the end. */
  readonly #vectors = new Map<string, Promise<Float32Array>>();

  constructor(source: VectorSource, tokenizerOf: (model: VectorModel) => TextTokenizer) {
    this.#source = source;
    this.#tokenizerOf = tokenizerOf;
  }

  /**
   * Labels for each text, as `Embedder.labelTexts`.
   * @throws UserError when the options do not fit, or a label's sentence is longer than the model's limit.
   */
  async labelTexts(
    { vectors: model }: SimilarityModel,
    texts: readonly string[],
    given: LabelTaskOptions,
    run: RunOptions,
    onBatch?: (done: readonly Done<LabelResult>[]) => void,
  ): Promise<(LabelResult | EngineError)[]> {
    const options = checkTaskOptions(zeroShotClassification.name, given);
    const sentences = await this.#sentenceVectors(model, options, run);
    const finish = (result: SequenceResult) =>
      result instanceof EngineError ? result : nearest(result, sentences, options);
    const results = new Array<LabelResult | EngineError>(texts.length);
    await this.#source.embedTexts(model, texts, {
      ...run,
      prompt: model.prompts.passage,
      normalize: true,
      onBatch: (batch) => {
        const done = batch.map(({ place, result }) => ({ place, result: finish(result) }));
        for (const { place, result } of done) results[place] = result;
        onBatch?.(done);
      },
    });
    return results;
  }

  async #sentenceVectors(
    model: VectorModel,
    { labels, hypothesis_template: template }: ZeroShotOptions,
    run: RunOptions,
  ): Promise<Float32Array[]> {
    // Not replaceAll with a string: '$&' in a label would mean something.
    const sentences = labels.map((label) => template.replaceAll('{}', () => label));
    for (const sentence of sentences) this.#checkLength(model, sentence);
    const vectors = sentences.map((sentence) => this.#sentenceVector(model, sentence, run));
    for (const key of [...this.#vectors.keys()].slice(0, Math.max(0, this.#vectors.size - KEPT_SENTENCES))) {
      this.#vectors.delete(key);
    }
    // All of them, also when one fails: who tries again at once shall not meet what is left of this try.
    await Promise.allSettled(vectors);
    return Promise.all(vectors);
  }

  #sentenceVector(model: VectorModel, sentence: string, run: RunOptions): Promise<Float32Array> {
    const options = { prompt: model.prompts.query, normalize: true } as const;
    const key = `${this.#source.callKey(model, options)} ${sentence}`;
    const vector = this.#vectors.get(key) ?? this.#embed(model, sentence, run);
    this.#vectors.delete(key);
    this.#vectors.set(key, vector);
    // Whoever asks next tries again. (The rejection itself is the caller's.)
    vector.catch(() => this.#vectors.get(key) === vector && this.#vectors.delete(key));
    return vector;
  }

  async #embed(model: VectorModel, sentence: string, run: RunOptions): Promise<Float32Array> {
    const options = { ...run, prompt: model.prompts.query, normalize: true } as const;
    const [result] = await this.#source.embedTexts(model, [sentence], options);
    if (result instanceof EngineError) {
      throw new UserError(`The label's sentence '${sentence}' has no vector: ${result.message}`, {
        hint: 'Change the label or choose another model',
        cause: result,
      });
    }
    // A copy: rows of a batch share one buffer.
    return result!.slice();
  }

  #checkLength(model: VectorModel, sentence: string): void {
    const tokenizer = this.#tokenizerOf(model);
    const most = model.maxTokens - tokenizer.specialTokens - tokenizer.count(model.prompts.query);
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
  { labels, multi_label, top_k }: ZeroShotOptions,
): LabelResult {
  const similarities = sentences.map((sentence) =>
    sentence.reduce((sum, each, place) => sum + each * text[place]!, 0),
  );
  const scores =
    multi_label || labels.length === 1
      ? similarities
      : softmax(similarities.map((similarity) => SIMILARITY_SCALE * similarity));
  return ranked(labels, scores, top_k);
}
