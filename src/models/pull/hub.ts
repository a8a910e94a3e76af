import { z } from 'zod';
import { HubRequests, type HubSettings } from './hub-requests.ts';
import { PullError } from './pull-error.ts';
import type { ModelSource, Part, Snapshot, SourceFile } from './source.ts';

/** What a hub tells of a revision: GET /api/models/ORG/NAME/revision/REV?blobs=true */
const revisionSchema = z.looseObject({
  sha: z.string().regex(/^[\w.-]+$/),
  siblings: z.array(
    z.looseObject({
      rfilename: z.string(),
      size: z.int().nonnegative().nullish(),
      blobId: z.string().nullish(),
      lfs: z.looseObject({ sha256: z.string(), size: z.int().nonnegative().nullish() }).nullish(),
    }),
  ),
});

const SHA256 = /^[0-9a-f]{64}$/;
const SHA1 = /^[0-9a-f]{40}$/;

/**
 * A server that speaks the Hugging Face Hub's protocol. Files are asked for by commit, so that all belong
 * together. Their sums come from the hub itself, not from the store that it redirects to for the bytes.
 */
export class Hub implements ModelSource {
  readonly #requests: HubRequests;

  constructor(settings: HubSettings) {
    this.#requests = new HubRequests(settings);
  }

  async snapshot(name: string, revision: string): Promise<Snapshot> {
    const path = `api/models/${name}/revision/${encodeURIComponent(revision)}?blobs=true`;
    const { response } = await this.#requests.send('GET', path, { model: name, revision });
    const told = revisionSchema.safeParse(await readBody(response));
    if (!told.success) {
      throw new PullError(`${this.#requests.endpoint} does not answer as a hub does`, {
        hint: 'Check PGEMBEDDER_HUB_URL',
        cause: told.error,
      });
    }
    const files = told.data.siblings.map(({ rfilename, size, blobId, lfs }) => ({
      path: rfilename,
      bytes: lfs?.size ?? size ?? null,
      sha256: matching(SHA256, lfs?.sha256),
      // For a large file git holds only a pointer, and this is the sum of the pointer.
      gitSha1: lfs ? null : matching(SHA1, blobId),
      etag: null,
    }));
    return { commit: told.data.sha, files };
  }

  async complete(name: string, commit: string, file: SourceFile): Promise<SourceFile> {
    if (file.bytes !== null && (file.sha256 ?? file.gitSha1) !== null) return file;
    const { first } = await this.#requests.send('HEAD', resolvePath(name, commit, file.path), {
      model: name,
      revision: commit,
      file: file.path,
    });
    const tag = first.get('x-linked-etag') ?? first.get('etag');
    const mark = tag?.replace(/^W\//, '').replace(/^"|"$/g, '');
    const size = first.get('x-linked-size') ?? first.get('content-length');
    return {
      path: file.path,
      bytes: file.bytes ?? (size === null ? null : Number(size)),
      sha256: file.sha256 ?? matching(SHA256, mark),
      gitSha1: file.gitSha1 ?? matching(SHA1, mark),
      etag: tag?.startsWith('"') ? tag : null,
    };
  }

  async read(name: string, commit: string, file: SourceFile, from: number): Promise<Part> {
    const headers: Record<string, string> = from > 0 ? { range: `bytes=${from}-` } : {};
    // The store that the hub redirects to has other marks, so this helps only where there is no better sum.
    if (from > 0 && file.etag && !file.sha256 && !file.gitSha1) headers['if-range'] = file.etag;
    const { response } = await this.#requests.send(
      'GET',
      resolvePath(name, commit, file.path),
      { model: name, revision: commit, file: file.path },
      headers,
    );
    const begin = /^bytes (\d+)-/.exec(response.headers.get('content-range') ?? '')?.[1];
    const partial = response.status === 206 && Number(begin) === from;
    if (!response.body || (response.status === 206 && !partial)) {
      await response.body?.cancel();
      throw new PullError(`The hub gave another part of ${file.path} than was asked for`, { passing: true });
    }
    return { from: partial ? from : 0, content: response.body };
  }
}

function resolvePath(name: string, commit: string, path: string): string {
  const escaped = path.split('/').map(encodeURIComponent).join('/');
  return `${name}/resolve/${encodeURIComponent(commit)}/${escaped}`;
}

function matching(pattern: RegExp, text: string | null | undefined): string | null {
  return text && pattern.test(text) ? text : null;
}

async function readBody(response: Response): Promise<unknown> {
  try {
    return await response.json();
  } catch (error) {
    // Broken off, or a web page: the schema below refuses the latter.
    if (error instanceof SyntaxError) return null;
    throw new PullError('The hub broke off its answer', { passing: true, cause: error });
  }
}
