import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { definePipeline } from '../../../src/pipelines/define.ts';
import { waitFor } from '../../../src/pipelines/wait-for.ts';
import {
  createMigratedDatabase,
  FakeEmbedder,
  type MigratedDatabase,
  workerOn,
} from '../../support/pgembedder.ts';

let database: MigratedDatabase;
beforeEach(async () => {
  database = await createMigratedDatabase();
  await database.query(`create table articles (id int primary key, body text);
    insert into articles select i, 'text ' || i from generate_series(1, 20) i`);
  await definePipeline(database.kysely, { source: 'articles', input: 'body' });
});
afterEach(() => database.drop());

describe('waitFor', () => {
  it('resolves when a worker has done what waited, be it a backfill or a new row', async () => {
    const worker = workerOn(database, { embedder: new FakeEmbedder() });
    await worker.start();
    let waited = 0;
    await waitFor(database.kysely, 'articles', { onWait: () => waited++ });
    const count = async () =>
      (await database.query('select count(*)::int as n from articles_embedding')).rows[0]!.n;
    expect(await count()).toBe(20);
    await database.query(`insert into articles values (21, 'one more')`);
    await waitFor(database.kysely, 'articles');
    expect(await count()).toBe(21);
    expect(waited).toBe(1);
    await worker.stop();
  });

  it('says how many rows wait when time is up, and that no worker runs', async () => {
    await expect(waitFor(database.kysely, 'articles', { timeoutMs: 0 })).rejects.toMatchObject({
      message: expect.stringMatching(/pipeline "articles" is not done after 0 s: .*, and no worker runs/),
      hint: 'Start one: pgembedder work',
    });
  });

  it('does not wait for a pipeline that is paused, does not work, or is not there', async () => {
    await database.query(`select embedder.pause_pipeline('articles')`);
    await expect(waitFor(database.kysely, 'articles')).rejects.toMatchObject({
      message: 'pipeline "articles" is paused',
      hint: 'Run: pgembedder pipeline resume articles',
    });
    await database.query(`select embedder.resume_pipeline('articles')`);
    await database.query(`update embedder.pipeline set error = 'no such model', error_at = now()`);
    await expect(waitFor(database.kysely, 'articles')).rejects.toThrow(
      'pipeline "articles" does not work: no such model',
    );
    await expect(waitFor(database.kysely, 'nothing')).rejects.toThrow('there is no pipeline "nothing"');
  });
});
