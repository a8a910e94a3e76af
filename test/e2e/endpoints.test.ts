import { execFileSync } from 'node:child_process';
import { chmodSync, mkdtempSync, readFileSync, writeFileSync } from 'node:fs';
import { createServer, type Server } from 'node:http';
import { type AddressInfo, connect } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, beforeEach, describe, expect, it } from 'vitest';
import { EmbeddingServer } from '../support/embedding-server.ts';
import { createDatabase, type TestDatabase } from '../support/postgres.ts';
import { Cli, run as runCli } from './cli.ts';

const KEY = 'sk-secret-of-the-test';
const folder = mkdtempSync(join(tmpdir(), 'pgembedder-endpoints-'));
const file = join(folder, 'endpoints.json');

let server: EmbeddingServer;

beforeAll(async () => {
  server = await EmbeddingServer.start();
  writeFileSync(join(folder, 'key'), `${KEY}\n`);
});
afterAll(() => server.stop());

beforeEach(() => {
  server.received.length = 0;
  server.misbehave = () => undefined;
  list({ url: server.url });
});

/** The URL that a command has said it serves at. */
function urlOf({ stderr }: Cli): string {
  const line = stderr.split('\n').find((text) => text.includes('serving health and metrics'))!;
  return (JSON.parse(line) as { url: string }).url;
}

/** Writes the file of endpoints. */
function list(...endpoints: object[]): void {
  const models = [{ name: 'words', dimensions: 384, max_tokens: 512 }];
  const filled = endpoints.map((endpoint) => ({
    ...{ name: 'there', api: 'openai', key: { file: 'key' }, models },
    ...endpoint,
  }));
  writeFileSync(file, JSON.stringify({ endpoints: filled }));
}

const run = (args: readonly string[], env: Record<string, string> = {}) =>
  runCli(args, { env: { PGEMBEDDER_ENDPOINTS: file, PGEMBEDDER_HTTP: 'off', ...env } });
const embed = (env: Record<string, string> = {}) => run(['embed', '--model', 'there:words', 'a cat'], env);

it('a text is embedded by an endpoint, also where it is the default', async () => {
  expect((await embed()).stdout.split(',')).toHaveLength(384);
  const { stdout } = await run(['embed', '--json', 'a cat'], {
    PGEMBEDDER_MODEL_FEATURE_EXTRACTION: 'there:words',
  });
  expect(JSON.parse(stdout)).toMatchObject({ model: 'there:words', dimensions: 384 });
  expect(server.received.map(({ headers }) => headers.authorization)).toEqual([
    `Bearer ${KEY}`,
    `Bearer ${KEY}`,
  ]);
});

it('models list and doctor show it', async () => {
  const { stdout } = await run(['models', 'list', '--json']);
  expect(JSON.parse(stdout)).toContainEqual(
    expect.objectContaining({ name: 'there:words', dimensions: 384, endpoint: server.url, directory: null }),
  );
  list({ url: server.url }, { name: 'far', url: 'http://models.invalid/v1', key: { env: 'NONE' } });
  const doctor = await run(['doctor', '--json'], { NONE: KEY });
  expect(doctor.code).toBe(1);
  const checks = JSON.parse(doctor.stdout) as { state: string; name: string; found: string }[];
  const found = checks.map(({ state, name, found }) => `${state} ${name} ${found}`);
  expect(found).toContain(`ok endpoint there: ${server.url}`);
  expect(found).toContain('warn endpoint far: texts and key go to http://models.invalid as plain text');
  expect(found).toContainEqual(
    expect.stringMatching(/^ok engine there:words: 384 dimensions, answered in [\d.]+ m?s$/),
  );
  expect(found).toContainEqual(expect.stringMatching(/^fail engine Endpoint 'far' cannot be used/));
  expect(doctor.stdout + doctor.stderr).not.toContain(KEY);
});

it('a file that is not right is told in one line, by doctor beside all else', async () => {
  list({ url: server.url, key: { env: 'NOT_SET' } });
  const line = "The key of endpoint 'there' is missing: the variable NOT_SET is empty or not there";
  expect(await embed()).toMatchObject({ code: 1, stderr: `pgembedder: ${line}\n` });
  const { stdout } = await run(['doctor', '--json']);
  const checks = JSON.parse(stdout) as object[];
  expect(checks).toContainEqual(expect.objectContaining({ state: 'fail', name: 'endpoint', found: line }));
  expect(checks).toContainEqual(expect.objectContaining({ state: 'ok', name: 'engine' }));
});

it('a redirect is not followed: neither text nor key go there', async () => {
  const elsewhere = await EmbeddingServer.start();
  for (const status of [301, 302, 307, 308]) {
    server.misbehave = () => ({ status, headers: { location: `${elsewhere.url}/embeddings` } });
    expect((await embed()).stderr).toMatch(/sends requests on to another address, which is not followed/);
  }
  expect(elsewhere.received).toEqual([]);
  await elsewhere.stop();
});

