import type { ReadinessReport } from '../../../src/http/readiness.ts';
import { type HttpServer, type HttpServerOptions, startHttpServer } from '../../../src/http/server.ts';
import type { Worker } from '../../../src/worker/worker.ts';
import { silent } from '../../support/pgembedder.ts';

/** The HTTP server of a worker on a free port, and what it answers. */
export interface TestHttpServer extends HttpServer {
  readonly url: string;
  get(path: string, headers?: Record<string, string>): Promise<Response>;
  /** What /readyz says, with its status. */
  readiness(): Promise<ReadinessReport & { status: number }>;
  /** What /metrics says. */
  metrics(): Promise<string>;
}

export async function serveWorker(
  worker: Worker,
  connection: string,
  options: Partial<HttpServerOptions> = {},
): Promise<TestHttpServer> {
  const server = await startHttpServer({
    served: worker,
    connection,
    address: { host: '127.0.0.1', port: 0 },
    logger: silent,
    ...options,
  });
  const url = server.url!;
  const get = (path: string, headers: Record<string, string> = {}) => fetch(url + path, { headers });
  return {
    url,
    get,
    async readiness() {
      const response = await get('/readyz');
      return { ...((await response.json()) as ReadinessReport), status: response.status };
    },
    async metrics() {
      return (await get('/metrics')).text();
    },
    close: () => server.close(),
  };
}
