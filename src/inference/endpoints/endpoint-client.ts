import pRetry from 'p-retry';
import type { Endpoint } from '../../endpoints/endpoint.ts';
import { UserError } from '../../errors.ts';
import { EngineError, type EngineErrorKind } from '../backend/engine-error.ts';
import type { CallOptions } from '../backend/run.ts';
import type { EndpointModel } from './endpoint-model.ts';
import { Passing, Refused, stopped, TooMany, Unreachable } from './failures.ts';
import { Gate, PATIENCE_MS } from './gate.ts';
import { type EndpointListener, type Received, Requester, type Sending } from './requester.ts';
import { estimateTokens, type SentText } from './sent-text.ts';
import { Suspects } from './suspects.ts';

/** How often a request is sent again that may go well the next time, and the waits before. */
const RETRIES = { retries: 2, minTimeout: 250, maxTimeout: 2_000, randomize: true };

/** A text that every model takes. Asked alone, it tells whether the server or other texts are to blame. */
const HARMLESS = 'a small cat';

/** How a batch is to be asked for. */
export interface AskOptions extends CallOptions {
  readonly normalize: boolean;
}

/** The vectors of a batch, and the times until it was sent and until the answer was there; in ms. */
export interface Asked extends Received {
  readonly waitMs: number;
  readonly runMs: number;
}

/**
 * Asks one endpoint, within its limits. What goes wrong is tried again where that may help; then it is found out whom it concerns:
 *
 * - the server wants nothing now (429, 503): nobody, all wait (`later`);
 * - it cannot be reached, refuses the key or does not know the model: the model (`start`, `load`);
 * - anything else: it is asked for a text that is known to be good. If it fails at that as well, it is the server, so the model
 *   (`start`, `load`); else it is one of the texts, and the batch is halved (`run`, `died`, `timeout`);
 * - it has ended over a batch and cannot be reached: the model, so that all wait; but its texts are suspect from then on, and
 *   the one over which it ends when it is asked for that alone is to blame (`died`).
 */
export class EndpointClient {
  readonly #name: string;
  readonly #gate: Gate;
  readonly #requester: Requester;
  readonly #suspects = new Suspects();
  readonly #abort = new AbortController();

  constructor(endpoint: Endpoint, listener: EndpointListener) {
    this.#name = endpoint.name;
    this.#gate = new Gate(endpoint.name, endpoint.limits, (reason, ms) => listener.onWait(reason, ms));
    this.#requester = new Requester(endpoint, this.#gate, listener);
  }

