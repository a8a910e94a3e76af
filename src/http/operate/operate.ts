import { once } from 'node:events';
import type { HttpBindings } from '@hono/node-server';
import type { Hono } from 'hono';
import { streamSSE } from 'hono/streaming';
import type { Scope } from '../../config.ts';
import type { Database } from '../../database/database.ts';
import type { HttpContext, RequestVariables } from '../api/api.ts';
import { Bodies } from '../api/bodies.ts';
import { HttpError } from '../api/http-error.ts';
import type { OpenedPipeline } from '../search/opened.ts';
import { act, actions } from './actions.ts';
import { readDetails } from './details.ts';
import { EndpointStates, type ListedEndpoint } from './endpoint-states.ts';
import { History } from './history.ts';
import { readPages } from './pages.ts';
import { readShown, type ServedState } from './read-shown.ts';
import type { Action, Shown } from './shown.ts';
import { Watchers } from './watchers.ts';

/** Proxies end connections on which nothing is said for a while. */
const SIGN_OF_LIFE_MS = 15_000;

/** The routes beside the dashboard's own files, with their methods. */
export const operateRoutes: readonly { readonly method: string; readonly path: string }[] = [
  { method: 'GET', path: '/v1/status' },
  { method: 'GET', path: '/v1/events' },
  { method: 'GET', path: '/v1/pipelines/{name}' },
  { method: 'POST', path: '/v1/pipelines/{name}/{action}' },
];

/** What is known beside the worker and its database. */
export interface OperateOptions {
  /** Pipelines that may be searched over HTTP. */
  readonly opened?: readonly OpenedPipeline[] | undefined;
  readonly endpoints?: readonly ListedEndpoint[] | undefined;
}

/** Shows how everything is, to people (`/`) and programs, and does what they ask for. */
export class Operate {
  readonly #database: Database | null;
  readonly #history: History | null;
  readonly #read: () => Promise<Shown>;
  readonly #watchers: Watchers;
  readonly #bodies = new Bodies();
  readonly #pages = readPages();

  constructor(
    served: ServedState,
    database: Database | null,
    { opened = [], endpoints = [] }: OperateOptions = {},
  ) {
    const history = database && new History(database);
    const states = new EndpointStates(endpoints, served.events);
    this.#database = database;
    this.#history = history;
    this.#read = () => readShown(served, database, history, opened, states);
    this.#watchers = new Watchers(this.#read);
  }

  /** The paths of the dashboard's files. */
  get paths(): readonly string[] {
    return [...this.#pages.keys()];
  }

  /** Adds the routes. @param guard checks what a request has to bring; null: no token, since the dashboard's files tell nothing */
  addTo(
    app: Hono<{ Bindings: HttpBindings; Variables: RequestVariables }>,
    guard: (context: HttpContext, scope: Scope | null) => void,
  ): void {
    for (const [path, { body, headers }] of this.#pages) {
      app.get(path, (context) => context.body(body, 200, headers));
    }
    app.get('/v1/status', async (context) => {
      guard(context, 'read');
      return context.json(await this.#read());
    });
    app.get('/v1/events', (context) => {
      guard(context, 'read');
      return this.#tell(context);
    });
    app.get('/v1/pipelines/:name', async (context) => {
      guard(context, 'read');
      return context.json(await readDetails(this.#requireDatabase(), context.req.param('name')));
    });
    app.post('/v1/pipelines/:name/:action', async (context) => {
      guard(context, 'operate');
      const { name, action } = context.req.param();
      if (!isAction(action)) throw new HttpError(404, `An action is one of ${actions.join(', ')}`);
      const body = await this.#bodies.read(context.env.incoming);
      try {
        return context.json({ done: await act(this.#requireDatabase(), name, action, body.json) });
      } finally {
        body.release();
      }
    });
  }

  close(): void {
    this.#history?.close();
    this.#watchers.close();
  }

  #tell(context: HttpContext): Response {
    const watchers = this.#watchers;
    if (watchers.full) throw new HttpError(429, 'Too many pages watch already', { retryAfter: 10 });
    // A proxy is not to gather what is said.
    context.header('x-accel-buffering', 'no');
    return streamSSE(context, async (stream) => {
      const gone = new AbortController();
      stream.onAbort(() => gone.abort());
      const ended = AbortSignal.any([gone.signal, watchers.ended]);
      const remove = watchers.add((shown) => {
        void stream.writeSSE({ event: 'status', data: JSON.stringify(shown) });
      });
      const life = setInterval(() => void stream.write(': alive\n\n'), SIGN_OF_LIFE_MS);
      if (!ended.aborted) await once(ended, 'abort');
      clearInterval(life);
      remove();
    });
  }

  /** @throws HttpError 404 */
  #requireDatabase(): Database {
    if (this.#database) return this.#database;
    throw new HttpError(404, 'This server has no database: pgembedder work serves one');
  }
}

function isAction(action: string): action is Action {
  return actions.some((each) => each === action);
}
