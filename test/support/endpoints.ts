import type { Endpoint } from '../../src/endpoints/endpoint.ts';

/** An endpoint `there` with a model `words` of 384 dimensions, at a server. */
export function endpointAt(url: string, own: Partial<Endpoint> = {}): Endpoint {
  return {
    name: 'there',
    url: `${url}/v1`,
    api: 'openai',
    encoding: 'base64',
    authorization: () => ({}),
    models: [{ name: 'words', dimensions: 384, max_tokens: 512, prompts: { query: 'query: ', passage: '' } }],
    limits: { inputs_per_request: 4, concurrent_requests: 4, timeout_seconds: 20 },
    ...own,
  };
}
