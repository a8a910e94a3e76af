import { readdirSync, readFileSync } from 'node:fs';
import { afterAll, beforeAll, expect, it } from 'vitest';
import { pollUntil } from '../support/poll-until.ts';
import { createDatabase, createRole, type TestDatabase, type TestRole } from '../support/postgres.ts';
import { Cli, run } from './cli.ts';

let database: TestDatabase;
let role: TestRole;

beforeAll(async () => {
  database = await createDatabase();
  role = await createRole('superuser');
  await run(['migrate'], { env: { DATABASE_URL: database.url } });
  await database.query(
    "create table notes (id int primary key, body text); insert into notes values (1, 'a cat')",
  );
  await run(['pipeline', 'create', 'notes', 'body'], { env: { DATABASE_URL: database.url } });
});
afterAll(async () => {
  await database.drop();
  await role.drop();
});

/** Processes and what /proc says of each. */
function processes(file: 'cmdline' | 'environ'): { pid: string; text: string }[] {
  return readdirSync('/proc')
    .filter((name) => /^\d+$/.test(name))
    .flatMap((pid) => {
      try {
        return [{ pid, text: readFileSync(`/proc/${pid}/${file}`, 'utf8').replaceAll('\0', ' ').trim() }];
      } catch {
        return [];
      }
    });
}

it.skipIf(process.platform !== 'linux')(
  'neither ps nor the log nor an engine’s environment has a password or a token',
  async () => {
    const { href: url } = Object.assign(new URL(database.url), {
      username: role.name,
      password: role.password,
    });
    const token = 'bearer-that-nobody-sees';
    const key = 'key-that-nobody-sees';
    const worker = new Cli(['work', '--database-url', url], {
      env: {
        PGEMBEDDER_HTTP: '127.0.0.1:0',
        PGEMBEDDER_HTTP_TOKEN: token,
        PGPASSWORD: role.password,
        SOME_API_KEY: key,
        MARK: role.name,
      },
    });
    await pollUntil(async () => (await database.query('select from notes_embedding')).rowCount, {
      what: 'a vector',
    });

    const shown = processes('cmdline');
    expect(shown.filter(({ text }) => text.includes(role.password))).toEqual([]);
    const called = shown.filter(({ text }) => text.includes(`--database-url postgres://${role.name}`));
    expect(called.map(({ text }) => text)).toEqual([
      expect.stringMatching(/^pgembedder work --database-url postgres\S*:\*\*\*@/),
    ]);

    const own = processes('environ').filter(({ text }) => text.includes(`MARK=${role.name}`));
    const engines = own.filter(({ pid }) => pid !== called[0]!.pid);
    expect(engines.length).toBeGreaterThan(0);
    for (const { text } of engines) {
      for (const secret of [role.password, token, key]) expect(text).not.toContain(secret);
      expect(text).toContain('PATH=');
    }
    worker.kill('SIGTERM');
    const { code, stdout, stderr } = await worker.result();
    expect(code).toBe(0);
    for (const secret of [role.password, token, key]) expect(stdout + stderr).not.toContain(secret);
  },
);

it('a row that fails is not quoted in the log', async () => {
  const secret = 'the diagnosis of Ms Miller';
  await database.query(`
    create table letter (id int primary key, body text, embedding vector(384), note text default '${secret}',
      check (embedding is null));
    insert into letter values (1, '${secret}')`);
  const env = { DATABASE_URL: database.url, PGEMBEDDER_LOG_LEVEL: 'trace', PGEMBEDDER_HTTP: 'off' };
  await database.query(
    "select embedder.create_pipeline('letter', 'body', target_column => 'embedding', max_attempts => 1)",
  );
  const { stdout, stderr } = await run(['work', '--once'], { env });
  const { rows } = await database.query<{ error: string }>('select error from embedder.failed_job');
  expect(rows[0]!.error).toContain('violates check constraint');
  expect(stderr).toContain('rows failed');
  expect(stdout + stderr + rows[0]!.error).not.toContain(secret);
});
