import { readFileSync } from 'node:fs';
import pg from 'pg';
import { messageOf, UserError } from '../errors.ts';
import { findPassword } from './password-file.ts';

/** psql's words for how a connection is encrypted. */
const SSL_MODES = ['disable', 'allow', 'prefer', 'require', 'verify-ca', 'verify-full', 'no-verify'] as const;
type SslMode = (typeof SSL_MODES)[number];

/** Parameters of a URL that are read here and not by `pg`, to which some of them mean something else than to psql. */
const OURS = ['sslmode', 'ssl', 'sslrootcert', 'sslcert', 'sslkey', 'channel_binding', 'connect_timeout'];
/** What `pg` reads from a URL beside host, database and user. */
const SETTINGS = [
  'options',
  'application_name',
  'client_encoding',
  'statement_timeout',
  'lock_timeout',
] as const;

/**
 * What `pg` takes, from a database URL as psql reads it.
 * @throws UserError for a URL that cannot be read, or asks for something that pgembedder does not do
 */
export function readConnectionUrl(url: string): pg.ClientConfig {
  checkForm(url);
  const parameters = parametersOf(url);
  refuse(parameters);
  const { host, port, user, database, password, connectionParameters } = parse(withoutParameters(url));
  const settings = SETTINGS.map((name) => [name, connectionParameters[name]]).filter(([, value]) => value);
  const timeout = Number(parameters.get('connect_timeout'));
  return {
    host,
    port,
    user,
    database,
    // Asked for when the server wants one.
    password: password || (() => requirePassword({ host, port, user, database })),
    ssl: readSsl(parameters, host),
    ...(parameters.get('channel_binding') !== 'disable' && { enableChannelBinding: true }),
    ...(timeout > 0 && { connectionTimeoutMillis: timeout * 1_000 }),
    ...Object.fromEntries(settings),
  };
}

/** The connection, encrypted or not. `sslmode` prefer and allow leave that to the server, which is asked once. */
export async function settleSsl(url: string): Promise<pg.ClientConfig> {
  const config = readConnectionUrl(url);
  const mode = sslMode(parametersOf(url));
  if ((mode !== 'prefer' && mode !== 'allow') || config.host!.startsWith('/')) return config;
  const client = new pg.Client({ ...config, connectionTimeoutMillis: 10_000 });
  client.on('error', () => {});
  try {
    await client.connect();
  } catch (error) {
    const other = mode === 'prefer' ? false : { rejectUnauthorized: false };
    if (/does not support SSL|no pg_hba\.conf entry/.test(messageOf(error))) return { ...config, ssl: other };
  } finally {
    await client.end();
  }
  return config;
}

