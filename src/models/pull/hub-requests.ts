import { messageOf } from '../../errors.ts';
import { PullError } from './pull-error.ts';

/** The public hub. */
export const PUBLIC_HUB = 'https://huggingface.co';

/** Which hub, and the token for it. */
export interface HubSettings {
  /** Its address, without a slash at the end. */
  readonly endpoint: string;
  readonly token?: string | undefined;
  readonly signal?: AbortSignal | undefined;
}

/** What a request is about, for its errors. */
export interface Subject {
  readonly model: string;
  readonly revision: string;
  readonly file?: string;
}

/** The last answer of a chain of redirects, and the headers of its first, in which a hub tells of the file. */
interface Answer {
  readonly response: Response;
  readonly first: Headers;
}

const REDIRECT_LIMIT = 5;

/** Sends requests to a hub, and follows it to other servers without taking the token there. */
export class HubRequests {
  readonly endpoint: string;
  readonly #settings: HubSettings;

  constructor(settings: HubSettings) {
    this.endpoint = settings.endpoint.replace(/\/+$/, '');
    this.#settings = settings;
  }

  /** @throws PullError for any answer but a good one */
  async send(
    method: 'GET' | 'HEAD',
    path: string,
    subject: Subject,
    headers: Record<string, string> = {},
  ): Promise<Answer> {
    let url = new URL(`${this.endpoint}/${path}`);
    let first: Headers | undefined;
    for (let hop = 0; hop <= REDIRECT_LIMIT; hop++) {
      const response = await this.#fetch(method, url, headers);
      first ??= response.headers;
      const location = response.headers.get('location');
      if (response.status >= 300 && response.status < 400 && location) {
        await response.body?.cancel();
        // A HEAD wants the headers of the hub's own answer, wherever the bytes lie. So it follows a redirect only to a
        // model's new name.
        if (method === 'HEAD' && response.headers.has('x-linked-etag')) return { response, first };
        const next = new URL(location, url);
        // Not to an address without encryption, where somebody on the way could change the bytes: some files have no sum.
        if (next.protocol !== 'https:' && next.protocol !== url.protocol) break;
        url = next;
        continue;
      }
      if (response.ok) return { response, first };
      await response.body?.cancel();
      throw this.#refusal(response, url, subject);
    }
    throw new PullError(`${this.endpoint} redirects in a way that leads nowhere`, {
      hint: 'Check PGEMBEDDER_HUB_URL',
    });
  }

  async #fetch(method: string, url: URL, headers: Record<string, string>): Promise<Response> {
    const own = url.origin === new URL(this.endpoint).origin;
    const { token, signal } = this.#settings;
    try {
      return await fetch(url, {
        method,
        redirect: 'manual',
        headers: {
          // Sums, sizes and ranges are of the bytes as they are, without compression.
          'accept-encoding': 'identity',
          ...headers,
          ...(own && token ? { authorization: `Bearer ${token}` } : {}),
        },
        ...(signal ? { signal } : {}),
      });
    } catch (error) {
      signal?.throwIfAborted();
      throw new PullError(`${url.origin} cannot be reached: ${reasonOf(error)}`, {
        hint: 'Check the network, or name a mirror by PGEMBEDDER_HUB_URL; without any, copy the folder of the model here, and: pgembedder models pull ./FOLDER --name ORG/NAME',
        // An unknown name stays unknown: trying again does not help.
        passing: causeCode(error) !== 'ENOTFOUND',
        cause: error,
      });
    }
  }

  #refusal(response: Response, url: URL, subject: Subject): PullError {
    const { status, headers } = response;
    const { model, revision, file } = subject;
    const code = headers.get('x-error-code');
    const gated = code === 'GatedRepo';
    if (url.origin !== new URL(this.endpoint).origin) {
      // The addresses that a hub gives out expire; asking again gives a new one.
      return failure(`${url.origin}, where the hub keeps ${file ?? model},`, status, headers, true);
    }
    if (status === 401 || status === 403) {
      const sent = this.#settings.token ? 'the token that was sent may not read it' : 'no token was sent';
      return gated
        ? new PullError(`${model} is gated, and ${sent}`, {
            hint: "Accept its terms on the hub's page of the model, and set PGEMBEDDER_HUB_TOKEN to a token of that account",
          })
        : new PullError(`The hub does not give out ${model}: ${sent}`, {
            hint: 'Check its name; for a private model set PGEMBEDDER_HUB_TOKEN to a token that may read it',
          });
    }
    if (status === 404) {
      if (code === 'RevisionNotFound')
        return new PullError(`${model} has no revision '${revision}'`, {
          hint: 'Name a branch, a tag or a commit by --revision, or take what there is now by --update',
        });
      if (file !== undefined && code !== 'RepoNotFound')
        return new PullError(`${model} has no ${file} at ${revision}`, {
          hint: 'Pull it with --update, or name another --revision',
        });
      return new PullError(`There is no model ${model} on ${this.endpoint}`, {
        hint: 'Check its name, ORG/NAME; pgembedder models list shows those of the catalog',
      });
    }
    return failure(this.endpoint, status, headers, false);
  }
}

/** The error for a status that says nothing about the model. */
function failure(who: string, status: number, headers: Headers, elsewhere: boolean): PullError {
  const passing = status >= 500 || status === 429 || status === 408 || elsewhere;
  const seconds = Number(headers.get('retry-after'));
  return new PullError(`${who} answers with status ${status}`, {
    hint: passing ? 'Try again later: what has arrived is kept' : 'Check PGEMBEDDER_HUB_URL',
    passing,
    waitMs: Number.isFinite(seconds) ? seconds * 1_000 : 0,
  });
}

/** The error code under fetch's own error. */
function causeCode(error: unknown): unknown {
  return error instanceof Error ? Object(error.cause).code : undefined;
}

function reasonOf(error: unknown): string {
  const cause = error instanceof Error && error.cause instanceof Error ? error.cause : error;
  return 'code' in Object(cause) && messageOf(cause) === '' ? String(Object(cause).code) : messageOf(cause);
}
