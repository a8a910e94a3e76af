import {
  type Attributes,
  context,
  propagation,
  type Span,
  SpanKind,
  SpanStatusCode,
  trace,
} from '@opentelemetry/api';
import { codeOf } from './errors.ts';
import { version } from './version.ts';

/**
 * Traces by OpenTelemetry: spans go to the SDK of the application, or to the one that `NODE_OPTIONS=--import ...` loads. Without one
 * the calls here do nothing. Attributes hold names and counts, and no text of rows.
 */
const tracer = trace.getTracer('pgembedder', version);

/** Does work inside a span, which is a child of the one around it. */
export function traced<Result>(
  name: string,
  attributes: Attributes,
  work: () => Promise<Result>,
): Promise<Result> {
  return tracer.startActiveSpan(`pgembedder.${name}`, { attributes }, (span) => during(span, work));
}

/** The same for work that began so many ms ago with a step that has its own span. */
export function tracedSince<Result>(
  name: string,
  step: { name: string; ms: number },
  attributes: Attributes,
  work: () => Promise<Result>,
): Promise<Result> {
  const now = Date.now();
  const startTime = now - step.ms;
  return tracer.startActiveSpan(`pgembedder.${name}`, { attributes, startTime }, (span) => {
    tracer.startSpan(`pgembedder.${step.name}`, { attributes, startTime }).end(now);
    return during(span, work);
  });
}

/**
 * The span of an HTTP request: a child of the one that its header `traceparent` names, unless an instrumentation of Node's HTTP
 * server has made one already.
 * @param work given what tells the answer's status
 */
export function tracedRequest<Result>(
  method: string,
  route: string,
  headers: Readonly<Record<string, string>>,
  work: (answered: (status: number) => void) => Promise<Result>,
): Promise<Result> {
  const parent = trace.getActiveSpan() ? context.active() : propagation.extract(context.active(), headers);
  const attributes = { 'http.request.method': method, 'http.route': route };
  return tracer.startActiveSpan(`${method} ${route}`, { kind: SpanKind.SERVER, attributes }, parent, (span) =>
    during(span, () =>
      work((status) => {
        span.setAttribute('http.response.status_code', status);
        if (status >= 500) span.setStatus({ code: SpanStatusCode.ERROR });
      }),
    ),
  );
}

/** An error's code alone: its message may hold values of rows. */
async function during<Result>(span: Span, work: () => Promise<Result>): Promise<Result> {
  try {
    return await work();
  } catch (error) {
    span.setAttribute('error.type', codeOf(error) || (error instanceof Error ? error.name : 'other'));
    span.setStatus({ code: SpanStatusCode.ERROR });
    throw error;
  } finally {
    span.end();
  }
}
