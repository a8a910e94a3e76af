import type { HttpBindings } from '@hono/node-server';
import type { Context, Hono } from 'hono';
import type { Scope } from '../../config.ts';
import { Bodies } from './bodies.ts';
import { docsPage } from './docs-page.ts';
import { HttpError } from './http-error.ts';
import type { Inference } from './inference.ts';
import { openApiDocument } from './openapi.ts';
import { type Call, JsonText, type Route } from './route.ts';
import { labelRoutes } from './routes/labels.ts';
import { openaiRoutes } from './routes/openai.ts';
import { rankingRoutes } from './routes/ranking.ts';
import { teiRoutes } from './routes/tei.ts';

/** What every request has beside itself. */
export interface RequestVariables {
  requestId: string;
  dialect: 'openai' | 'tei';
}

export type HttpContext = Context<{ Bindings: HttpBindings; Variables: RequestVariables }>;

/** The routes that run models. */
export const apiRoutes: readonly Route[] = [...openaiRoutes, ...labelRoutes, ...rankingRoutes, ...teiRoutes];

const JSON_TYPE = { 'content-type': 'application/json' };
/** The page needs its own style and nothing else. */
const PAGE_HEADERS = {
  'content-type': 'text/html; charset=utf-8',
  'content-security-policy': "default-src 'none'; style-src 'unsafe-inline'; frame-ancestors 'none'",
};

/** The API: its routes, and the requests that are under way. */
export class Api {
  readonly routes: readonly Route[];
  readonly #inference: Inference;
  readonly #bodies = new Bodies();
  #underWay = 0;
  #closing = false;
  readonly #waitingForEnd: (() => void)[] = [];

  constructor(inference: Inference, routes: readonly Route[] = apiRoutes) {
    this.routes = routes;
    this.#inference = inference;
  }

  /** Adds the routes. @param guard checks what a request has to bring, before its body is read; throws HttpError */
  addTo(
    app: Hono<{ Bindings: HttpBindings; Variables: RequestVariables }>,
    guard: (context: HttpContext, scope: Scope) => void,
  ): void {
    const document = openApiDocument(this.routes);
    const text = JSON.stringify(document);
    const page = docsPage(document);
    app.get('/openapi.json', (context) => context.body(text, 200, JSON_TYPE));
    app.get('/docs', (context) => context.body(page, 200, PAGE_HEADERS));
    for (const route of this.routes) {
      // A name may hold a slash.
      const path = route.path.replaceAll(/\{(\w+)\}/g, ':$1{.+}');
      app.on(route.method.toUpperCase(), path, (context) => {
        context.set('dialect', route.dialect);
        const { scope = 'infer' } = route;
        if (scope !== null) guard(context, scope);
        return this.#answer(context, route);
      });
    }
  }

  /** Refuses new requests from now on; resolves when those that were accepted have their answer. */
  async close(): Promise<void> {
    this.#closing = true;
    if (this.#underWay > 0) await new Promise<void>((resolve) => this.#waitingForEnd.push(resolve));
  }

  async #answer(context: HttpContext, route: Route): Promise<Response> {
    this.#refuseAtTheEnd();
    const gone = new AbortController();
    const { incoming, outgoing } = context.env;
    const hear = () => gone.abort();
    outgoing.once('close', hear);
    const read = route.body && (await this.#bodies.read(incoming));
    try {
      // A slow client may have taken until now.
      this.#refuseAtTheEnd();
      const body = read && validated(route, read.json);
      const call: Call = { inference: this.#inference, signal: gone.signal, params: context.req.param() };
      const answer = await this.#accepted(() => route.handle(call, body as never));
      return context.body(answer instanceof JsonText ? answer.text : JSON.stringify(answer), 200, JSON_TYPE);
    } finally {
      outgoing.off('close', hear);
      read?.release();
    }
  }

  /** @throws HttpError 503 */
  #refuseAtTheEnd(): void {
    if (this.#closing) throw new HttpError(503, 'The server is stopping', { retryAfter: 1 });
  }

  /** Counts a request until it has its answer. */
  async #accepted(answer: () => unknown): Promise<unknown> {
    this.#underWay++;
    try {
      return await answer();
    } finally {
      this.#underWay--;
      if (this.#underWay === 0) for (const resolve of this.#waitingForEnd.splice(0)) resolve();
    }
  }
}

/** @throws HttpError 400 naming the first field that does not fit */
function validated({ body }: Route, json: unknown): unknown {
  const result = body!.safeParse(json);
  if (result.success) return result.data;
  const issue = result.error.issues[0]!;
  const param = issue.path.join('.');
  throw new HttpError(400, param === '' ? `The body: ${issue.message}` : `${param}: ${issue.message}`, {
    param: param || undefined,
  });
}
