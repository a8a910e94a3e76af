import { createHash, timingSafeEqual } from 'node:crypto';
import type { Scope, ScopedToken } from '../../config.ts';
import { HttpError } from '../api/http-error.ts';

/** Who may do what. Tokens are kept as hashes of one length, and all of them are compared, so that time tells nothing. */
export class Tokens {
  readonly #known: readonly { hash: Buffer; scopes: ReadonlySet<Scope> }[];

  constructor(tokens: readonly ScopedToken[]) {
    this.#known = tokens.map(({ token, scopes }) => ({ hash: hashOf(token), scopes: new Set(scopes) }));
  }

  /** Whether there are any: without one everybody may do everything. */
  get any(): boolean {
    return this.#known.length > 0;
  }

  /**
   * Checks the header `Authorization` of a request.
   * @param scope what the request needs; null for one that any token may make
   * @throws HttpError 401 without a token that is known, 403 where it is not for this
   */
  check(authorization: string | undefined, scope: Scope | null): void {
    if (!this.any) return;
    const given = /^Bearer +([^\s]+) *$/i.exec(authorization ?? '')?.[1];
    if (given === undefined) {
      throw new HttpError(401, 'This server wants a token: send it as Authorization: Bearer TOKEN', {
        code: 'missing_token',
      });
    }
    const hash = hashOf(given);
    const matching = this.#known.filter((known) => timingSafeEqual(known.hash, hash));
    if (matching.length === 0) {
      throw new HttpError(401, 'The token is not one that this server knows', { code: 'invalid_api_key' });
    }
    if (scope !== null && !matching.some(({ scopes }) => scopes.has(scope))) {
      throw new HttpError(403, `The token is not for this: it lacks the scope ${scope}`, {
        code: 'missing_scope',
      });
    }
  }
}

function hashOf(token: string): Buffer {
  return createHash('sha256').update(token).digest();
}
