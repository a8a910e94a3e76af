import type { WorkerEvents } from '../../worker/events.ts';
import type { ShownEndpoint } from './shown.ts';

/** An endpoint as the operator lists it. */
export interface ListedEndpoint {
  readonly name: string;
  readonly models: readonly { readonly name: string }[];
}

type Counted = Pick<ShownEndpoint, 'requests' | 'refused' | 'tokens' | 'waits' | 'last'>;

/** What the endpoints of this server have answered since it started. */
export class EndpointStates {
  readonly #listed: readonly ListedEndpoint[];
  readonly #counted = new Map<string, Counted>();
  /** Until when each takes nothing; ms since 1970. */
  readonly #closed = new Map<string, number>();

  constructor(listed: readonly ListedEndpoint[], events: WorkerEvents) {
    this.#listed = listed;
    events.on('endpointRequest', ({ endpoint, outcome }) => {
      const { requests, refused, ...rest } = this.#of(endpoint);
      const good = outcome.startsWith('2');
      this.#counted.set(endpoint, {
        ...{ ...rest, requests: requests + 1, refused: refused + (good ? 0 : 1) },
        last: { outcome, at: new Date().toISOString() },
      });
      if (good) this.#closed.delete(endpoint);
    });
    events.on('endpointTokens', ({ endpoint, tokens }) => {
      const before = this.#of(endpoint);
      this.#counted.set(endpoint, { ...before, tokens: before.tokens + tokens });
    });
    events.on('endpointWait', ({ endpoint, ms }) => {
      const before = this.#of(endpoint);
      this.#counted.set(endpoint, { ...before, waits: before.waits + 1 });
      this.#closed.set(endpoint, Date.now() + ms);
    });
  }

  /** Of all that are listed, also those that were not asked yet. */
  read(): ShownEndpoint[] {
    return this.#listed.map(({ name, models }) => {
      const counted = this.#of(name);
      const secondsLeft = Math.max(0, ((this.#closed.get(name) ?? 0) - Date.now()) / 1_000);
      return {
        ...{ name, models: models.map((model) => model.name), ...counted },
        state: stateOf(counted.last, secondsLeft),
        secondsLeft: secondsLeft > 0 ? secondsLeft : null,
      };
    });
  }

  #of(endpoint: string): Counted {
    return this.#counted.get(endpoint) ?? { requests: 0, refused: 0, tokens: 0, waits: 0, last: null };
  }
}

function stateOf(last: ShownEndpoint['last'], secondsLeft: number): ShownEndpoint['state'] {
  if (secondsLeft > 0) return 'waiting';
  if (last === null) return 'unused';
  return last.outcome.startsWith('2') ? 'answering' : 'refusing';
}
