import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { createDatabase } from '../support/postgres.ts';
import { Cli, isPlain, run, runJson } from './cli.ts';

interface Answered {
  query: string;
  answers: { word: string; pos: string; gloss: string; similarity: number }[];
}

// DATABASE_URL is there and wrong: the demo does not read it.
const env = { DATABASE_URL: 'postgres://nobody@127.0.0.1:1/nothing' };
let cwd: string;

beforeAll(async () => {
  cwd = await mkdtemp(join(tmpdir(), 'pgembedder-demo-'));
});
afterAll(() => rm(cwd, { recursive: true, force: true }));

describe('demo, on the embedded Postgres', () => {
  it('is stopped by Ctrl-C, and goes on in the next run', async () => {
    const first = new Cli(['demo', '--rows', '1500', 'x'], { env, cwd });
    await first.said('glosses of WordNet');
    first.kill('SIGINT');
    const stopped = await first.result();
    expect(stopped.code).toBe(0);
    expect(stopped.stderr).toContain('the next run goes on from here');

    const { code, stdout, stderr } = await run(['demo', '--rows', '1500', 'the power to do work'], {
      env,
      cwd,
    });
    expect({ code, defects: stderr.includes('    at ') }).toEqual({ code: 0, defects: false });
    expect(stderr).not.toContain('glosses of WordNet in table');
    expect(stderr).toContain('HNSW index built');
    expect(isPlain(stdout + stderr)).toBe(true);
    expect(stdout.split('\n').filter((line) => line !== '')).toHaveLength(5);

    const rows = await runJson<object[]>(['status', '--embedded'], { env, cwd });
    expect(rows).toMatchObject([
      { pipeline: 'wordnet', state: 'live', source_rows: 1500, embedded_rows: 1500, pending: 0, leased: 0 },
    ]);
    // On two cores that other tests share, without VNNI, 1,500 rows take most of a minute.
  }, 180_000);

  it('answers from what is there', async () => {
    const { stdout, stderr } = await run(
      ['demo', '--rows', '1500', 'one who writes books', '--json', '-k', '3'],
      {
        env,
        cwd,
      },
    );
    expect(stderr).toBe('Embedded Postgres in .pgembedder: for trying out, not for production.\n');
    const { query, answers } = JSON.parse(stdout) as Answered;
    expect(query).toBe('one who writes books');
    expect(answers).toHaveLength(3);
    expect(answers[0]).toMatchObject({ word: expect.stringMatching(/novelist|writer|author/), pos: 'noun' });
  });

  it('reads queries from a pipe, one a line', async () => {
    const { code, stdout, stderr } = await run(['demo', '--rows', '1500', '-k', '2'], {
      env,
      cwd,
      input: 'a very large animal\n\na place to sleep\n',
    });
    expect(code).toBe(0);
    expect(stderr).toContain('stdin is no terminal');
    expect(stdout.trim().split('\n')).toHaveLength(4);
  });
});

describe('demo, on a database that is named', () => {
  it('makes its table there', async () => {
    const database = await createDatabase();
    const args = ['demo', '--rows', '50', '--database-url', database.url];
    const { code } = await run([...args, 'x'], { env, cwd });
    expect(code).toBe(0);
    const { rows } = await database.query('select count(*)::int as n from wordnet_embedding');
    expect(rows).toEqual([{ n: 50 }]);
    await database.drop();
  });

  it('leaves a table alone that is not its own', async () => {
    const database = await createDatabase();
    await database.query('create table wordnet (id int primary key)');
    const { code, stderr } = await run(['demo', '--rows', '50', '--database-url', database.url, 'x'], {
      env,
      cwd,
    });
    expect(code).toBe(1);
    expect(stderr).toMatch(/^pgembedder: table wordnet of this database is not the demo's\. .+\n$/);
    await database.drop();
  });
});
