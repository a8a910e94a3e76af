import type { IncomingMessage } from 'node:http';
import { messageOf } from '../../errors.ts';
import { HttpError } from './http-error.ts';

/** Longest body: 2,048 texts of 4,000 characters. */
export const BODY_BYTES = 8 * 2 ** 20;
/** Bytes of all bodies that are held at a time, from the first byte that came to the answer. */
const HELD_BYTES = 64 * 2 ** 20;

/** Reads bodies of requests, each of them and all together bounded. */
export class Bodies {
  #held = 0;

  /**
   * The JSON of a request's body.
   * @returns with it `release`, to be called when the request is answered
   * @throws HttpError 400 for what is no JSON, 413 for too long a body, 415 for another type, 429 while others take all room
   */
  async read(request: IncomingMessage): Promise<{ json: unknown; release: () => void }> {
    // A web page can send other types to any address without asking, this one not.
    if (!/^application\/json\s*(;|$)/i.test(request.headers['content-type'] ?? '')) {
      throw new HttpError(415, 'Send the body as JSON, with the header Content-Type: application/json');
    }
    let bytes = 0;
    const hold = (more: number) => {
      if (bytes + more > BODY_BYTES) {
        throw new HttpError(413, `The body is longer than ${BODY_BYTES} bytes: send it in parts`);
      }
      if (this.#held + more > HELD_BYTES) {
        throw new HttpError(429, 'Other requests take all the room there is: try again in a moment', {
          retryAfter: 1,
        });
      }
      bytes += more;
      this.#held += more;
    };
    const release = () => {
      this.#held -= bytes;
      bytes = 0;
    };
    try {
      const announced = Number(request.headers['content-length'] ?? 0);
      if (announced > BODY_BYTES) hold(announced);
      const chunks: Buffer[] = [];
      for await (const chunk of request as AsyncIterable<Buffer>) {
        hold(chunk.length);
        chunks.push(chunk);
      }
      return { json: parse(Buffer.concat(chunks)), release };
    } catch (error) {
      release();
      throw error;
    }
  }
}

function parse(body: Buffer): unknown {
  try {
    return JSON.parse(new TextDecoder('utf-8', { fatal: true }).decode(body));
  } catch (error) {
    throw new HttpError(400, `The body is not JSON in UTF-8: ${messageOf(error)}`);
  }
}
