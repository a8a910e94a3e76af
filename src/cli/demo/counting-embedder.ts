import { Embedder } from '../../inference/embedder.ts';
import type { Tokenizer } from '../../inference/tokenizer/tokenizer.ts';
import type { ModelDescription } from '../../models/description.ts';

/** An embedder that knows how many tokens its texts had, for a progress bar. */
export class CountingEmbedder extends Embedder {
  #texts = 0;
  #tokens = 0;

  /** Tokens of a text, on average over all so far. */
  get tokensPerText(): number {
    return this.#texts === 0 ? 0 : this.#tokens / this.#texts;
  }

  override tokenizer(description: ModelDescription): Tokenizer {
    const tokenizer = super.tokenizer(description);
    return {
      maxTokens: tokenizer.maxTokens,
      count: (text) => tokenizer.count(text),
      encode: (text) => {
        const ids = tokenizer.encode(text);
        this.#texts++;
        this.#tokens += ids.length;
        return ids;
      },
    };
  }
}
