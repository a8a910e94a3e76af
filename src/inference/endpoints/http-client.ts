import type { IncomingHttpHeaders } from 'node:http';
import { Agent, type Dispatcher, EnvHttpProxyAgent, request } from 'undici';
import { codeOf, messageOf } from '../../errors.ts';
import { isLoopback } from '../../loopback.ts';
import { version } from '../../version.ts';
import { Passing, Unreachable } from './failures.ts';

/** So long a connection may take to be made; in ms. */
const CONNECT_MS = 10_000;

/** Errors of a connection that was not made: the server has seen nothing of the request. */
const NOT_CONNECTED = new Set([
  'ECONNREFUSED',
  'EHOSTUNREACH',
  'ENETUNREACH',
  'ENOTFOUND',
  'EAI_AGAIN',
  'UND_ERR_CONNECT_TIMEOUT',
  'ERR_TLS_CERT_ALTNAME_INVALID',
  'CERT_HAS_EXPIRED',
  'DEPTH_ZERO_SELF_SIGNED_CERT',
  'SELF_SIGNED_CERT_IN_CHAIN',
  'UNABLE_TO_VERIFY_LEAF_SIGNATURE',
  'UNABLE_TO_GET_ISSUER_CERT',
  'UNABLE_TO_GET_ISSUER_CERT_LOCALLY',
]);

/** What a server has answered. */
export interface Answer {
  readonly status: number;
  readonly headers: IncomingHttpHeaders;
  readonly body: string;
}

/** How a request is to be sent. */
export interface PostOptions {
  readonly headers: Readonly<Record<string, string>>;
  /** Longest answer that is read, in bytes. */
  readonly mostBytes: number;
  readonly signal: AbortSignal;
}

/**
 * Sends requests to one server. It follows no redirects, so neither texts nor the key go where nobody has sent them. The
 * proxies are those of HTTP_PROXY, HTTPS_PROXY and NO_PROXY, and none for this machine itself.
 */
export class HttpClient {
  readonly #base: URL;
  readonly #timeoutMs: number;
  readonly #dispatcher: Dispatcher;

  /** @param connections most of them at a time */
  constructor(base: string, { connections, timeoutMs }: { connections: number; timeoutMs: number }) {
    this.#base = new URL(base);
    this.#timeoutMs = timeoutMs;
    const options = { connections, connect: { timeout: Math.min(CONNECT_MS, timeoutMs) } };
    const host = this.#base.hostname.replace(/^\[|\]$/g, '');
    this.#dispatcher = isLoopback(host) ? new Agent(options) : new EnvHttpProxyAgent(options);
  }

  /**
   * Sends JSON to a path below the server's address.
   * @throws Unreachable, Passing; the signal's reason when it was aborted
   */
  async post(path: string, content: unknown, options: PostOptions): Promise<Answer> {
    const late = AbortSignal.timeout(this.#timeoutMs);
    const signal = AbortSignal.any([options.signal, late]);
    try {
      const { statusCode, headers, body } = await request(this.#url(path), {
        dispatcher: this.#dispatcher,
        method: 'POST',
        headers: {
          'content-type': 'application/json',
          accept: 'application/json',
          'user-agent': `pgembedder/${version}`,
          ...options.headers,
        },
        body: JSON.stringify(content),
        // The signal is the limit for all of it.
        headersTimeout: 0,
        bodyTimeout: 0,
        signal,
      });
      return { status: statusCode, headers, body: await readText(body, options.mostBytes) };
    } catch (error) {
      options.signal.throwIfAborted();
      if (late.aborted) {
        throw new Passing(`it has not answered within ${this.#timeoutMs / 1_000} s`, {
          ...{ kind: 'timeout', again: false },
        });
      }
      if (error instanceof Passing) throw error;
      const cause = causeOf(error);
      const reason = messageOf(cause) || codeOf(cause);
      if (NOT_CONNECTED.has(codeOf(cause))) {
        throw new Unreachable(`${this.#base.origin} cannot be reached: ${reason}`, { cause });
      }
      throw new Passing(`the connection to ${this.#base.origin} broke: ${reason}`, {
        ...{ kind: 'died', broken: true, cause },
      });
    }
  }

  /** Ends all connections. */
  async close(): Promise<void> {
    await this.#dispatcher.destroy();
  }

  #url(path: string): URL {
    const url = new URL(this.#base);
    url.pathname = url.pathname.replace(/\/+$/, '') + path;
    return url;
  }
}

async function readText(body: AsyncIterable<Buffer>, mostBytes: number): Promise<string> {
  const parts: Buffer[] = [];
  let bytes = 0;
  for await (const part of body) {
    bytes += part.length;
    if (bytes > mostBytes) throw new Passing(`its answer has more than ${mostBytes} bytes`);
    parts.push(part);
  }
  return Buffer.concat(parts).toString('utf8');
}

/** The error behind one of several tries to connect, to the addresses of a host. */
function causeOf(error: unknown): unknown {
  if (error instanceof AggregateError && error.errors.length > 0) return error.errors[0];
  return error;
}
