import { encode, textAt, typeOf } from './protocol.ts';

/**
 * Gives the named prepared statements of one connection names that no other connection uses: all of them live in
 * the one backend, and each client believes that the names are its own. The unnamed statement needs none of this,
 * since a connection has the backend to itself from Parse to Sync.
 */
export class PreparedStatements {
  readonly #prefix: string;
  readonly #names = new Set<string>();

  constructor(connectionId: number) {
    this.#prefix = `connection_${connectionId}_`;
  }

  /** The message with its statement's name made unique. */
  rename(message: Buffer): Buffer {
    switch (typeOf(message)) {
      case 'P': {
        const name = textAt(message, 5);
        if (name !== '') this.#names.add(name);
        return this.#replace(message, 5);
      }
      case 'B': // portal, statement, ...
        return this.#replace(message, message.indexOf(0, 5) + 1);
      case 'C':
        if (message[5] === STATEMENT) this.#names.delete(textAt(message, 6));
        return message[5] === STATEMENT ? this.#replace(message, 6) : message;
      case 'D':
        return message[5] === STATEMENT ? this.#replace(message, 6) : message;
      default:
        return message;
    }
  }

  /** Messages that drop the statements of a connection that has ended, to be followed by a Sync. */
  closeAll(): Buffer[] {
    const messages = [...this.#names].map((name) => encode('C', Buffer.from('S'), this.#prefix + name));
    this.#names.clear();
    return messages;
  }

  #replace(message: Buffer, offset: number): Buffer {
    if (message[offset] === 0) return message;
    const type = typeOf(message);
    return encode(type, message.subarray(5, offset), Buffer.from(this.#prefix), message.subarray(offset));
  }
}

const STATEMENT = 'S'.charCodeAt(0);
