import { once } from 'node:events';
import { type AddressInfo, connect, createServer, type Socket } from 'node:net';

/** Type byte of PostgreSQL's NotificationResponse. */
const NOTIFICATION = 'A'.charCodeAt(0);

/** A way to a server on which notifications get lost, as they do behind a pooler in transaction mode. */
export interface DeafProxy {
  url: string;
  /** Notifications that got lost. */
  readonly lost: number;
  close(): Promise<void>;
}

/** Opens a proxy on a free port of this machine to the server of `url`. */
export async function openDeafProxy(url: string): Promise<DeafProxy> {
  const { hostname, port } = new URL(url);
  const sockets = new Set<Socket>();
  let lost = 0;
  const server = createServer((client) => {
    const upstream = connect(Number(port), hostname);
    for (const [socket, peer] of [
      [client, upstream],
      [upstream, client],
    ] as const) {
      sockets.add(socket);
      socket.on('close', () => {
        sockets.delete(socket);
        peer.destroy();
      });
      socket.on('error', () => peer.destroy());
    }
    client.on('data', (chunk) => upstream.write(chunk));
    // What comes back is a sequence of messages: type byte, int32 length without it, body.
    let rest = Buffer.alloc(0);
    upstream.on('data', (chunk) => {
      rest = Buffer.concat([rest, chunk]);
      while (rest.length >= 5 && rest.length > rest.readInt32BE(1)) {
        const end = 1 + rest.readInt32BE(1);
        if (rest[0] === NOTIFICATION) lost++;
        else client.write(rest.subarray(0, end));
        rest = rest.subarray(end);
      }
    });
  });
  server.listen(0, '127.0.0.1');
  await once(server, 'listening');
  const here = new URL(url);
  here.hostname = '127.0.0.1';
  here.port = String((server.address() as AddressInfo).port);
  // The answer to a request for SSL is a single byte and no message.
  here.searchParams.set('sslmode', 'disable');
  return {
    url: here.href,
    get lost() {
      return lost;
    },
    async close() {
      for (const socket of sockets) socket.destroy();
      server.close();
      await once(server, 'close');
    },
  };
}
