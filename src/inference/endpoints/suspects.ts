import { createHash } from 'node:crypto';
import PQueue from 'p-queue';

/** Most texts that are remembered; then it begins anew. */
const MOST = 100_000;

/**
 * Texts that a server was working on when it ended. One of them may be why: llama.cpp's server aborts over a text that is too
 * long for its model. So each of them is asked for alone, one at a time, until there is an answer. The one over which the
 * server ends then is guilty. Whoever has asked may not hear of it, since the server is away for other texts of the same call:
 * so it is told once more.
 */
export class Suspects {
  readonly #hashes = new Set<string>();
  readonly #guilty = new Set<string>();
  readonly #one = new PQueue({ concurrency: 1 });

  has(text: string): boolean {
    return this.#hashes.size > 0 && this.#hashes.has(hashOf(text));
  }

  add(texts: readonly string[]): void {
    if (this.#hashes.size > MOST) this.#hashes.clear();
    for (const text of texts) this.#hashes.add(hashOf(text));
  }

  acquit(texts: readonly string[]): void {
    if (this.#hashes.size === 0) return;
    for (const text of texts) this.#hashes.delete(hashOf(text));
  }

  convict(text: string): void {
    this.#guilty.add(hashOf(text));
  }

  /** Whether a text was found guilty, and nobody has asked since. */
  takeVerdict(text: string): boolean {
    return this.#guilty.size > 0 && this.#guilty.delete(hashOf(text));
  }

  /** Asks when no other suspect is asked for. */
  alone<Result>(ask: () => Promise<Result>): Promise<Result> {
    return this.#one.add(ask);
  }
}

function hashOf(text: string): string {
  return createHash('sha1').update(text).digest('base64');
}
