/** Larger than any message PostgreSQL accepts: a length above it means that the bytes are not the protocol. */
const MAX_MESSAGE_BYTES = 0x4000_0000;

/** Cuts the bytes of one client into protocol messages; chunks are joined once per message, however large it is. */
export class FrontendReader {
  #chunks: Buffer[] = [];
  #size = 0;

  push(chunk: Buffer): void {
    this.#chunks.push(chunk);
    this.#size += chunk.length;
  }

  /** The next message of the start-up phase, which has a length and no type, or undefined until it is complete. */
  nextStartup(): Buffer | undefined {
    return this.#next(0);
  }

  /** The next message with its type byte and its length, or undefined until it is complete. */
  next(): Buffer | undefined {
    return this.#next(1);
  }

  #next(typeBytes: number): Buffer | undefined {
    const header = this.#peek(typeBytes + 4);
    if (!header) return undefined;
    const length = header.readInt32BE(typeBytes);
    if (length < 4 || length > MAX_MESSAGE_BYTES) throw new Error(`invalid message length ${length}`);
    const whole = this.#peek(typeBytes + length);
    if (!whole) return undefined;
    const message = whole.subarray(0, typeBytes + length);
    this.#chunks[0] = whole.subarray(message.length);
    this.#size -= message.length;
    return message;
  }

  /** The first chunk, made to hold at least `bytes` bytes. */
  #peek(bytes: number): Buffer | undefined {
    if (this.#size < bytes) return undefined;
    const first = this.#chunks[0];
    if (first && first.length >= bytes) return first;
    const joined = Buffer.concat(this.#chunks);
    this.#chunks = [joined];
    return joined;
  }
}
