import { countOf, type EndpointApi, listOf } from './api.ts';

/** Ollama's own API. Its vectors have length 1; it cuts what is longer than its model takes. */
export const ollama: EndpointApi = {
  path: '/api/embed',
  body: ({ model, texts }) => ({ model, input: texts, truncate: true }),
  read(answer, _headers, texts) {
    const { embeddings, prompt_eval_count } = Object(answer);
    return { vectors: listOf(embeddings, texts), tokens: countOf(prompt_eval_count) };
  },
};
