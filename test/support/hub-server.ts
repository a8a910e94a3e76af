import { createHash } from 'node:crypto';
import { once } from 'node:events';
import { createServer, type IncomingMessage, type Server, type ServerResponse } from 'node:http';
import type { AddressInfo } from 'node:net';

/** A request that came in. */
export interface HubRequest {
  /** The hub itself, or the store of large files, which is another origin. */
  at: 'hub' | 'store';
  /** `GET /org/model/resolve/...` */
  line: string;
  authorization: string | undefined;
  range: string | undefined;
  ifRange: string | undefined;
}

/** What is wrong with an answer. */
export interface Fault {
  /** Tried on `GET /path`, of hub and store alike. */
  match: RegExp;
  /** How many times. Default: once. */
  times?: number;
  status?: number;
  headers?: Record<string, string>;
  /** Sent instead of the content. */
  content?: Buffer;
  /** Sends so many bytes of what was asked for, calls `stalled`, and cuts the connection. */
  breakAfter?: number;
  /** Sends so many bytes, calls `stalled`, and goes on when `until` resolves. */
  stallAfter?: number;
  stalled?: () => void;
  until?: Promise<unknown>;
}

interface HubModel {
  commit: string;
  /** Large files lie in the store, as with git-lfs. */
  files: Map<string, { content: Buffer; large: boolean }>;
}

const sha256 = (content: Buffer) => createHash('sha256').update(content).digest('hex');
const gitSha1 = (content: Buffer) =>
  createHash('sha1').update(`blob ${content.length}\0`).update(content).digest('hex');

/**
 * A server that speaks the Hugging Face Hub's protocol as far as models are pulled, on two ports: the hub redirects
 * large files to the store. Keeps all commits of a model, and notes each request.
 */
export class HubServer {
  readonly requests: HubRequest[] = [];
  readonly faults: Fault[] = [];
  /** The token that is wanted; none is when it is not set. */
  token: string | undefined;
  /** Models that need a token and terms agreed to. */
  readonly gated = new Set<string>();
  /** A mirror that knows no sums: neither the list of files nor the store's marks tell them. */
  plain = false;
  readonly #models = new Map<string, HubModel[]>();
  readonly #hub: Server;
  readonly #store: Server;

  private constructor() {
    this.#hub = createServer((request, response) => this.#answer('hub', request, response));
    this.#store = createServer((request, response) => this.#answer('store', request, response));
  }

