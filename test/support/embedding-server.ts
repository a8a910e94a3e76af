import {
  createServer,
  type IncomingHttpHeaders,
  type IncomingMessage,
  type Server,
  type ServerResponse,
} from 'node:http';
import { createServer as createSecureServer } from 'node:https';
import type { AddressInfo } from 'node:net';
import { fakeVector } from './pgembedder.ts';

/** A request that a stand-in was sent. */
export interface Received {
  readonly path: string;
  readonly headers: IncomingHttpHeaders;
  // biome-ignore lint/suspicious/noExplicitAny: each API has a body of its own, which the test compares.
  readonly body: any;
  readonly texts: string[];
}

/** What it does instead of a good answer. */
export type Misdeed =
  | {
      readonly status: number;
      readonly headers?: Readonly<Record<string, string | undefined>>;
      readonly body?: unknown;
    }
  | { readonly raw: string }
  | 'cut'
  /** As a crash: nobody listens any more, until `restart`. */
  | 'end'
  | 'half'
  | 'hang';

/** A server of embeddings on a free port, as OpenAI, text-embeddings-inference or Ollama have it: `fakeVector` of each text. */
export class EmbeddingServer {
  readonly received: Received[] = [];
  /** What is to go wrong with a request, if anything; `number` counts them from 0. */
  misbehave: (request: Received, number: number) => Misdeed | undefined = () => undefined;
  dimensions = 384;
  /** Whether OpenAI's answers are in base64 where that was asked for. */
  knowsBase64 = true;
  #port = 0;
  readonly #scheme: 'http' | 'https';
  readonly #server: Server;

  private constructor(certificate: { key: Buffer; cert: Buffer } | undefined) {
    this.#scheme = certificate ? 'https' : 'http';
    const take = (request: IncomingMessage, response: ServerResponse) => this.#take(request, response);
    this.#server = certificate ? createSecureServer(certificate, take) : createServer(take);
  }

  /** @param certificate to speak TLS with */
  static async start(certificate?: { key: Buffer; cert: Buffer }): Promise<EmbeddingServer> {
    const server = new EmbeddingServer(certificate);
    await server.#listen(0);
    server.#port = (server.#server.address() as AddressInfo).port;
    return server;
  }

  get port(): number {
    return this.#port;
  }

  get url(): string {
    return `${this.#scheme}://${this.#scheme === 'https' ? 'localhost' : '127.0.0.1'}:${this.#port}`;
  }

  /** Listens again, at the same address, if it has ended. */
  async restart(): Promise<void> {
    if (!this.#server.listening) await this.#listen(this.#port);
  }

  /** Texts of all requests that were answered well or not. */
  get texts(): string[] {
    return this.received.flatMap(({ texts }) => texts);
  }

  async stop(): Promise<void> {
    this.#server.closeAllConnections();
    await new Promise((resolve) => this.#server.close(resolve));
  }

  async #listen(port: number): Promise<void> {
    // 'localhost' where there is TLS: the certificate has that name, and it may be ::1.
    const host = this.#scheme === 'https' ? 'localhost' : '127.0.0.1';
    await new Promise<void>((resolve) => this.#server.listen(port, host, resolve));
  }

  #take(request: IncomingMessage, response: ServerResponse): void {
    let text = '';
    request.on('data', (part) => {
      text += part;
    });
    request.on('end', () => {
      const body = JSON.parse(text);
      const texts: string[] = body.input ?? body.inputs;
      const received = { path: request.url!, headers: request.headers, body, texts };
      this.received.push(received);
      this.#answer(received, response);
    });
  }

  #answer(request: Received, response: ServerResponse): void {
    const misdeed = this.misbehave(request, this.received.length - 1);
    if (misdeed === 'hang') return;
    if (misdeed === 'end') {
      this.#server.close();
      this.#server.closeAllConnections();
      return;
    }
    if (misdeed === 'cut') {
      response.socket?.destroy();
      return;
    }
    if (misdeed === undefined || misdeed === 'half') {
      const body = JSON.stringify(this.goodAnswer(request));
      response.writeHead(200, {
        ...{ 'content-type': 'application/json', 'content-length': body.length },
        ...(request.path.endsWith('/embed') ? { 'x-compute-tokens': String(10 * request.texts.length) } : {}),
      });
      if (misdeed === 'half') response.write(body.slice(0, 100), () => response.socket?.destroy());
      else response.end(body);
      return;
    }
    if ('raw' in misdeed) {
      response.writeHead(200, { 'content-type': 'application/json' }).end(misdeed.raw);
      return;
    }
    response.statusCode = misdeed.status;
    response.setHeader('content-type', 'application/json');
    for (const [name, value] of Object.entries(misdeed.headers ?? {}))
      if (value !== undefined) response.setHeader(name, value);
    response.end(JSON.stringify(misdeed.body ?? { error: { message: 'made for the test' } }));
  }

  // biome-ignore lint/suspicious/noExplicitAny: the test changes it at will.
  goodAnswer({ path, texts, body }: Received): any {
    const vectors = texts.map((text) => fakeVector(text, this.dimensions));
    if (path.endsWith('/api/embed')) {
      return { model: body.model, embeddings: vectors.map((vector) => [...vector]), prompt_eval_count: 10 };
    }
    if (path.endsWith('/embed')) return vectors.map((vector) => [...vector]);
    const base64 = this.knowsBase64 && body.encoding_format === 'base64';
    const data = vectors.map((vector, index) => ({
      ...{ object: 'embedding', index },
      embedding: base64 ? Buffer.from(vector.buffer).toString('base64') : [...vector],
    }));
    return { object: 'list', data, model: body.model, usage: { prompt_tokens: 7, total_tokens: 7 } };
  }
}
