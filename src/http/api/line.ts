import { HttpError } from './http-error.ts';

/** The sizes of a line, in tokens as they are estimated. */
export interface LineLimits {
  /** Tokens of one model that are with the engine at a time: enough to fill its batches, and no more. */
  readonly running: number;
  /** Most tokens that wait, of all models together. */
  readonly waiting: number;
  /** Tokens of a request that are given to the engine together; then others have a turn. */
  readonly part: number;
}

/** On 2 cores with the bundled model that is half a second of work with the engine, and half a minute that waits. */
export const LIMITS: LineLimits = { running: 16_384, waiting: 1_048_576, part: 2_048 };

/** What of a request goes to the engine together. */
interface Part {
  readonly tokens: number;
  /** Never rejects. */
  run(): Promise<void>;
}

/** A request in the line. */
interface Ticket {
  readonly model: string;
  readonly parts: Part[];
}

/** A request for the line. */
export interface Work<Item, Result> {
  /** Names the model; requests of different models do not wait for each other. */
  readonly model: string;
  readonly items: readonly Item[];
  /** An estimate is enough. */
  tokensOf(item: Item): number;
  run(items: readonly Item[]): Promise<readonly Result[]>;
  /** Aborted when the client has gone away. */
  readonly signal: AbortSignal;
}

/** The client has gone away: nobody is there to be told. */
export class ClientGone extends Error {
  override readonly name = 'ClientGone';

  constructor() {
    super('the client has gone away');
  }
}

/** The rate at which tokens are done is measured over so long. */
const RATE_MS = 10_000;
/** Longest time that a client is told to wait, in seconds. */
const LONGEST_WAIT = 60;

/**
 * The line in which requests wait for the engine. So much of each model goes to the engine as keeps it busy; the rest waits
 * here, where a client that goes away is taken out, and what is too much is refused. A large request goes in parts, in turn
 * with others, so that a single text does not wait for the thousands of somebody else.
 */
export class Line {
  readonly #limits: LineLimits;
  readonly #tickets: Ticket[] = [];
  /** Tokens with the engine, by model. */
  readonly #running = new Map<string, number>();
  #waiting = 0;
  #rate = { since: 0, tokens: 0, perSecond: 0 };

  constructor(limits: LineLimits = LIMITS) {
    this.#limits = limits;
  }

  /** Tokens that wait, as they are estimated. */
  get waiting(): number {
    return this.#waiting;
  }

  /**
   * Has the items run when their turn comes, and gives their results in their order.
   * @throws HttpError 413 for what would never fit, 429 where too much waits already; ClientGone
   */
  async run<Item, Result>(work: Work<Item, Result>): Promise<Result[]> {
    const { model, signal } = work;
    if (signal.aborted) throw new ClientGone();
    const pieces = this.#cut(work);
    const tokens = sum(pieces.map((piece) => piece.tokens));
    if (tokens > this.#limits.waiting) {
      throw new HttpError(413, 'The request is more work than this server takes at once: send it in parts');
    }
    if (this.#waiting > 0 && this.#waiting + tokens > this.#limits.waiting) {
      const retryAfter = this.#retryAfter();
      throw new HttpError(429, `Too many requests wait already: try again in ${retryAfter} s`, {
        retryAfter,
        code: 'queue_full',
      });
    }
    const results = new Array<Result>(work.items.length);
    await new Promise<void>((resolve, reject) => {
      let open = pieces.length;
      const ticket: Ticket = { model, parts: [] };
      const finish = (settle: () => void) => {
        signal.removeEventListener('abort', leave);
        this.#leave(ticket);
        settle();
      };
      const leave = () => finish(() => reject(new ClientGone()));
      const runPiece = async (places: readonly number[]) => {
        try {
          const done = await work.run(places.map((place) => work.items[place]!));
          for (const [i, place] of places.entries()) results[place] = done[i]!;
          open--;
          if (open === 0) finish(resolve);
        } catch (error) {
          finish(() => reject(error));
        }
      };
      for (const piece of pieces)
        ticket.parts.push({ tokens: piece.tokens, run: () => runPiece(piece.places) });
      signal.addEventListener('abort', leave, { once: true });
      this.#waiting += tokens;
      this.#tickets.push(ticket);
      this.#fill();
    });
    return results;
  }

  /** A request in parts, texts of like length together, so that their batches are filled and not padded. */
  #cut<Item, Result>({ items, tokensOf }: Work<Item, Result>): { places: number[]; tokens: number }[] {
    const tokens = items.map(tokensOf);
    const order = [...items.keys()];
    if (sum(tokens) > this.#limits.part) order.sort((a, b) => tokens[b]! - tokens[a]!);
    const pieces: { places: number[]; tokens: number }[] = [];
    for (const place of order) {
      const last = pieces.at(-1);
      if (last && last.tokens + tokens[place]! <= this.#limits.part) {
        last.places.push(place);
        last.tokens += tokens[place]!;
      } else pieces.push({ places: [place], tokens: tokens[place]! });
    }
    return pieces;
  }

  /** Takes what still waits of a request out of the line. */
  #leave(ticket: Ticket): void {
    this.#waiting -= sum(ticket.parts.splice(0).map(({ tokens }) => tokens));
    const place = this.#tickets.indexOf(ticket);
    if (place >= 0) this.#tickets.splice(place, 1);
  }

  /** Gives the engine what there is room for. */
  #fill(): void {
    const full = new Set<string>();
    let place = 0;
    while (place < this.#tickets.length) {
      const ticket = this.#tickets[place]!;
      const { model, parts } = ticket;
      const running = this.#running.get(model) ?? 0;
      if (full.has(model) || (running > 0 && running + parts[0]!.tokens > this.#limits.running)) {
        // Those behind it wait as well, however small they are: a large one would wait for ever.
        full.add(model);
        place++;
        continue;
      }
      this.#tickets.splice(place, 1);
      const part = parts.shift()!;
      if (parts.length > 0) this.#tickets.push(ticket);
      this.#start(model, part);
    }
  }

  #start(model: string, part: Part): void {
    this.#waiting -= part.tokens;
    this.#running.set(model, (this.#running.get(model) ?? 0) + part.tokens);
    void part.run().then(() => {
      const left = this.#running.get(model)! - part.tokens;
      if (left > 0) this.#running.set(model, left);
      else this.#running.delete(model);
      this.#count(part.tokens);
      this.#fill();
    });
  }

  #count(tokens: number): void {
    const now = performance.now();
    const rate = this.#rate;
    if (now - rate.since > RATE_MS) this.#rate = { since: now, tokens: 0, perSecond: rate.perSecond };
    this.#rate.tokens += tokens;
    const seconds = (now - this.#rate.since) / 1_000;
    if (seconds > 0.5) this.#rate.perSecond = this.#rate.tokens / seconds;
  }

  #retryAfter(): number {
    const { perSecond } = this.#rate;
    return perSecond === 0 ? 1 : Math.min(LONGEST_WAIT, Math.ceil(this.#waiting / perSecond));
  }
}

function sum(numbers: readonly number[]): number {
  return numbers.reduce((total, number) => total + number, 0);
}
