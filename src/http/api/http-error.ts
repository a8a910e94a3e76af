/** The statuses that a request of the API can be refused with. */
export type RefusalStatus = 400 | 401 | 403 | 404 | 405 | 413 | 415 | 422 | 429 | 500 | 503;

/** What OpenAI's clients know these refusals by. */
const TYPES: Record<RefusalStatus, string> = {
  400: 'invalid_request_error',
  401: 'authentication_error',
  403: 'permission_error',
  404: 'not_found_error',
  405: 'invalid_request_error',
  413: 'invalid_request_error',
  415: 'invalid_request_error',
  422: 'invalid_request_error',
  429: 'rate_limit_error',
  500: 'server_error',
  503: 'server_error',
};

/** More about a refusal, for programs. */
export interface RefusalDetails {
  /** The field of the body that is at fault. */
  readonly param?: string | undefined;
  /** A word for the reason, such as `model_not_found`. */
  readonly code?: string | undefined;
  /** Seconds after which it is worth to try again. */
  readonly retryAfter?: number | undefined;
  readonly cause?: unknown;
}

/** A request that is refused, with one sentence for whoever sent it. */
export class HttpError extends Error {
  override readonly name = 'HttpError';
  readonly status: RefusalStatus;
  readonly type: string;
  readonly details: RefusalDetails;

  constructor(status: RefusalStatus, message: string, details: RefusalDetails = {}) {
    super(message, { cause: details.cause });
    this.status = status;
    this.type = TYPES[status];
    this.details = details;
  }
}

/** A refusal in OpenAI's form. */
export function openaiError(error: HttpError, requestId: string) {
  const { param = null, code = null } = error.details;
  return { error: { message: error.message, type: error.type, param, code, request_id: requestId } };
}

/** What text-embeddings-inference's clients know refusals by. */
function teiType(status: RefusalStatus): string {
  if (status === 429) return 'Overloaded';
  if (status === 503) return 'Unhealthy';
  return status >= 500 ? 'Backend' : 'Validation';
}

/** A refusal in text-embeddings-inference's form. */
export function teiError(error: HttpError, requestId: string) {
  return { error: error.message, error_type: teiType(error.status), request_id: requestId };
}
