import { type ChildProcess, spawn } from 'node:child_process';
import { createHash } from 'node:crypto';
import { once } from 'node:events';
import { chmod, cp, mkdir, mkdtemp, readdir, readFile, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { createInterface } from 'node:readline';
import { fileURLToPath } from 'node:url';
import pg from 'pg';
import { pino } from 'pino';
import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, it } from 'vitest';
import { startEmbedded } from '../../../src/embedded/start-embedded.ts';
import { pollUntil } from '../../support/poll-until.ts';

const HOLDER = fileURLToPath(new URL('./hold-embedded.mjs', import.meta.url));
const logger = pino({ enabled: false });

/** A stopped database to copy, since the first start of one takes seconds. */
let template: string;
let temporary: string;
let directory: string;
let started: ChildProcess[];

beforeAll(async () => {
  temporary = await mkdtemp(join(tmpdir(), 'pgembedder-embedded-'));
  process.env.TMPDIR = temporary; // the servers' sockets, too: those that are killed leave theirs behind
  template = join(temporary, 'template');
  const embedded = await startEmbedded(template, { logger });
  await embedded.stop();
});
afterAll(() => rm(temporary, { recursive: true }));

beforeEach(async () => {
  directory = join(await mkdtemp(join(temporary, 'test-')), 'data');
  started = [];
});

const useTemplate = () => cp(join(template, 'pgdata'), join(directory, 'pgdata'), { recursive: true });

afterEach(async () => {
  const pid = await serverPid().catch(() => undefined);
  for (const child of started) child.kill('SIGKILL');
  if (pid && isRunning(pid)) process.kill(pid, 'SIGKILL');
  await rm(join(directory, '..'), { recursive: true, force: true });
});

/** Another process that starts the embedded Postgres on the directory. */
async function hold(): Promise<{ child: ChildProcess; url: string; owner: boolean }> {
  const child = spawn(process.execPath, [HOLDER, directory], {
    stdio: ['pipe', 'pipe', 'inherit'],
    detached: true,
  });
  started.push(child);
  const [line] = await once(createInterface(child.stdout!), 'line');
  return { child, ...JSON.parse(line) };
}

/** The process that serves the directory: it is named in the lock. */
async function serverPid(): Promise<number> {
  const locks = (await readdir(directory)).filter((name) => name.startsWith('lock.'));
  expect(locks).toHaveLength(1);
  const socket = await readFile(join(directory, locks[0]!), 'utf8');
  return Number(/^alive-(\d+)-/.exec(socket)?.[1]);
}

async function query(url: string, sql: string): Promise<Record<string, unknown>[]> {
  const client = new pg.Client({ connectionString: url });
  client.on('error', () => {}); // the query under way fails with it, too
  await client.connect();
  try {
    return (await client.query(sql)).rows;
  } finally {
    await client.end();
  }
}

const isRunning = (pid: number) => {
  try {
    return process.kill(pid, 0);
  } catch {
    return false;
  }
};

it('makes the directory, has pgvector, and keeps its data over a stop', async () => {
  const first = await startEmbedded(directory, { logger });
  expect(first.owner).toBe(true);
  await query(
    first.url,
    "create extension vector; create table t (v vector(2)); insert into t values ('[1,2]')",
  );
  await first.stop();
  await first.ended;
  await expect(query(first.url, 'select 1')).rejects.toMatchObject({ code: 'ENOENT' });

  const second = await startEmbedded(directory, { logger });
  const pool = new pg.Pool(second.connection);
  expect((await pool.query('select v from t')).rows).toEqual([{ v: '[1,2]' }]);
  await pool.end();
  await second.stop();
});

it('cuts off its clients when it stops, and rolls back what they had open', async () => {
  await useTemplate();
  const first = await startEmbedded(directory, { logger });
  await query(first.url, 'create table t (i int)');
  const client = new pg.Client({ connectionString: first.url });
  const errors: unknown[] = [];
  client.on('error', (error) => errors.push(error));
  await client.connect();
  await client.query('begin');
  await client.query('insert into t values (1)');
  await first.stop();
  expect(errors[0]).toMatchObject({ code: '57P01' });
  const second = await startEmbedded(directory, { logger });
  expect(await query(second.url, 'select * from t')).toEqual([]);
  await second.stop();
});

it('finds the server of another process, while that one still starts, too', async () => {
  const all = await Promise.all([hold(), hold(), hold()]);
  expect(all.filter((one) => one.owner)).toHaveLength(1);
  expect(new Set(all.map((one) => one.url)).size).toBe(1);
  const guest = all.find((one) => !one.owner)!;
  expect(await query(guest.url, 'select 1 as one')).toEqual([{ one: 1 }]);
  guest.child.stdin!.end();
  await once(guest.child, 'exit');
  expect(await query(guest.url, 'select 1 as one')).toEqual([{ one: 1 }]); // the owner's server goes on
});

