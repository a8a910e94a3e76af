import { randomUUID } from 'node:crypto';
import type { HttpBindings } from '@hono/node-server';
import { Hono } from 'hono';
import { cors } from 'hono/cors';
import type { Logger } from 'pino';
import type { Scope } from '../config.ts';
import { isLoopback } from '../loopback.ts';
import { tracedRequest } from '../tracing.ts';
import type { Tokens } from './access/tokens.ts';
import type { Api, HttpContext, RequestVariables } from './api/api.ts';
import { HttpError, openaiError, teiError } from './api/http-error.ts';
import { ClientGone } from './api/line.ts';
import type { Metrics } from './metrics/metrics.ts';
import { type Operate, operateRoutes } from './operate/operate.ts';
import type { Readiness } from './readiness.ts';
import type { Served } from './served.ts';

/** What the routes answer from. */
export interface AppParts {
  readonly served: Pick<Served, 'state'>;
  readonly readiness: Readiness;
  readonly metrics: Metrics;
  /** Null where no models are run for requests, and nothing is searched. */
  readonly api: Api | null;
  readonly operate: Operate;
  readonly tokens: Tokens;
  /** It listens for this machine alone. */
  readonly local: boolean;
  /** Origins of web pages that may read answers. */
  readonly origins: readonly string[];
  readonly logger: Logger;
}

/** The routes of a worker, or of a server of models alone. */
export function createApp(parts: AppParts): Hono<{ Bindings: HttpBindings; Variables: RequestVariables }> {
  const { served, readiness, metrics, api, operate, tokens, local, origins, logger } = parts;
  const app = new Hono<{ Bindings: HttpBindings; Variables: RequestVariables }>();

  const routes = patternsOf([...(api?.routes ?? []), ...operateRoutes]);

  app.use(async (context, next) => {
    const begin = performance.now();
    const requestId = requestIdOf(context.req.header('x-request-id'));
    context.set('requestId', requestId);
    context.header('x-request-id', requestId);
    const { method, path } = context.req;
    const route = routeOf(path, routes);
    await tracedRequest(method, route, context.req.header(), async (answered) => {
      await next();
      answered(context.res.status);
    });
    metrics.countRequest(route, context.res.status, performance.now() - begin);
  });
  if (origins.length > 0) app.use(cors({ origin: origins.includes('*') ? '*' : [...origins] }));

  // Says only that this process lives: an answer shows that its event loop runs. A database that is away is no reason to kill
  // a worker, which waits for it and has its model loaded.
  app.get('/healthz', (context) => {
    const alive = served.state !== 'failed';
    return context.json({ alive, worker: served.state }, alive ? 200 : 503);
  });

  app.get('/readyz', async (context) => {
    const report = await readiness.report();
    return context.json(report, report.ready ? 200 : 503);
  });

  const guard = (context: HttpContext, scope: Scope | null) => {
    // DNS rebinding: a web page whose host name now resolves to this machine could read the answers in a browser here.
    if (!tokens.any && local && !isLoopback(new URL(context.req.url).hostname.replace(/^\[|\]$/g, ''))) {
      throw new HttpError(403, 'Ask for it by localhost, or set PGEMBEDDER_HTTP_TOKEN');
    }
    if (!tokens.any && !local && (scope === 'operate' || scope === 'search')) {
      throw new HttpError(
        403,
        'From other machines pipelines are searched and steered with a token only: set PGEMBEDDER_HTTP_TOKEN',
      );
    }
    tokens.check(context.req.header('authorization'), scope);
  };

  app.get('/metrics', async (context) => {
    guard(context, 'read');
    const { contentType, text } = await metrics.render();
    return context.body(text, 200, { 'content-type': contentType });
  });

  operate.addTo(app, guard);
  api?.addTo(app, guard);

  // A route like the others: what it throws goes through the handlers above.
  app.all('*', (context) => {
    guard(context, null);
    const allowed = methodsOf(context.req.path, routes);
    if (allowed.length === 0) throw new HttpError(404, 'There is nothing at this path');
    context.header('allow', allowed.join(', '));
    throw new HttpError(405, `This path takes ${allowed.join(' and ')}`);
  });

  app.onError((error, context) => {
    if (error instanceof ClientGone || context.env?.outgoing?.destroyed)
      return context.body(null, 499 as 400);
    const refusal =
      error instanceof HttpError ? error : new HttpError(500, 'A defect: the log of the server says more');
    const requestId = context.get('requestId');
    const { status, details } = refusal;
    if (status >= 500) {
      const { cause = error } = refusal;
      logger.error({ err: cause, path: context.req.path, requestId }, 'an HTTP request was not answered');
    }
    if (details.retryAfter !== undefined) context.header('retry-after', String(details.retryAfter));
    if (status === 401) context.header('www-authenticate', 'Bearer');
    // What is left of its body is not read.
    if (status === 413 || status === 415 || status === 429) context.header('connection', 'close');
    const write = context.get('dialect') === 'tei' ? teiError : openaiError;
    return context.json(write(refusal, requestId), status);
  });
  return app;
}

/** The client's own id where it gives a decent one, so that its log and ours can be put side by side. */
function requestIdOf(given: string | undefined): string {
  return given !== undefined && /^[\w.-]{1,64}$/.test(given)
    ? given
    : `req_${randomUUID().replaceAll('-', '')}`;
}

/** A route whose path may hold parameters. */
interface Pattern {
  readonly method: string;
  readonly path: string;
  readonly pattern: RegExp;
}

function patternsOf(routes: readonly { readonly method: string; readonly path: string }[]): Pattern[] {
  return routes.map(({ method, path }) => ({
    method: method.toUpperCase(),
    path,
    // The last name may hold a slash, as a model's does.
    pattern: new RegExp(`^${path.replace(/\{\w+\}$/, '.+').replaceAll(/\{\w+\}/g, '[^/]+')}$`),
  }));
}

const others = new Set(['/', '/healthz', '/readyz', '/metrics', '/openapi.json', '/docs']);

/** The route of a request, for metrics: never more than there are. */
function routeOf(path: string, routes: readonly Pattern[]): string {
  return others.has(path) ? path : (routes.find(({ pattern }) => pattern.test(path))?.path ?? 'other');
}

/** The methods that a path has. */
function methodsOf(path: string, routes: readonly Pattern[]): string[] {
  return routes.filter(({ pattern }) => pattern.test(path)).map(({ method }) => method);
}
