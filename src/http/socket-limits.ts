import type { Server, ServerOptions } from 'node:http';
import type { Socket } from 'node:net';
import { codeOf } from '../errors.ts';
import { limits } from '../limits.ts';
import { HttpError, openaiError } from './api/http-error.ts';

/** A connection has this long for the headers of a request, and for the whole of it. */
const HEADERS_MS = 10_000;
const REQUEST_MS = 30_000;
/** A client that takes nothing of its answer for so long is cut off. */
const STALLED_MS = 30_000;

/** How much of the server one client may have. */
export const serverOptions: ServerOptions = {
  headersTimeout: HEADERS_MS,
  requestTimeout: REQUEST_MS,
  // How often Node looks for those that are late: its default of 30 s would make 40 s of 10.
  connectionsCheckingInterval: 2_000,
  keepAliveTimeout: 5_000,
  maxHeaderSize: 16_384,
};

/** Keeps slow and broken clients within their limits. */
export function limitSockets(server: Server): void {
  server.maxConnections = limits.httpConnections;
  server.timeout = STALLED_MS;
  server.on('timeout', (socket: Socket) => {
    // One that waits for its answer is as silent, and is not to blame.
    if (socket.writableLength > 0) socket.destroy();
  });
  server.on('clientError', (error, socket) => {
    if (!socket.writable || codeOf(error) === 'ECONNRESET') return socket.destroy();
    const [status, message] = reasonOf(codeOf(error));
    const body = JSON.stringify(openaiError(new HttpError(400, message), 'none'));
    socket.end(
      `HTTP/1.1 ${status}\r\nConnection: close\r\nContent-Type: application/json\r\nContent-Length: ${Buffer.byteLength(body)}\r\n\r\n${body}`,
    );
  });
}

function reasonOf(code: string): [status: string, message: string] {
  switch (code) {
    case 'ERR_HTTP_REQUEST_TIMEOUT':
      return ['408 Request Timeout', 'The request did not come to its end in time'];
    case 'HPE_HEADER_OVERFLOW':
      return ['431 Request Header Fields Too Large', 'The headers are too long'];
    default:
      return ['400 Bad Request', 'This is no HTTP request'];
  }
}
