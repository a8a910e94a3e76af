import type { HttpServerOptions } from '../../../src/http/server.ts';
import { startHttpServer } from '../../../src/http/server.ts';
import { cpu } from '../../../src/inference/devices/device.ts';
import type { Embedder } from '../../../src/inference/embedder.ts';
import { openEmbedder } from '../../../src/inference/open-embedder.ts';
import type { TextEmbedder } from '../../../src/inference/text-embedder.ts';
import { createModelStore } from '../../../src/models/store.ts';
import { WorkerEvents } from '../../../src/worker/events.ts';
import { unpackMatrix } from '../../support/matrix.ts';
import { silent } from '../../support/pgembedder.ts';
import { tinyModelsFolder } from '../../support/tiny-models.ts';

/** Folders of tiny models: for the tasks that give labels, and of one that ranks. */
const FOLDERS = [tinyModelsFolder(), unpackMatrix().directory];

export function openTestEmbedder(): Embedder {
  return openEmbedder({ logger: silent, device: cpu, directories: FOLDERS });
}

/** A server of models without a database. */
export interface InferenceServer {
  readonly url: string;
  readonly events: WorkerEvents;
  get(path: string, headers?: Record<string, string>): Promise<Response>;
  post(path: string, body: unknown, init?: RequestInit): Promise<Response>;
  /** What a route answers to a body that it takes. */
  // biome-ignore lint/suspicious/noExplicitAny: each route has another answer, which the test compares.
  ask(path: string, body: unknown): Promise<any>;
  close(): Promise<void>;
}

export async function serveModels(
  embedder: TextEmbedder | undefined,
  options: Partial<HttpServerOptions> = {},
): Promise<InferenceServer> {
  const events = new WorkerEvents();
  const store = createModelStore({ directories: FOLDERS });
  const server = await startHttpServer({
    served: { state: 'working', events, sessions: [], embedder },
    connection: null,
    address: { host: '127.0.0.1', port: 0 },
    api: {
      defaultFor: (task) => (task === 'feature-extraction' ? { name: 'all-MiniLM-L6-v2' } : null),
      list: () => store.list(),
    },
    logger: silent,
    ...options,
  });
  const url = server.url!;
  const post = (path: string, body: unknown, init: RequestInit = {}) =>
    fetch(url + path, {
      method: 'POST',
      body: typeof body === 'string' ? body : JSON.stringify(body),
      ...init,
      headers: { 'content-type': 'application/json', ...init.headers },
    });
  return {
    url,
    events,
    get: (path, headers = {}) => fetch(url + path, { headers }),
    post,
    async ask(path, body) {
      const response = await post(path, body);
      const answer = await response.json();
      if (!response.ok) throw new Error(JSON.stringify(answer));
      return answer;
    },
    close: () => server.close(),
  };
}
