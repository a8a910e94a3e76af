import type { Backend } from '../../src/inference/backend/backend.ts';
import type { RunnableModel, ServedModel } from '../../src/model-files/description.ts';
import { createModelStore } from './built.ts';

/** What it makes of every text. */
const sequence = {};

/** A backend that answers at once: it gives every text the same vector. For benchmarks of the queue alone. */
export class InstantEngine implements Backend {
  readonly #models = createModelStore({ directories: [] });
  readonly sessions = [];
  /** By dimensions. */
  readonly #vectors = new Map<number, Float32Array>();

  find(name: string): ServedModel {
    return this.#models.find(name, 'feature-extraction');
  }

  runs(_: RunnableModel): _ is RunnableModel {
    return true;
  }

  admit(): void {}

  tokenizer({ maxTokens }: RunnableModel) {
    const none = () => {
      throw new Error('it gives vectors only');
    };
    return {
      ...{ maxTokens, specialTokens: 2, encode: () => sequence, count: () => 0 },
      ...{ pairsWith: none, pairsOf: none, withPlaces: none, join: none },
    };
  }

  tokensOf(): number {
    return 1;
  }

  identityOf(): string {
    return '';
  }

  open(model: RunnableModel) {
    if (!('dimensions' in model)) throw new Error('it gives vectors only');
    const { name, dimensions } = model;
    this.#vectors.set(dimensions, new Float32Array(dimensions).fill(dimensions ** -0.5));
    return { key: String(dimensions), model: name, normalize: true };
  }

  planOf() {
    return { tokenBudget: Number.POSITIVE_INFINITY, mostSequences: Number.POSITIVE_INFINITY };
  }

  async run({ key }: { key: string }, sequences: readonly object[]): Promise<Float32Array[]> {
    return sequences.map(() => this.#vectors.get(Number(key))!);
  }

  /** Nobody is told: it runs nothing that takes time. */
  on(): void {}

  async stop(): Promise<void> {}
}
