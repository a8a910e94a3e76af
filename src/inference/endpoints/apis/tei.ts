import { countOf, type EndpointApi, listOf } from './api.ts';

/** text-embeddings-inference: one model a server. It cuts what is longer than its model takes. */
export const tei: EndpointApi = {
  path: '/embed',
  body: ({ texts, normalize }) => ({ inputs: texts, normalize, truncate: true }),
  read: (answer, headers, texts) => ({
    vectors: listOf(answer, texts),
    tokens: countOf(headers['x-compute-tokens']),
  }),
};
