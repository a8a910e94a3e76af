import { Hono } from 'hono';
import { bearerAuth } from 'hono/bearer-auth';
import { HTTPException } from 'hono/http-exception';
import type { Logger } from 'pino';
import type { Worker } from '../worker/worker.ts';
import type { Metrics } from './metrics/metrics.ts';
import type { Readiness } from './readiness.ts';

/** What the routes answer from. */
export interface AppParts {
  readonly worker: Worker;
  readonly readiness: Readiness;
  readonly metrics: Metrics;
  /** Asked for by everything but the health endpoints, where it is set. */
  readonly token: string | undefined;
  readonly logger: Logger;
}

/** The routes of a worker. */
export function createApp({ worker, readiness, metrics, token, logger }: AppParts): Hono {
  const app = new Hono();

  // Says only that this process lives: the answer itself shows that its event loop turns. A database that is away is no
  // reason to kill a worker, which waits for it and has its model loaded.
  app.get('/healthz', (context) => {
    const alive = worker.state !== 'failed';
    return context.json({ alive, worker: worker.state }, alive ? 200 : 503);
  });

  app.get('/readyz', async (context) => {
    const report = await readiness.report();
    return context.json(report, report.ready ? 200 : 503);
  });

  if (token) app.use(bearerAuth({ token }));

  app.get('/metrics', async (context) => {
    const { contentType, text } = await metrics.render();
    return context.body(text, 200, { 'content-type': contentType });
  });

  app.onError((error, context) => {
    if (error instanceof HTTPException) return error.getResponse();
    logger.error({ err: error, path: context.req.path }, 'an HTTP request failed');
    return context.json({ error: { message: 'internal error, see the log' } }, 500);
  });
  return app;
}