describe('kill -9', () => {
  it('of the server loses no committed row', async () => {
    await useTemplate();
    const { url } = await hold();
    const client = new pg.Client({ connectionString: url });
    client.on('error', () => {});
    await client.connect();
    await client.query('create table t (i int primary key, v text)');
    // Killed when it has confirmed 300 rows and is at work on more.
    let confirmed = 0;
    const pid = await serverPid();
    const writing = (async () => {
      for (;;) {
        await client.query('insert into t values ($1, repeat($2, 2000))', [confirmed, 'x']);
        if (++confirmed === 300) process.kill(pid, 'SIGKILL');
      }
    })();
    await expect(writing).rejects.toThrow();

    const again = await startEmbedded(directory, { logger });
    expect(again.owner).toBe(true);
    const [row] = await query(again.url, 'select count(*)::int as n, coalesce(max(i), -1) as last from t');
    expect(row!.n).toBeGreaterThanOrEqual(confirmed);
    expect(row!.n).toBeLessThanOrEqual(confirmed + 1); // one may be committed and not confirmed
    expect(row!.last).toBe(Number(row!.n) - 1);
    await again.stop();
  });

  it('of the server and its parent at once, again and again', async () => {
    await useTemplate();
    for (const round of [1, 2, 3]) {
      const { child, url } = await hold();
      if (round === 1) await query(url, 'create table t (i int)');
      await query(url, `insert into t values (${round})`);
      const pid = await serverPid();
      process.kill(pid, 'SIGKILL');
      child.kill('SIGKILL');
    }
    const { url } = await hold();
    expect(await query(url, 'select i from t order by i')).toEqual([{ i: 1 }, { i: 2 }, { i: 3 }]);
  });

  it('of the parent ends the server too', async () => {
    await useTemplate();
    const { child, url } = await hold();
    await query(url, 'create table t as select 1 as i');
    const pid = await serverPid();
    child.kill('SIGKILL');
    await pollUntil(() => !isRunning(pid), { what: 'the end of the server' });
    const again = await startEmbedded(directory, { logger });
    expect(await query(again.url, 'select * from t')).toEqual([{ i: 1 }]);
    await again.stop();
  });

  it('during the first start leaves nothing that is in the way', async () => {
    const child = spawn(process.execPath, [HOLDER, directory], { stdio: ['pipe', 'ignore', 'ignore'] });
    started.push(child);
    const pid = await pollUntil(() => serverPid().catch(() => undefined), { what: 'the lock' });
    // PG_VERSION is what a later start takes for a database.
    await pollUntil(() => readFile(join(directory, 'pgdata', 'PG_VERSION')).catch(() => undefined), {
      every: 1,
    });
    process.kill(pid, 'SIGKILL');
    const embedded = await startEmbedded(directory, { logger });
    expect(await query(embedded.url, 'select 1 as one')).toEqual([{ one: 1 }]);
    expect((await readdir(directory)).some((name) => name.startsWith('pgdata.incomplete-'))).toBe(true);
    await embedded.stop();
  });
});

it('leaves Ctrl-C to its parent', async () => {
  await useTemplate();
  const { child, url } = await hold();
  const pid = await serverPid();
  for (const signal of ['SIGINT', 'SIGTERM', 'SIGHUP'] as const) process.kill(pid, signal);
  expect(await query(url, 'select 1 as one')).toEqual([{ one: 1 }]);
  child.stdin!.end();
  await once(child, 'exit');
  expect(isRunning(pid)).toBe(false);
});

it('turns a recursion without end into an error, and goes on', async () => {
  await useTemplate();
  const embedded = await startEmbedded(directory, { logger });
  await query(
    embedded.url,
    'create function f(n int) returns int language plpgsql as $$ begin return f(n + 1); end $$',
  );
  await expect(query(embedded.url, 'select f(0)')).rejects.toMatchObject({ code: '54001' });
  expect(await query(embedded.url, 'select 1 as one')).toEqual([{ one: 1 }]);
  await embedded.stop();
});

it('ends when a statement crashes it inside, instead of hanging', async () => {
  await useTemplate();
  const lines: string[] = [];
  const listening = pino({}, { write: (line: string) => void lines.push(line) });
  const embedded = await startEmbedded(directory, { logger: listening });
  await query(embedded.url, 'create table t as select 1 as i');
  await expect(query(embedded.url, "select repeat('[', 1000000)::json")).rejects.toThrow();
  await embedded.ended;
  expect(lines.join('')).toContain('a statement crashed inside it');
  const again = await startEmbedded(directory, { logger });
  expect(await query(again.url, 'select * from t')).toEqual([{ i: 1 }]);
  await again.stop();
});

describe('a directory that cannot be used', () => {
  it('because it is a file', async () => {
    await writeFile(directory, '');
    await expect(startEmbedded(directory, { logger })).rejects.toMatchObject({ name: 'UserError' });
    await rm(directory);
  });

  it('because a folder for the socket that others may enter is there already', async () => {
    const hash = createHash('sha256').update(directory).digest('hex').slice(0, 16);
    const folder = join(temporary, `pgembedder-${hash}`);
    await mkdir(folder);
    await chmod(folder, 0o755);
    await expect(startEmbedded(directory, { logger })).rejects.toThrow(`${folder} is open to other users`);
  });

  it('because its data is of another PostgreSQL', async () => {
    await mkdir(join(directory, 'pgdata'), { recursive: true });
    await writeFile(join(directory, 'pgdata', 'PG_VERSION'), '9\n');
    await writeFile(join(directory, 'pgdata', 'pgembedder-initialized'), '');
    await expect(startEmbedded(directory, { logger })).rejects.toMatchObject({
      name: 'UserError',
      hint: expect.stringContaining('PostgreSQL 9;'),
    });
  });
});
