import { DEFAULT_HTTP_ADDRESS, type ScopedToken } from '../config.ts';
import { UserError } from '../errors.ts';
import { isLoopback } from '../loopback.ts';

/** Where the HTTP server listens. */
export interface HttpAddress {
  readonly host: string;
  readonly port: number;
}

/** Who is let in. */
export interface Access {
  /** Without any, everybody who reaches the server. */
  readonly tokens: readonly ScopedToken[];
  /** Listen for other machines even so. */
  readonly open: boolean;
}

/**
 * The address of the setting PGEMBEDDER_HTTP; null for 'off'.
 * @throws UserError where other machines could reach it and no token keeps them out
 */
export function httpAddress(setting: string, { tokens, open }: Access): HttpAddress | null {
  if (setting === 'off') return null;
  const colon = setting.lastIndexOf(':');
  const address = {
    host: setting.slice(0, colon).replace(/^\[|\]$/g, ''),
    port: Number(setting.slice(colon + 1)),
  };
  if (!isLoopback(address.host) && tokens.length === 0 && !open) {
    throw new UserError(`PGEMBEDDER_HTTP=${setting} is open to other machines, and no token is set`, {
      hint: 'Set PGEMBEDDER_HTTP_TOKEN, or PGEMBEDDER_HTTP_OPEN=true where the network keeps strangers out',
    });
  }
  return address;
}

/** Whether it is the default address: a second worker of the machine finds it in use. */
export function isDefaultAddress({ host, port }: HttpAddress): boolean {
  return `${host}:${port}` === DEFAULT_HTTP_ADDRESS;
}