/** Anything else is taken for a database's name by `pg`, and ends in a search for a host called base. */
function checkForm(url: string): void {
  const [, scheme, rest = ''] = /^(postgres|postgresql|socket):(.*)$/s.exec(url) ?? [];
  const authority = /^\/\/[^/?#]*/.exec(rest)?.[0] ?? '';
  if (scheme && scheme !== 'socket' && authority.includes(',')) {
    throw new UserError('the database URL names several hosts, and pgembedder connects to one', {
      hint: 'Name the primary, or an address that follows it',
    });
  }
  const path = rest.slice(authority.length).split('?', 1)[0]!;
  if (scheme && scheme !== 'socket' && path.includes('@')) {
    throw new UserError('the database URL has an @ behind its host', {
      hint: 'Percent-encode what is special in user and password: / is %2F, @ is %40, # is %23, ? is %3F, % is %25',
    });
  }
  if (!scheme || !isReadable(url)) {
    throw new UserError('the database URL cannot be read', {
      hint: 'Write it as postgres://user:password@host:5432/name, with special characters percent-encoded',
    });
  }
}

function isReadable(url: string): boolean {
  try {
    // `pg` allows an empty host, for a socket named in the query, and URL does not.
    new URL(url.replace(/@\//, '@localhost/'));
    parse(withoutParameters(url));
    return true;
  } catch {
    return false;
  }
}

function refuse(parameters: URLSearchParams): void {
  const attributes = parameters.get('target_session_attrs') ?? 'any';
  if (attributes !== 'any') {
    throw new UserError(`the database URL has target_session_attrs=${attributes}, which is not done`, {
      hint: 'Name the primary, or an address that follows it',
    });
  }
  if (parameters.has('service')) {
    throw new UserError('the database URL names a service, and service files are not read', {
      hint: 'Write its host, name and user into the URL',
    });
  }
}

function parametersOf(url: string): URLSearchParams {
  const start = url.indexOf('?');
  return new URLSearchParams(start < 0 ? '' : url.slice(start + 1).split('#', 1)[0]);
}

function withoutParameters(url: string): string {
  const start = url.indexOf('?');
  if (start < 0) return url;
  const rest = parametersOf(url);
  for (const name of OURS) rest.delete(name);
  return `${url.slice(0, start)}?${rest}`;
}

interface Parsed {
  host: string;
  port: number;
  user: string;
  database: string;
  password: string | null;
  connectionParameters: Record<string, string | undefined>;
}

/** By `pg` itself, which also looks at PGHOST and its like. */
function parse(url: string): Parsed {
  const parsed = new pg.Client({ connectionString: url, ssl: false }) as unknown as Parsed;
  const database = databaseOf(url);
  return database ? Object.assign(parsed, { database }) : parsed;
}

/** The database that the path names. `pg` leaves %2F, %3F and their like in it as they are. */
function databaseOf(url: string): string | undefined {
  const [, path] = /^postgres(?:ql)?:\/\/[^/?#]*\/([^?#]*)/.exec(url) ?? [];
  return path && decodeURIComponent(path);
}

function readSsl(parameters: URLSearchParams, host: string): pg.ClientConfig['ssl'] {
  // libpq as well encrypts nothing on a socket.
  if (host.startsWith('/')) return false;
  const mode = sslMode(parameters);
  if (mode === 'disable' || mode === 'allow') return false;
  const root = fileOf(parameters, 'sslrootcert');
  const files = { ca: root, cert: fileOf(parameters, 'sslcert'), key: fileOf(parameters, 'sslkey') };
  const given = Object.fromEntries(Object.entries(files).filter(([, text]) => text !== undefined));
  if (mode === 'verify-full') return given;
  // Without a root certificate, verify-ca would trust anybody who has bought a certificate for any name.
  if (mode === 'verify-ca' && root === undefined) return given;
  // psql as well checks the certificate in mode require when it is given a root certificate.
  if (mode === 'verify-ca' || (mode === 'require' && root !== undefined))
    return { ...given, checkServerIdentity: () => undefined };
  return { ...given, rejectUnauthorized: false };
}

/** Unencrypted by default: a server that does not take that says so, and the error says what to add. */
function sslMode(parameters: URLSearchParams): SslMode {
  const ssl = parameters.get('ssl');
  const wanted =
    parameters.get('sslmode') ??
    (ssl === 'no-verify' ? ssl : ssl === 'true' || ssl === '1' ? 'verify-full' : undefined) ??
    (process.env.PGSSLMODE || 'disable');
  const mode = SSL_MODES.find((name) => name === wanted);
  if (mode) return mode;
  throw new UserError(`there is no sslmode ${wanted}`, {
    hint: `It is one of ${SSL_MODES.slice(0, -1).join(', ')}`,
  });
}

/** The text of a certificate or key; nothing for `sslrootcert=system`: those that Node.js trusts. */
function fileOf(parameters: URLSearchParams, name: string): string | undefined {
  const file = parameters.get(name) ?? process.env[`PG${name.toUpperCase()}`];
  if (!file || file === 'system') return undefined;
  try {
    return readFileSync(file, 'utf8');
  } catch (error) {
    throw new UserError(`${name} cannot be read: ${messageOf(error)}`);
  }
}

function requirePassword(where: { host: string; port: number; user: string; database: string }): string {
  const found = findPassword(where);
  if (found !== undefined) return found;
  throw new UserError('the server wants a password, and there is none', {
    hint: 'Put it in the URL (postgres://user:password@host/name), in PGPASSWORD, or in ~/.pgpass',
  });
}
