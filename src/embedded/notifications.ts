import { encodeQuery, textAt, typeOf } from './protocol.ts';

const STATEMENT = /^\s*(listen|unlisten)\s+("(?:[^"]|"")+"|[\p{L}_][\p{L}\p{N}_$]*|\*)\s*;?\s*$/iu;

/** A channel on which nobody listens, so UNLISTEN on it changes nothing. */
const NO_CHANNEL = 'pgembedder_no_channel';

/**
 * The channels that one connection listens on. The backend knows of one listener, itself: it is told of every LISTEN
 * and of no UNLISTEN (another connection may still listen), and who gets a notification is decided here.
 */
export class Subscriptions {
  readonly #channels = new Set<string>();

  /** Takes note of a LISTEN or UNLISTEN; returns the message for the backend in its place. */
  observe(message: Buffer): Buffer {
    if (typeOf(message) !== 'Q') return message;
    const [, verb, channel] = STATEMENT.exec(message.length < 256 ? textAt(message, 5) : '') ?? [];
    if (!verb || !channel) return message;
    if (verb.toLowerCase() === 'listen') {
      this.#channels.add(unquote(channel));
      return message;
    }
    if (channel === '*') this.#channels.clear();
    else this.#channels.delete(unquote(channel));
    return encodeQuery(`unlisten ${NO_CHANNEL}`);
  }

  /** Whether a NotificationResponse is for this connection. */
  wants(notification: Buffer): boolean {
    return this.#channels.has(textAt(notification, 9)); // type, length, process id, channel
  }
}

/** An identifier as PostgreSQL stores it. */
function unquote(identifier: string): string {
  return identifier.startsWith('"')
    ? identifier.slice(1, -1).replaceAll('""', '"')
    : identifier.toLowerCase();
}
