import { execFileSync } from 'node:child_process';
import { once } from 'node:events';
import { chmodSync, chownSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { createServer } from 'node:http';
import type { AddressInfo } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { sql } from 'kysely';
import pg from 'pg';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { readEnvironment } from '../../src/cli/environment.ts';
import { reportError } from '../../src/cli/errors.ts';
import { withDatabase } from '../../src/cli/with-database.ts';
import { startServer, type TestServer } from '../support/postgres.ts';
import { serverUser } from '../support/server.ts';
import { type CliResult, run } from './cli.ts';

const folder = mkdtempSync(join(tmpdir(), 'pgembedder-connections-'));
afterAll(() => rmSync(folder, { recursive: true }));

/** One line on stderr, exit code 1, no trace, no password, and nothing of "defect". */
function expectOneLine(result: CliResult, message: RegExp): void {
  expect(result.stderr).toMatch(/^pgembedder: [^\n]+\n$/);
  expect(result.stderr).toMatch(message);
  expect(result.stderr).not.toMatch(/defect|secret/);
  expect({ code: result.code, stdout: result.stdout }).toEqual({ code: 1, stdout: '' });
}

/** What a command would say to this URL; 'connected' where it is let in. Without a process of its own, which takes seconds. */
async function attempt(url: string): Promise<string> {
  try {
    return await withDatabase({ databaseUrl: url }, environment, async ({ database }) => {
      await sql`select 1`.execute(database);
      return 'connected';
    });
  } catch (error) {
    return reportError(error).text;
  }
}
const environment = readEnvironment();

async function ask(server: TestServer, statement: string): Promise<void> {
  const client = new pg.Client({ host: server.socketDirectory, port: server.port, user: 'postgres' });
  await client.connect();
  await client.query(statement);
  await client.end();
}

describe('a server that wants a password', () => {
  let server: TestServer;
  const url = (user: string, parameters = '') =>
    `postgres://${user}@127.0.0.1:${server.port}/postgres${parameters}`;
  beforeAll(async () => {
    server = await startServer({
      authentication: `host all cleartext all password\nhost all all all scram-sha-256`,
      settings: { max_connections: '5', superuser_reserved_connections: '0' },
    });
    await ask(
      server,
      `set password_encryption = 'scram-sha-256'; create role me login superuser password 'secret: \\word';
       create role cleartext login superuser password 'secret'`,
    );
  });
  afterAll(() => server.stop());

  it.each(['status', 'migrate'])('tells %s where to put it', async (command) => {
    expectOneLine(
      await run([...command.split(' '), '--database-url', url('me')], { env: { HOME: folder } }),
      /the server wants a password, and there is none\. Put it in the URL .*PGPASSWORD.*\.pgpass/,
    );
  });

  it('is told to doctor in its table', async () => {
    const { code, stdout } = await run(['doctor', '--database-url', url('me')], { env: { HOME: folder } });
    expect(code).toBe(1);
    expect(stdout).toMatch(/fail {2}database {4}the server wants a password[^\n]+\nok {4}runtime/);
  });

  it('finds it in PGPASSWORD, and in a .pgpass that nobody else may read', async () => {
    expect(
      await run(['migrate', '--database-url', url('me')], { env: { PGPASSWORD: 'secret: \\word' } }),
    ).toMatchObject({ code: 0, stderr: '' });
    const file = join(folder, 'passwords');
    writeFileSync(file, `# mine\n*:1:*:me:wrong\n127.0.0.1:*:postgres:me:secret\\: \\\\word\n`);
    chmodSync(file, 0o600);
    const args = ['status', '--database-url', url('me')];
    expect(await run(args, { env: { PGPASSFILE: file } })).toMatchObject({ code: 0, stderr: '' });
    chmodSync(file, 0o644);
    expectOneLine(await run(args, { env: { PGPASSFILE: file } }), /wants a password/);
  });

  it('says that a wrong one is wrong', async () => {
    expect(await attempt(url('me:wrong'))).toMatch(
      /^pgembedder: password authentication failed for user "me"\. Check user and password[^\n]+$/,
    );
  });

  it('says so when it has no connection left', async () => {
    const held = await Promise.all(
      Array.from({ length: 5 }, async () => {
        const client = new pg.Client({ host: server.socketDirectory, port: server.port, user: 'postgres' });
        await client.connect();
        return client;
      }),
    );
    try {
      expect(await attempt(url('cleartext:secret'))).toMatch(
        /too many clients already\. Raise max_connections/,
      );
    } finally {
      await Promise.all(held.map((client) => client.end()));
    }
  });

  it.each(['require', 'verify-ca', 'verify-full'])('and has no SSL refuses sslmode=%s', async (mode) => {
    expect(await attempt(url('cleartext:secret', `?sslmode=${mode}`))).toBe(
      'pgembedder: the server has no SSL. Leave sslmode away, or say sslmode=disable',
    );
  });

  it.each(['disable', 'allow', 'prefer'])('and has no SSL takes sslmode=%s', async (mode) => {
    expect(await attempt(url('cleartext:secret', `?sslmode=${mode}`))).toBe('connected');
  });
});

describe('a database URL that asks for what is not done', () => {
  it.each([
    ['postgres://u:se/cret@host/db', /percent-encode/i],
    ['postgres://u:12/34@host/db', /Percent-encode what is special.*%2F/],
    ['postgres://u:12#34@host/db', /Percent-encode what is special.*%23/],
    ['postgres://a:1,b:2/db', /several hosts/],
    ['postgres://a,b/db', /several hosts/],
    ['postgres://a/db?target_session_attrs=read-write', /target_session_attrs=read-write/],
    ['postgres:///?service=mine', /service files/],
    ['postgres://a/db?sslmode=yes', /there is no sslmode yes.*disable, allow, prefer/],
    ['postgres://a/db?sslrootcert=/nowhere&sslmode=require', /sslrootcert cannot be read/],
    ['mydb', /cannot be read/],
    ['postgres://a:port/db', /cannot be read/],
  ])('%s', async (url, message) => {
    const said = await attempt(url);
    expect(said).toMatch(/^pgembedder: [^\n]+$/);
    expect(said).toMatch(message);
    expect(said).not.toContain('12/34');
  });
});

it('something that is no PostgreSQL is told apart', async () => {
  const server = createServer((_, response) => void response.end('no')).listen(0, '127.0.0.1');
  await once(server, 'listening');
  const { port } = server.address() as AddressInfo;
  try {
    expect(await attempt(`postgres://u@127.0.0.1:${port}/x`)).toMatch(
      /what answers there is no PostgreSQL|cannot reach PostgreSQL at [^\n]+$/,
    );
  } finally {
    server.close();
  }
});

function makeCertificate(): string | undefined {
  const certificate = join(folder, 'server.crt');
  try {
    execFileSync(
      'openssl',
      `req -new -x509 -days 2 -nodes -subj /CN=localhost -addext subjectAltName=DNS:localhost -out ${certificate} -keyout ${join(folder, 'server.key')}`.split(
        ' ',
      ),
      { stdio: 'ignore' },
    );
    return certificate;
  } catch {
    return undefined;
  }
}
const certificate = makeCertificate();

describe.skipIf(!certificate)('a server that wants SSL', () => {
  let server: TestServer;
  beforeAll(async () => {
    const user = await serverUser();
    const key = join(folder, 'server.key');
    chmodSync(folder, 0o755);
    chmodSync(key, 0o600);
    if (user) chownSync(key, user.uid, user.gid);
    server = await startServer({
      authentication: 'hostssl all all all trust',
      settings: { ssl: 'on', ssl_cert_file: certificate!, ssl_key_file: key },
    });
  });
  afterAll(() => server.stop());
  const url = (host: string, parameters: string) =>
    `postgres://postgres@${host}:${server.port}/postgres?${parameters}`;

  it.each([
    ['127.0.0.1', 'sslmode=require'],
    ['127.0.0.1', 'sslmode=prefer'],
    ['127.0.0.1', 'sslmode=allow'],
    ['127.0.0.1', 'sslmode=no-verify'],
    ['127.0.0.1', 'sslmode=require&channel_binding=require'],
    ['127.0.0.1', `sslmode=verify-ca&sslrootcert=${certificate}`],
    ['127.0.0.1', `sslmode=require&sslrootcert=${certificate}`],
    ['localhost', `sslmode=verify-full&sslrootcert=${certificate}`],
  ])('lets %s?%s in, without a warning', async (host, parameters) => {
    const warned = once(process, 'warning').then(([warning]) => `${warning}`);
    expect(await Promise.race([attempt(url(host, parameters)), warned])).toBe('connected');
  });

  it.each([
    ['127.0.0.1', '', /no encryption\. The server wants SSL: add sslmode=require/],
    ['127.0.0.1', 'sslmode=disable', /no encryption\. The server wants SSL/],
    ['127.0.0.1', 'sslmode=verify-ca', /certificate or encryption is not accepted: .*sslrootcert=FILE/],
    ['localhost', 'sslmode=verify-full', /certificate or encryption is not accepted/],
    [
      '127.0.0.1',
      `sslmode=verify-full&sslrootcert=${certificate}`,
      /certificate or encryption is not accepted/,
    ],
  ])('does not let %s?%s in, and one line says why', async (host, parameters, message) => {
    const said = await attempt(url(host, parameters));
    expect(said).toMatch(message);
    expect(said).toMatch(/^pgembedder: [^\n]+$/);
  });
});