  /** @throws EngineError when there is nothing for any of the texts */
  async ask(model: EndpointModel, texts: readonly SentText[], options: AskOptions): Promise<Asked> {
    const { priority = 'normal' } = options;
    const begin = performance.now();
    const tokens = texts.reduce((sum, text) => sum + text.tokens, 0);
    const sending = { model, texts: texts.map(({ text }) => text), tokens, normalize: options.normalize };
    const pass = () =>
      this.#gate.pass({ priority, tokens }, async () => {
        const started = performance.now();
        const received = await this.#askFairly(sending, options.alone ?? false);
        return { ...received, waitMs: started - begin, runMs: performance.now() - started };
      });
    const deadline = Date.now() + (priority === 'interactive' ? PATIENCE_MS : 0);
    const suspect = sending.texts.some((text) => this.#suspects.has(text));
    if (suspect && texts.length > 1) {
      throw this.#error('died', 'has ended while it worked on some of these texts: each is tried alone');
    }
    if (suspect && this.#suspects.takeVerdict(sending.texts[0]!)) throw this.#guilty();
    for (;;) {
      try {
        return await (suspect ? this.#suspects.alone(pass) : pass());
      } catch (error) {
        const soon = error instanceof EngineError && error.until !== undefined && error.until <= deadline;
        if (!soon) throw error;
      }
    }
  }

  /** Refuses what waits. What runs may end within `graceMs`. */
  async stop(graceMs: number, idle: Promise<unknown>): Promise<void> {
    this.#gate.stop();
    const timer = setTimeout(() => this.#abort.abort(), graceMs);
    await idle;
    clearTimeout(timer);
    await this.#requester.close();
  }

  /** @param halved whether it is a part of a batch that has failed as a whole */
  async #askFairly(sending: Sending, halved: boolean): Promise<Received> {
    let broken = false;
    try {
      const received = await this.#try(sending, halved ? 0 : RETRIES.retries, (error) => {
        broken ||= error instanceof Passing && error.broken;
      });
      this.#suspects.acquit(sending.texts);
      return received;
    } catch (error) {
      if (this.#abort.signal.aborted) throw stopped(this.#name);
      let cause = error;
      if (error instanceof Passing || (error instanceof Refused && !halved)) {
        cause = (await this.#unsound(sending.model)) ?? error;
      }
      if (cause instanceof Unreachable && broken) throw this.#ended(sending.texts, cause);
      if (cause !== error) throw this.#serverError(cause);
      if (error instanceof Refused) throw this.#error('run', `refuses a text: ${error.message}`);
      if (error instanceof Passing) {
        throw this.#error(error.kind, `has no answer for a text: ${error.message}`);
      }
      throw this.#serverError(error);
    }
  }

  /** Sends a request, and again where that may help. */
  #try(sending: Sending, retries: number, onFailure: (error: unknown) => void): Promise<Received> {
    const { signal } = this.#abort;
    const send = (attempt: number) => {
      if (attempt > 1) this.#gate.charge(sending.tokens);
      return this.#requester.send(sending, signal);
    };
    return pRetry(send, {
      ...{ ...RETRIES, retries, signal },
      onFailedAttempt: ({ error }) => onFailure(error),
      shouldRetry: ({ error }) => (error instanceof Passing ? error.again : error instanceof Unreachable),
    });
  }

  /** What goes wrong when the server is asked for a text that is known to be good; undefined when nothing does. */
  async #unsound(model: EndpointModel): Promise<unknown> {
    const tokens = estimateTokens(HARMLESS);
    this.#gate.charge(tokens);
    try {
      await this.#requester.send({ model, texts: [HARMLESS], tokens, normalize: true }, this.#abort.signal);
      return undefined;
    } catch (error) {
      return error;
    }
  }

  /** The server was there, and ended. */
  #ended(texts: readonly string[], cause: Unreachable): EngineError {
    const [text] = texts;
    if (texts.length === 1 && this.#suspects.has(text!)) {
      this.#suspects.convict(text!);
      return this.#guilty();
    }
    this.#suspects.add(texts);
    return this.#serverError(cause) as EngineError;
  }

  /** The error for what no text is to blame for. */
  #serverError(error: unknown): unknown {
    if (this.#abort.signal.aborted) return stopped(this.#name);
    if (error instanceof TooMany) return this.#gate.closedError();
    if (error instanceof Unreachable) {
      const hint = 'Check that the server runs, and its url';
      return this.#error('start', `cannot be used: ${error.message}`, hint);
    }
    if (error instanceof Refused || error instanceof Passing) {
      const hint = 'Check that the server works, and url, api and models of the endpoint';
      const kind = error instanceof Refused ? 'load' : 'start';
      return this.#error(kind, `gives no vector for '${HARMLESS}' either: ${error.message}`, hint);
    }
    if (error instanceof UserError && !(error instanceof EngineError)) {
      return new EngineError('load', error.message, { hint: error.hint, cause: error });
    }
    return error;
  }

  #guilty(): EngineError {
    return this.#error('died', 'ends each time over this text', 'Change the text, or chunk it if it is long');
  }

  #error(kind: EngineErrorKind, what: string, hint?: string): EngineError {
    return new EngineError(kind, `Endpoint '${this.#name}' ${what}`, { hint });
  }
}
