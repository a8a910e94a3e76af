import type { z } from 'zod';
import type { Scope } from '../../config.ts';
import type { RefusalStatus } from './http-error.ts';
import type { Inference } from './inference.ts';

/** Whose clients a route is for, which decides the form of its refusals. */
export type Dialect = 'openai' | 'tei';

/** What a route is given beside the body. */
export interface Call {
  readonly inference: Inference;
  /** Aborted when the client has gone away. */
  readonly signal: AbortSignal;
  /** The path's parameters. */
  readonly params: Readonly<Record<string, string>>;
}

/** A route: what it takes, what it gives, and how. The server validates by it, and the OpenAPI document is made of it. */
export interface Route {
  readonly method: 'get' | 'post';
  /** As OpenAPI writes it: `/v1/models/{model}`. */
  readonly path: string;
  readonly summary: string;
  readonly description?: string;
  readonly dialect: Dialect;
  /** What a token has to be for; null: it can be asked without one. Default: infer. */
  readonly scope?: Scope | null;
  readonly body?: z.ZodType;
  readonly example?: unknown;
  readonly answer: z.ZodType;
  readonly refusals: readonly RefusalStatus[];
  /** @returns what is answered as JSON */
  handle(call: Call, body: never): unknown;
}

/** How a route that takes texts may refuse a request. */
export const BODY_REFUSALS: readonly RefusalStatus[] = [400, 404, 413, 415, 422, 429, 503];

/** A route whose handler has the type of its body. */
export function route<Body extends z.ZodType>(
  definition: Omit<Route, 'handle' | 'body'> & {
    readonly body: Body;
    handle(call: Call, body: z.infer<Body>): unknown;
  },
): Route {
  return definition;
}

/** JSON that a handler has written itself. */
export class JsonText {
  readonly text: string;

  constructor(text: string) {
    this.text = text;
  }
}
