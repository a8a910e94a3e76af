import type { Logger } from 'pino';
import type { SessionSpec } from '../wire/session-spec.ts';
import { SessionHost, type SessionHostOptions } from './session-host.ts';

/** The sessions of an engine, and how much memory they may take together. */
export class SessionHosts {
  readonly #limit: number;
  readonly #logger: Logger;
  readonly #optionsFor: (spec: SessionSpec) => SessionHostOptions;
  readonly #hosts = new Map<string, SessionHost>();
  #overLimit = false;

  constructor(
    limitBytes: number | undefined,
    logger: Logger,
    optionsFor: (spec: SessionSpec) => SessionHostOptions,
  ) {
    this.#limit = limitBytes ?? Number.POSITIVE_INFINITY;
    this.#logger = logger;
    this.#optionsFor = optionsFor;
  }

  /** Every session that was ever asked for. */
  get all(): SessionHost[] {
    return [...this.#hosts.values()];
  }

  of(spec: SessionSpec): SessionHost {
    const known = this.#hosts.get(spec.key);
    if (known) return known;
    // A file may be exchanged while a worker runs: what was known of the one before is of no use any more.
    for (const [key, { spec: other, state, pending }] of this.#hosts) {
      if (other.onnxPath === spec.onnxPath && state === 'unloaded' && pending === 0) this.#hosts.delete(key);
    }
    const host = new SessionHost(spec, this.#optionsFor(spec));
    this.#hosts.set(spec.key, host);
    return host;
  }

  /**
   * Unloads sessions without work, the longest unused first, until the others keep to the limit. The one that was used
   * last stays: it would be loaded again at once.
   */
  keepToLimit(): void {
    const hosts = this.all.sort((a, b) => a.usedAt - b.usedAt);
    let bytes = hosts.reduce((sum, { residentBytes }) => sum + residentBytes, 0);
    for (const host of hosts.slice(0, -1).filter(({ pending }) => pending === 0)) {
      if (bytes <= this.#limit) break;
      bytes -= host.residentBytes;
      void host.unload();
    }
    const over = bytes > this.#limit;
    if (over && !this.#overLimit) {
      this.#logger.warn(
        { bytes, limit: this.#limit },
        'the engine takes more memory than its limit, and can unload nothing',
      );
    }
    this.#overLimit = over;
  }
}
