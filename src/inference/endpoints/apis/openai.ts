import { Passing } from '../failures.ts';
import { countOf, type EndpointApi, listOf } from './api.ts';

/** OpenAI's embeddings, which most servers speak: vLLM, infinity, llama.cpp, LiteLLM, pgembedder itself. */
export const openai: EndpointApi = {
  path: '/embeddings',
  body: ({ model, texts, encoding }) => ({ model, input: texts, encoding_format: encoding }),
  read(answer, _headers, texts) {
    const { data, usage } = Object(answer);
    const { total_tokens, prompt_tokens } = Object(usage);
    return {
      vectors: inOrder(listOf(data, texts)),
      tokens: countOf(total_tokens) ?? countOf(prompt_tokens),
    };
  },
};

/** The vectors in the order of their texts: `index` says which text each is for. @throws Passing where it does not */
function inOrder(entries: readonly unknown[]): unknown[] {
  const vectors = new Array<unknown>(entries.length);
  const places = new Set<unknown>();
  for (const [at, entry] of entries.entries()) {
    const { index = at, embedding } = Object(entry);
    if (!Number.isInteger(index) || index < 0 || index >= entries.length || places.has(index)) {
      throw new Passing('its answer does not say which vector is for which text');
    }
    places.add(index);
    vectors[index] = embedding;
  }
  return vectors;
}
