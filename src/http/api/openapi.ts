import { z } from 'zod';
import { version } from '../../version.ts';
import type { RefusalStatus } from './http-error.ts';
import type { Dialect, Route } from './route.ts';

const refusals: Record<Dialect, z.ZodType> = {
  openai: z.object({
    error: z.object({
      message: z.string(),
      type: z.string(),
      param: z.string().nullable(),
      code: z.string().nullable(),
      request_id: z.string(),
    }),
  }),
  tei: z.object({ error: z.string(), error_type: z.string(), request_id: z.string() }),
};

/** What each refusal means, whatever the route. */
const MEANINGS: Record<RefusalStatus, string> = {
  400: 'The body is not what it should be.',
  401: 'A token is missing or not known.',
  403: 'The token is not for this, or the Host header names another machine.',
  404: 'There is no such model, or no such pipeline.',
  405: 'The path is there, and not for this method.',
  413: 'The body is too long, or too much work.',
  415: 'The body is not announced as JSON.',
  422: 'The model cannot do this with these texts.',
  429: 'Too much waits already; Retry-After says when to try again.',
  500: 'A defect; the log of the server has it.',
  503: 'The server starts or stops, or the model cannot be run.',
};

/** The OpenAPI document of these routes, made of the schemas that validate. */
export function openApiDocument(routes: readonly Route[]) {
  const paths: Record<string, Record<string, unknown>> = {};
  for (const route of routes) paths[route.path] = { ...paths[route.path], [route.method]: operation(route) };
  return {
    openapi: '3.1.0',
    info: {
      title: 'pgembedder',
      version,
      description: 'Vectors and labels of texts, by the models of this machine.',
    },
    paths,
    components: { securitySchemes: { token: { type: 'http', scheme: 'bearer' } } },
  };
}

function operation(route: Route) {
  const { summary, description, body, example, answer, dialect, scope } = route;
  const open = scope === null;
  // 401 and 403 where tokens are set; 400 and 405 are the server's own for any route.
  const statuses = [
    ...new Set<RefusalStatus>([...route.refusals, 400, ...(open ? [] : ([401, 403] as const)), 500]),
  ];
  const parameters = [...route.path.matchAll(/\{(\w+)\}/g)].map(([, name]) => ({
    name,
    in: 'path',
    required: true,
    schema: { type: 'string' },
  }));
  return {
    summary,
    ...(description !== undefined && { description }),
    operationId: `${route.method}_${route.path.replaceAll(/\W+/g, '_')}`,
    ...(parameters.length > 0 && { parameters }),
    // Tokens are asked for only where some are set.
    security: open ? [] : [{ token: [] }, {}],
    ...(body && {
      requestBody: {
        required: true,
        content: {
          'application/json': { schema: schemaOf(body, 'input'), ...(example !== undefined && { example }) },
        },
      },
    }),
    responses: {
      200: {
        description: 'The answer.',
        content: { 'application/json': { schema: schemaOf(answer, 'output') } },
      },
      ...Object.fromEntries(
        statuses
          .sort((a, b) => a - b)
          .map((status) => [
            status,
            {
              description: MEANINGS[status],
              content: { 'application/json': { schema: schemaOf(refusals[dialect], 'output') } },
            },
          ]),
      ),
    },
  };
}

function schemaOf(schema: z.ZodType, io: 'input' | 'output') {
  const { $schema, ...rest } = z.toJSONSchema(schema, { io });
  return rest;
}
