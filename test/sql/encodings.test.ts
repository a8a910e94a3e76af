import { afterEach, expect, it } from 'vitest';
import { EngineError } from '../../src/inference/backend/engine-error.ts';
import { createMigratedDatabase, drain, FakeEmbedder, type MigratedDatabase } from '../support/pgembedder.ts';

let database: MigratedDatabase;
afterEach(() => database.drop());

it('a database without a known encoding is refused', async () => {
  database = await createMigratedDatabase({ encoding: 'SQL_ASCII' });
  await database.query('create table doc (id int primary key, body text)');
  await expect(database.query(`select embedder.create_pipeline('doc', 'body')`)).rejects.toMatchObject({
    code: '0A000',
    message: `database "${database.name}" has the encoding SQL_ASCII, by which PostgreSQL does not know what characters its texts are made of`,
  });
});

it('in a database of LATIN1 keys, texts and errors of any letters are kept', async () => {
  database = await createMigratedDatabase({ encoding: 'LATIN1' });
  await database.query(`create table doc (id text primary key, body text); insert into doc values ('caf' || chr(233), 'na' || chr(239) || 've'), ('b', 'bad');
    select embedder.create_pipeline('doc', 'body', max_attempts => 1, index => 'none')`);
  const embedder = new FakeEmbedder();
  embedder.fault = (text) => (text === 'bad' ? new EngineError('run', 'the text “日本” → 😀') : undefined);
  await drain(database, { embedder });
  expect((await database.query('select id from doc_embedding')).rows).toEqual([{ id: 'café' }]);
  expect((await database.query('select row_key, error from embedder.failed_job')).rows).toEqual([
    { row_key: 'b', error: 'the text ???? ? ?' },
  ]);
});
