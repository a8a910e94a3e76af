import { Hono } from 'hono';
import { bearerAuth } from 'hono/bearer-auth';
import { HTTPException } from 'hono/http-exception';
import type { Logger } from 'pino';
import type { Worker } from '../worker/worker.ts';
import { isLoopback } from './address.ts';
import type { Metrics } from './metrics/metrics.ts';
import type { Readiness } from './readiness.ts';

/** What the routes answer from. */
export interface AppParts {
  readonly worker: Worker;
  readonly readiness: Readiness;
  readonly metrics: Metrics;
  /** The token that all but the health endpoints ask for, if it is set. */
  readonly token: string | undefined;
  /** It listens for this machine alone. */
  readonly local: boolean;
  readonly logger: Logger;
}

/** The routes of a worker. */
export function createApp({ worker, readiness, metrics, token, local, logger }: AppParts): Hono {
  const app = new Hono();

  // Says only that this process lives: an answer shows that its event loop runs. A database that is away is no reason to kill
  // a worker, which waits for it and has its model loaded.
  app.get('/healthz', (context) => {
    const alive = worker.state !== 'failed';
    return context.json({ alive, worker: worker.state }, alive ? 200 : 503);
  });

  app.get('/readyz', async (context) => {
    const report = await readiness.report();
    return context.json(report, report.ready ? 200 : 503);
  });

  if (token) app.use(bearerAuth({ token }));
  // DNS rebinding: a web page whose host name now resolves to this machine could read the answers in a browser here.
  else if (local)
    app.use(async (context, next) => {
      if (!isLoopback(new URL(context.req.url).hostname.replace(/^\[|\]$/g, '')))
        throw new HTTPException(403, { message: 'ask for it by localhost, or set PGEMBEDDER_HTTP_TOKEN' });
      await next();
    });

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
