import { TokenBucket } from 'limiter';
import PQueue from 'p-queue';
import type { EndpointLimits } from '../../endpoints/endpoint.ts';
import { PRIORITIES, type Priority } from '../backend/priority.ts';
import { later, stopped } from './failures.ts';

const MINUTE_MS = 60_000;

/** The part of a minute's limit that only callers who wait for the answer may use. */
const RESERVE = 0.1;

/** When the limit of a minute is used up, the queue goes on as soon as this part of it is free again. */
const REFILL = 0.5;

/** So long somebody who waits for the answer is let wait for the endpoint; in ms. */
export const PATIENCE_MS = 3_000;

/** What a request is. */
export interface Entry {
  readonly priority: Priority;
  /** About how many tokens it has. */
  readonly tokens: number;
}

export type WaitReason = 'limit' | '429' | '503';

/**
 * Lets requests through to an endpoint: so many at a time, so many and with so many tokens a minute, none while the server
 * wants none, and those first for which somebody waits.
 *
 * A request of the queue does not wait for a minute's limit. It is told when to come again (`later`), so that its rows go
 * back and hold nobody up; a request of a caller waits a moment.
 */
export class Gate {
  readonly #endpoint: string;
  readonly #slots: PQueue;
  readonly #requests: TokenBucket | null;
  readonly #tokens: TokenBucket | null;
  readonly #onWait: (reason: WaitReason, ms: number) => void;
  /** Until then the server wants nothing; in ms since 1970. */
  #closed = { until: 0, why: '' };
  /** Until then the queue has used up the limits. */
  #usedUp = 0;
  #stopped = false;

  constructor(endpoint: string, limits: EndpointLimits, onWait: (reason: WaitReason, ms: number) => void) {
    this.#endpoint = endpoint;
    this.#onWait = onWait;
    this.#slots = new PQueue({ concurrency: limits.concurrent_requests });
    this.#requests = bucketOf(limits.requests_per_minute);
    this.#tokens = bucketOf(limits.tokens_per_minute);
  }

  /**
   * Runs what asks the endpoint, when there is a place for it.
   * @throws EngineError `later`, `stopped`
   */
  pass<Result>(entry: Entry, ask: () => Promise<Result>): Promise<Result> {
    return this.#slots.add(
      async () => {
        await this.#enter(entry);
        return ask();
      },
      { priority: PRIORITIES.length - PRIORITIES.indexOf(entry.priority) },
    );
  }

  /** Counts a request that was not let through by `pass`: one that is sent again. */
  charge(tokens: number): void {
    for (const [bucket, amount] of this.#amounts(tokens)) {
      bucket.drip();
      bucket.content -= amount;
    }
  }

  /** Puts right what was counted, by what the server says: so many tokens instead of so many. */
  correct(counted: number, tokens: number): void {
    if (this.#tokens) this.#tokens.content -= tokens - counted;
  }

  /** The server wants nothing for so long. */
  close(status: 429 | 503, ms: number): number {
    const until = Date.now() + ms;
    if (until > this.#closed.until) this.#closed = { until, why: `it answers with status ${status}` };
    this.#onWait(`${status}`, ms);
    return this.#closed.until;
  }

  /** The error for a request that the server did not want. */
  closedError() {
    return later(this.#endpoint, this.#closed.why, this.#closed.until);
  }

  /** Refuses what waits and what comes. */
  stop(): void {
    this.#stopped = true;
    // All that wait come in, and are refused.
    this.#slots.concurrency = Number.POSITIVE_INFINITY;
  }

  async #enter(entry: Entry): Promise<void> {
    const interactive = entry.priority === 'interactive';
    const deadline = Date.now() + (interactive ? PATIENCE_MS : 0);
    for (;;) {
      if (this.#stopped) throw stopped(this.#endpoint);
      const closedMs = this.#closed.until - Date.now();
      if (closedMs > 0) {
        if (this.#closed.until > deadline) throw this.closedError();
        await wait(closedMs);
        continue;
      }
      if (!interactive && this.#usedUp > Date.now()) throw this.#limitError(this.#usedUp);
      const missing = this.#missingMs(entry.tokens, interactive ? 0 : RESERVE);
      if (missing === 0) return this.charge(entry.tokens);
      const until = Date.now() + missing;
      if (interactive && until <= deadline) {
        await wait(missing);
        continue;
      }
      if (interactive) throw this.#limitError(until);
      this.#usedUp = Date.now() + Math.max(missing, this.#refillMs());
      this.#onWait('limit', this.#usedUp - Date.now());
    }
  }

  #limitError(until: number) {
    return later(this.#endpoint, 'the limit of a minute is used up', until);
  }

  /** How long it is until so much can be taken, ms; 0 for now. A request that has more than the limit takes all of it. */
  #missingMs(tokens: number, reserve: number): number {
    return Math.max(
      0,
      ...this.#amounts(tokens).map(([bucket, amount]) => {
        const kept = Math.floor(bucket.bucketSize * reserve);
        return bucket.getWaitTime(Math.min(amount + kept, bucket.bucketSize));
      }),
    );
  }

  #refillMs(): number {
    return Math.max(0, ...this.#amounts(0).map(([bucket]) => bucket.getWaitTime(bucket.bucketSize * REFILL)));
  }

  #amounts(tokens: number): [TokenBucket, number][] {
    const both: [TokenBucket | null, number][] = [
      [this.#requests, 1],
      [this.#tokens, tokens],
    ];
    return both.filter((each): each is [TokenBucket, number] => each[0] !== null);
  }
}

/** A bucket that holds a minute's limit, full at the start, as the servers' own begin. */
function bucketOf(perMinute: number | undefined): TokenBucket | null {
  if (perMinute === undefined) return null;
  const bucket = new TokenBucket({
    bucketSize: perMinute,
    tokensPerInterval: perMinute,
    interval: MINUTE_MS,
  });
  bucket.content = perMinute;
  return bucket;
}

function wait(ms: number): Promise<void> {
  return new Promise((resolve) => setTimeout(resolve, ms));
}