  static async start(): Promise<HubServer> {
    const server = new HubServer();
    for (const part of [server.#hub, server.#store]) {
      part.listen(0, '127.0.0.1');
      await once(part, 'listening');
    }
    return server;
  }

  /** Publishes a commit of a model; ONNX files and their weights are large. @returns the commit */
  publish(name: string, files: Record<string, Buffer | string | object>): string {
    const contents = Object.entries(files).map(
      ([path, content]) => [path, Buffer.isBuffer(content) ? content : Buffer.from(asText(content))] as const,
    );
    const commits = this.#models.get(name) ?? [];
    const commit = createHash('sha1').update(`${name} ${commits.length}`).digest('hex');
    const entries = contents.map(
      ([path, content]) => [path, { content, large: /\.onnx/.test(path) }] as const,
    );
    this.#models.set(name, [...commits, { commit, files: new Map(entries) }]);
    return commit;
  }

  /** Puts another content in the place of a file of the newest commit, as no hub does. */
  replace(name: string, path: string, content: Buffer): void {
    this.#models.get(name)!.at(-1)!.files.get(path)!.content = content;
  }

  get url(): string {
    return addressOf(this.#hub);
  }

  get storeUrl(): string {
    return addressOf(this.#store);
  }

  /** The requests for content that matched, in short: `hub GET /...`. */
  asked(pattern: RegExp): HubRequest[] {
    return this.requests.filter(({ line }) => pattern.test(line));
  }

  async stop(): Promise<void> {
    for (const part of [this.#hub, this.#store]) {
      part.closeAllConnections();
      part.close();
      await once(part, 'close');
    }
  }

  #answer(at: HubRequest['at'], request: IncomingMessage, response: ServerResponse): void {
    const line = `${request.method} ${request.url}`;
    const { authorization, range } = request.headers;
    this.requests.push({ at, line, authorization, range, ifRange: request.headers['if-range'] as string });
    const fault = this.faults.find(({ match, times = 1 }) => times > 0 && match.test(line));
    if (fault) fault.times = (fault.times ?? 1) - 1;
    if (fault?.status !== undefined) return void response.writeHead(fault.status, fault.headers).end();
    if (at === 'store') {
      const key = request.url!.slice(1);
      const content = this.#contents().find((each) => sha256(each) === key);
      return void (content
        ? send(request, response, content, '"of-the-store"', fault)
        : refuse(response, 404));
    }
    if (this.token !== undefined && authorization !== `Bearer ${this.token}`)
      return void refuse(response, 401);
    const api = /^\/api\/models\/([^/]+\/[^/]+)\/revision\/([^?]+)\?blobs=true$/.exec(request.url!);
    const file = /^\/([^/]+\/[^/]+)\/resolve\/([^/]+)\/(.+)$/.exec(request.url!);
    const [, name = '', revision = ''] = (api ?? file ?? []).map(decodeURIComponent);
    const commits = this.#models.get(name);
    if (!commits) return void refuse(response, 404, 'RepoNotFound');
    if (this.gated.has(name) && authorization === undefined) return void refuse(response, 401, 'GatedRepo');
    const model = revision === 'main' ? commits.at(-1) : commits.find(({ commit }) => commit === revision);
    if (!model) return void refuse(response, 404, 'RevisionNotFound');
    if (api) return void this.#list(model, response);
    const found = model.files.get(decodeURIComponent(file![3]!));
    if (!found) return void refuse(response, 404, 'EntryNotFound');
    response.setHeader('x-repo-commit', model.commit);
    if (!found.large || this.plain) {
      const tag = this.plain ? `"v-${sha256(found.content).slice(0, 8)}"` : `"${gitSha1(found.content)}"`;
      return void send(request, response, found.content, tag, fault);
    }
    response
      .writeHead(302, {
        location: `${this.storeUrl}/${sha256(found.content)}`,
        'x-linked-etag': `"${sha256(found.content)}"`,
        'x-linked-size': found.content.length,
      })
      .end();
  }

  #list({ commit, files }: HubModel, response: ServerResponse): void {
    const siblings = [...files].map(([rfilename, { content, large }]) => {
      if (this.plain) return { rfilename };
      const size = content.length;
      const blobId = gitSha1(content);
      return { rfilename, size, blobId, ...(large ? { lfs: { sha256: sha256(content), size } } : {}) };
    });
    response
      .writeHead(200, { 'content-type': 'application/json' })
      .end(JSON.stringify({ sha: commit, siblings }));
  }

  #contents(): Buffer[] {
    return [...this.#models.values()]
      .flat()
      .flatMap(({ files }) => [...files.values()].map((file) => file.content));
  }
}

function asText(content: string | object): string {
  return typeof content === 'string' ? content : JSON.stringify(content);
}

function addressOf(server: Server): string {
  return `http://127.0.0.1:${(server.address() as AddressInfo).port}`;
}

function refuse(response: ServerResponse, status: number, code?: string): void {
  response.writeHead(status, code ? { 'x-error-code': code } : {}).end('no');
}

/** Sends content, or the part that is asked for, with what is wrong with it. */
function send(
  request: IncomingMessage,
  response: ServerResponse,
  content: Buffer,
  etag: string,
  fault: Fault | undefined,
): void {
  const whole = fault?.content ?? content;
  const ifRange = request.headers['if-range'];
  const wanted = ifRange === undefined || ifRange === etag ? request.headers.range : undefined;
  const from = Number(/^bytes=(\d+)-$/.exec(wanted ?? '')?.[1] ?? 0);
  const part = whole.subarray(from);
  response.writeHead(wanted ? 206 : 200, {
    etag,
    'content-length': part.length,
    ...(wanted ? { 'content-range': `bytes ${from}-${whole.length - 1}/${whole.length}` } : {}),
  });
  if (request.method === 'HEAD') return void response.end();
  if (fault?.breakAfter !== undefined) {
    response.write(part.subarray(0, fault.breakAfter), () => {
      fault.stalled?.();
      response.destroy();
    });
  } else if (fault?.stallAfter !== undefined) {
    response.write(part.subarray(0, fault.stallAfter), () => fault.stalled?.());
    void fault.until?.then(() => response.end(part.subarray(fault.stallAfter!)));
  } else {
    response.end(part);
  }
}
