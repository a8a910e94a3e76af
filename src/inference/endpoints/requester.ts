import type { Endpoint } from '../../endpoints/endpoint.ts';
import type { SequenceResult } from '../backend/run.ts';
import { apis } from './apis/apis.ts';
import type { EndpointModel } from './endpoint-model.ts';
import { Passing, TooMany, Unreachable } from './failures.ts';
import type { Gate, WaitReason } from './gate.ts';
import { type Answer, HttpClient } from './http-client.ts';
import { readJson, readVectors } from './read-vectors.ts';
import { requireSuccess } from './replies.ts';

/** Where a server does not say how long it is busy: the first wait and the longest, in ms; doubled each time. */
const FIRST_WAIT_MS = 1_000;
const LONGEST_WAIT_MS = 60_000;

/** Bytes of an answer for each number, as JSON writes it with all its digits; and around the vectors. */
const BYTES_PER_NUMBER = 40;
const BYTES_AROUND = 100_000;

/** What is told of an endpoint. */
export interface EndpointListener {
  /** A request was sent. @param outcome its status, `timeout`, `broken` or `unreachable` */
  onRequest(outcome: string): void;
  /** Tokens that the server has counted, or about as many as there were. */
  onTokens(model: EndpointModel, tokens: number): void;
  onWait(reason: WaitReason, ms: number): void;
}

/** One request. */
export interface Sending {
  readonly model: EndpointModel;
  readonly texts: readonly string[];
  /** About how many tokens they have. */
  readonly tokens: number;
  /** Whether the vectors are to have the length 1. */
  readonly normalize: boolean;
}

/** What a request has given. */
export interface Received {
  readonly results: SequenceResult[];
  readonly tokens: number;
}

/** Sends requests to an endpoint, and reads its answers. */
export class Requester {
  readonly #endpoint: Endpoint;
  readonly #gate: Gate;
  readonly #listener: EndpointListener;
  readonly #http: HttpClient;
  /** Answers of 429 or 503 since the last good one. */
  #refusals = 0;

  constructor(endpoint: Endpoint, gate: Gate, listener: EndpointListener) {
    this.#endpoint = endpoint;
    this.#gate = gate;
    this.#listener = listener;
    const { concurrent_requests, timeout_seconds } = endpoint.limits;
    this.#http = new HttpClient(endpoint.url, {
      ...{ connections: concurrent_requests, timeoutMs: timeout_seconds * 1_000 },
    });
  }

  /** @throws Passing, Refused, Unreachable, TooMany, UserError */
  async send({ model, texts, tokens, normalize }: Sending, signal: AbortSignal): Promise<Received> {
    const { api: kind, authorization, encoding } = this.#endpoint;
    const api = apis[kind];
    const headers = authorization();
    const body = api.body({ model: model.nameThere, texts, normalize, encoding });
    const mostBytes = texts.length * model.dimensions * BYTES_PER_NUMBER + BYTES_AROUND;
    const answer = await this.#told(this.#http.post(api.path, body, { headers, mostBytes, signal }));
    try {
      requireSuccess(answer, model, secretsOf(headers));
    } catch (error) {
      if (error instanceof TooMany) this.#close(error);
      throw error;
    }
    const { vectors, tokens: counted } = api.read(readJson(answer.body), answer.headers, texts.length);
    const results = readVectors(vectors, model.dimensions, normalize);
    this.#refusals = 0;
    if (counted !== null) this.#gate.correct(tokens, counted);
    this.#listener.onTokens(model, counted ?? tokens);
    return { results, tokens: counted ?? tokens };
  }

  /** Ends all connections. */
  close(): Promise<void> {
    return this.#http.close();
  }

  async #told(request: Promise<Answer>): Promise<Answer> {
    try {
      const answer = await request;
      this.#listener.onRequest(String(answer.status));
      return answer;
    } catch (error) {
      this.#listener.onRequest(outcomeOf(error));
      throw error;
    }
  }

  #close({ status, waitMs }: TooMany): void {
    const ownMs = Math.min(FIRST_WAIT_MS * 2 ** this.#refusals++, LONGEST_WAIT_MS);
    this.#gate.close(status, waitMs ?? ownMs);
  }
}

function outcomeOf(error: unknown): string {
  if (error instanceof Unreachable) return 'unreachable';
  return error instanceof Passing && error.kind === 'timeout' ? 'timeout' : 'broken';
}

/** What must not be shown of a request's headers. */
function secretsOf(headers: Readonly<Record<string, string>>): string[] {
  return Object.values(headers).map((value) => value.replace(/^Bearer /, ''));
}