describe('a proxy', () => {
  let proxy: Server;
  const asked: string[] = [];

  beforeAll(async () => {
    proxy = createServer().on('connect', (request, socket) => {
      asked.push(request.url!);
      const tunnel = connect(server.port, '127.0.0.1', () => {
        socket.write('HTTP/1.1 200 OK\r\n\r\n');
        tunnel.pipe(socket).pipe(tunnel);
      });
      for (const end of [socket, tunnel]) end.on('error', () => end.destroy());
    });
    await new Promise<void>((resolve) => proxy.listen(0, '127.0.0.1', resolve));
  });
  afterAll(() => {
    proxy.closeAllConnections();
    proxy.close();
  });
  const url = () => `http://127.0.0.1:${(proxy.address() as AddressInfo).port}`;

  it('is the one of the environment, except for this machine and NO_PROXY', async () => {
    list({ url: 'http://models.invalid/v1' });
    expect(await embed({ HTTP_PROXY: url() })).toMatchObject({ code: 0 });
    expect(asked).toEqual(['models.invalid:80']);
    expect(server.received).toHaveLength(1);
    const without = await embed({ HTTP_PROXY: url(), NO_PROXY: 'models.invalid' });
    expect(without.stderr).toMatch(/http:\/\/models\.invalid cannot be reached/);
    list({ url: server.url });
    expect(await embed({ HTTP_PROXY: url() })).toMatchObject({ code: 0 });
    expect(asked).toHaveLength(1);
  });
});

describe('TLS', () => {
  const [key, certificate] = [join(folder, 'server.key'), join(folder, 'server.crt')];
  let secure: EmbeddingServer;

  beforeAll(async () => {
    execFileSync(
      'openssl',
      `req -new -x509 -days 2 -nodes -subj /CN=localhost -addext subjectAltName=DNS:localhost -out ${certificate} -keyout ${key}`.split(
        ' ',
      ),
      { stdio: 'ignore' },
    );
    chmodSync(key, 0o600);
    secure = await EmbeddingServer.start({ key: readFileSync(key), cert: readFileSync(certificate) });
  });
  afterAll(() => secure.stop());

  it('is checked, and sends nothing to a server with an unknown certificate', async () => {
    list({ url: secure.url });
    expect((await embed()).stderr).toMatch(/cannot be reached: self-signed certificate/);
    expect(secure.received).toEqual([]);
    expect(await embed({ NODE_EXTRA_CA_CERTS: certificate })).toMatchObject({ code: 0 });
    expect(secure.received).toHaveLength(1);
  });

  it('and one with another name', async () => {
    list({ url: `https://127.0.0.1:${secure.port}` });
    const { stderr } = await embed({ NODE_EXTRA_CA_CERTS: certificate });
    expect(stderr).toMatch(/cannot be reached/);
  });
});

describe.each([
  ['openai', '/v1'],
  ['tei', ''],
])('pgembedder serve, as %s', (api, path) => {
  let database: TestDatabase;
  let serving: Cli;

  beforeAll(async () => {
    database = await createDatabase();
    const env = { PGEMBEDDER_HTTP: '127.0.0.1:0', PGEMBEDDER_HTTP_TOKENS: `infer:${KEY}` };
    serving = new Cli(['serve'], { env });
    // It may not be ready yet: then it answers 503, and has to be waited for.
    await serving.said('serving health and metrics');
  });
  afterAll(async () => {
    serving.kill('SIGTERM');
    await serving.result();
    await database.drop();
  });

  it('fills a pipeline with the vectors of the model on this machine', async () => {
    const models = [{ name: 'all-MiniLM-L6-v2', dimensions: 384, max_tokens: 256 }];
    list({ api, url: urlOf(serving) + path, models });
    const env = { DATABASE_URL: database.url };
    expect((await run(['migrate'], env)).code).toBe(0);
    await database.query(`create table doc (id int primary key, body text);
      insert into doc select i, repeat('a text of words, number ' || i || '. ', 1 + i % 40) from generate_series(1, 200) i;
      select embedder.create_pipeline('doc', 'body', name => 'here', index => 'none');
      select embedder.create_pipeline('doc', 'body', name => 'there', model => 'there:all-MiniLM-L6-v2', index => 'none')`);
    const done = await run(['work', '--once', '--json'], env);
    expect(JSON.parse(done.stdout)).toMatchObject({ embedded: 400, dead: 0, failing: [] });
    // An int8 model gives a text other vectors beside other texts.
    const { rows } = await database.query<{ rows: number; near: number }>(`
      select count(*)::int as rows, min(1 - (here.embedding <=> there.embedding)) as near
      from here_embedding here join there_embedding there using (id)`);
    expect(rows[0]!.rows).toBe(200);
    expect(rows[0]!.near).toBeGreaterThan(0.98);
  });
});

describe('a worker', () => {
  let database: TestDatabase;
  beforeAll(async () => {
    database = await createDatabase();
  });
  afterAll(() => database.drop());

  it('makes the models known, embeds, and shows no key at any level of the log', async () => {
    const env = { DATABASE_URL: database.url, PGEMBEDDER_LOG_LEVEL: 'trace' };
    const migrated = await run(['migrate'], env);
    expect(migrated.code).toBe(0);
    await database.query(`create table doc (id int primary key, body text);
      insert into doc select i, 'text ' || i from generate_series(1, 50) i;
      select embedder.create_pipeline('doc', 'body', model => 'there:words', index => 'none')`);
    server.misbehave = () => ({ status: 401, body: { error: { message: `Incorrect key ${KEY}` } } });
    const refused = await run(['work', '--once'], env);
    expect(refused.stdout).toMatch(/pipeline doc does not work: Endpoint 'there' does not let pgembedder in/);
    const status = await run(['status'], env);
    expect(status.stdout).toMatch(/does not let pgembedder in/);
    server.misbehave = () => undefined;
    await database.query(`select embedder.resume_pipeline('doc'); update embedder.job set due_at = now()`);
    const done = await run(['work', '--once', '--json'], env);
    expect(JSON.parse(done.stdout)).toMatchObject({ embedded: 50, dead: 0, failing: [] });
    const searched = await run(['search', 'doc', 'text 7', '--json'], env);
    expect(searched.code).toBe(0);
    for (const { stdout, stderr } of [migrated, refused, status, done, searched])
      expect(stdout + stderr).not.toContain(KEY);
  });
});
