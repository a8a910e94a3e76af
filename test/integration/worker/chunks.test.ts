import { afterAll, afterEach, beforeAll, describe, expect, it } from 'vitest';
import { EngineError } from '../../../src/inference/backend/engine-error.ts';
import type { Worker } from '../../../src/worker/worker.ts';
import {
  createMigratedDatabase,
  drain,
  FakeEmbedder,
  fakeVector,
  jobCount,
  type MigratedDatabase,
  makeDue,
  openReference,
  readVectors,
  workerOn,
  wrongKeys,
} from '../../support/pgembedder.ts';
import { pollUntil } from '../../support/poll-until.ts';

let database: MigratedDatabase;
const workers: Worker[] = [];
const embedders: FakeEmbedder[] = [];

beforeAll(async () => {
  database = await createMigratedDatabase();
});
afterAll(() => database.drop());
afterEach(async () => {
  for (const embedder of embedders.splice(0)) embedder.release();
  await Promise.all(workers.splice(0).map((worker) => worker.stop()));
  await database.query(`select embedder.drop_pipeline(name, drop_target => true) from embedder.pipeline where live;
    drop table if exists doc cascade`);
});

interface ChunkRow {
  id: number;
  chunk: number;
  chunk_text: string;
  chunk_start: number;
  chunk_end: number;
  heading: string | null;
  input_hash: string;
  embedding: string;
  embedded_at: Date;
}

/** A table of texts by number. */
async function make(texts: Record<number, string | null>): Promise<void> {
  await database.query('create table doc (id int primary key, title text, body text)');
  for (const [id, body] of Object.entries(texts))
    await database.query('insert into doc values ($1, $2, $3)', [id, `Title ${id}`, body]);
}
/** In chunks of at most 10 words (by the fake tokenizer), one paragraph each. */
const SMALL = { strategy: 'recursive', size: 10, overlap: 0 };
const create = (chunking: object = SMALL, rest = '') =>
  database.query(`select embedder.create_pipeline('doc', 'body', index => 'none', chunking => $1${rest})`, [
    chunking,
  ]);
const setBody = (id: number, body: string | null) =>
  database.query('update doc set body = $2 where id = $1', [id, body]);
const chunks = async (id?: number, sidecar = 'doc_embedding') =>
  (
    await database.query<ChunkRow>(
      `select * from ${sidecar} where id = $1 or $1 is null order by id, chunk`,
      [id ?? null],
    )
  ).rows;
const texts = async (id?: number) => (await chunks(id)).map((row) => row.chunk_text);
/** Paragraphs that each fill a chunk of `SMALL`. */
const paragraph = (name: string) => `${name} one two three four five six seven eight.`;
const paragraphs = (...names: string[]) => names.map(paragraph).join('\n\n');
/** The texts that a drain has given to the model, sorted. */
async function embedded(): Promise<string[]> {
  const embedder = new FakeEmbedder();
  const { failing } = await drain(database, { embedder });
  expect(failing).toEqual([]);
  expect(await jobCount(database)).toBe(0);
  return embedder.calls.flat().sort();
}

/** Each chunk is numbered, stands where it says, and has the vector of what it says. */
async function allRight(wrap = (text: string, _id: number) => text): Promise<void> {
  const { rows } = await database.query<{ id: number; n: number; least: number; most: number; off: number }>(
    `select id, count(*)::int as n, min(chunk) as least, max(chunk) as most,
      (count(*) filter (where chunk_text is distinct from substring(body from chunk_start + 1 for chunk_end - chunk_start)))::int as off
     from doc join doc_embedding using (id) group by id`,
  );
  for (const { n, least, most, off } of rows)
    expect({ least, most, off }).toEqual({ least: 0, most: n - 1, off: 0 });
  const found = await readVectors(
    database,
    `select id || '/' || chunk || '/' || chunk_text, embedding from doc_embedding`,
  );
  const wanted = new Map(
    (await chunks()).map((row) => [
      `${row.id}/${row.chunk}/${row.chunk_text}`,
      fakeVector(wrap(row.chunk_text, row.id)),
    ]),
  );
  expect(wrongKeys(found, wanted)).toEqual([]);
}

describe('with the bundled model', () => {
  const text = `# Kitchen 🍳

Fry the eggs 🥚🥚 in butter. Use a heavy pan; a thin one burns them at once, as everybody knows.

## 日本語 の 見出し

日本語の文章です。卵を焼いてください。とても簡単です。 Naïve café 👩‍👩‍👧‍👦 family, and flags 🇩🇪 too.

### Deep

The last of the sections is about washing up, which nobody likes, and about drying plates afterwards.`;

  it.each([
    ['recursive', 24, 4, '{title}: {chunk}'],
    ['tokens', 16, 5, undefined],
    ['markdown', 24, 0, '{title} -- {chunk} --{{end}}'],
  ])('strategy %s', async (strategy, size, overlap, template) => {
    const reference = openReference();
    await make({ 1: text, 2: 'Short.' });
    await create({ strategy, size, overlap, template }, `, options => '{"prompt": "passage: "}'`);
    const worker = workerOn(database);
    const { failing } = await worker.drain();
    expect(failing).toEqual([]);
    const { rows } = await database.query<ChunkRow & { same: boolean }>(
      `select s.*, substring(body from chunk_start + 1 for chunk_end - chunk_start) = chunk_text as same
       from doc_embedding s join doc using (id) order by id, chunk`,
    );
    expect(rows.every(({ same }) => same)).toBe(true);
    expect(rows.map(({ id, chunk }) => [id, chunk])).toEqual([
      ...Array.from({ length: rows.length - 1 }, (_, i) => [1, i]),
      [2, 0],
    ]);
    expect(rows.length).toBeGreaterThan(4);
    // Nothing but whitespace stands outside of the chunks.
    const points = [...text];
    for (const row of rows.filter(({ id }) => id === 1)) points.fill(' ', row.chunk_start, row.chunk_end);
    expect(points.join('').trim()).toBe('');
    const [before, after] = (template ?? '{chunk}').replace('{{', '{').replace('}}', '}').split('{chunk}');
    const inputs = rows.map(
      (row) => `passage: ${before!.replace('{title}', `Title ${row.id}`)}${row.chunk_text}${after}`,
    );
    const vectors = await reference.embed(inputs);
    await reference.close();
    const key = (row: ChunkRow) => `${row.id}/${row.chunk}`;
    expect(
      wrongKeys(
        await readVectors(database, `select id || '/' || chunk, embedding from doc_embedding`),
        new Map(rows.map((row, i) => [key(row), vectors[i]!])),
        0.985,
      ),
    ).toEqual([]);
    // The hash is that of what the model was given, as PostgreSQL computes it.
    const hashes = await database.query<{ hash: string }>(
      'select md5(i)::uuid as hash from unnest($1::text[]) i',
      [inputs],
    );
    expect(rows.map((row) => row.input_hash)).toEqual(hashes.rows.map(({ hash }) => hash));
    const headings = new Set(rows.map((row) => row.heading));
    if (strategy === 'markdown') {
      expect([...headings].filter((heading) => heading !== null)).toEqual([
        'Kitchen 🍳',
        'Kitchen 🍳 > 日本語 の 見出し',
        'Kitchen 🍳 > 日本語 の 見出し > Deep',
      ]);
      expect(rows.at(-1)!.heading).toBeNull();
    } else {
      expect([...headings]).toEqual([null]);
    }
    // The chunk that holds a sentence is what its own words find.
    await database.query(`create function search_of(id int, chunk int) returns text language sql as
      $$ select string_agg(s.key::text || s.chunk || ' ' || s.input, ',') from embedder.search('doc',
        (select embedding from doc_embedding e where e.id = search_of.id and e.chunk = search_of.chunk), 1) s $$`);
    const probe = rows[2]!;
    const found = await database.query<{ s: string }>('select search_of($1, $2) as s', [
      probe.id,
      probe.chunk,
    ]);
    await database.query('drop function search_of');
    expect(found.rows[0]!.s).toBe(`{"id": 1}${probe.chunk} ${probe.chunk_text}`);
  });
});

describe('a long text that is changed', () => {
  const names = ['alpha', 'beta', 'gamma', 'delta', 'epsilon', 'zeta'];

  it('in one place embeds that chunk anew, and leaves the others as they are', async () => {
    await make({ 1: paragraphs(...names) });
    await create();
    expect(await embedded()).toEqual(names.map(paragraph).sort());
    const before = await chunks();
    await setBody(1, paragraphs(...names).replace('gamma one', 'gamma ONE'));
    expect(await embedded()).toEqual([paragraph('gamma').replace('one', 'ONE')]);
    const after = await chunks();
    expect(
      after.map((row) => row.embedded_at.getTime() !== before[row.chunk]!.embedded_at.getTime()),
    ).toEqual([false, false, true, false, false, false]);
    expect(
      after.filter((row) => row.embedding !== before[row.chunk]!.embedding).map(({ chunk }) => chunk),
    ).toEqual([2]);
    await allRight();
  });

  it('at the front shifts the numbers and embeds what is new alone', async () => {
    await make({ 1: paragraphs(...names) });
    await create();
    await embedded();
    await setBody(1, paragraphs('new', ...names));
    expect(await embedded()).toEqual([paragraph('new')]);
    expect(await texts()).toEqual(['new', ...names].map(paragraph));
    await allRight();
    await setBody(1, paragraphs(...[...names].reverse()));
    expect(await embedded()).toEqual([]);
    expect(await texts()).toEqual([...names].reverse().map(paragraph));
    await allRight();
  });

  it('to a shorter one loses just the chunks that are too many; to none, all', async () => {
    await make({ 1: paragraphs(...names), 2: paragraphs('other') });
    await create();
    await embedded();
    await setBody(1, paragraphs('alpha', 'beta'));
    expect(await embedded()).toEqual([]);
    expect(await texts()).toEqual(['alpha', 'beta', 'other'].map(paragraph));
    for (const empty of [null, ' \n\t ', '']) {
      await setBody(1, empty);
      expect(await embedded()).toEqual([]);
      expect(await texts()).toEqual([paragraph('other')]);
      await setBody(1, paragraphs('alpha', 'beta'));
      expect(await embedded()).toHaveLength(2);
    }
    await database.query('delete from doc where id = 1');
    expect(await texts()).toEqual([paragraph('other')]);
    await database.query('update doc set id = 5 where id = 2');
    expect(await embedded()).toEqual([paragraph('other')]);
    expect(await chunks()).toMatchObject([{ id: 5, chunk: 0 }]);
    await database.query('truncate doc');
    expect(await chunks()).toEqual([]);
  });

  it('in the template embeds all its chunks anew', async () => {
    await make({ 1: paragraphs('alpha', 'beta'), 2: paragraphs('gamma') });
    await create({ ...SMALL, template: '{title}: {chunk}!' });
    expect(await embedded()).toEqual(
      [
        `Title 1: ${paragraph('alpha')}!`,
        `Title 1: ${paragraph('beta')}!`,
        `Title 2: ${paragraph('gamma')}!`,
      ].sort(),
    );
    await database.query(`update doc set title = 'New' where id = 1`);
    expect(await embedded()).toEqual([`New: ${paragraph('alpha')}!`, `New: ${paragraph('beta')}!`]);
    await database.query('update doc set title = null where id = 2');
    expect(await embedded()).toEqual([`: ${paragraph('gamma')}!`]);
    await allRight((text, id) => `${id === 1 ? 'New' : ''}: ${text}!`);
  });

  it('while its chunks are computed never becomes a mix', async () => {
    await make({ 1: paragraphs('a1', 'a2', 'a3'), 2: paragraphs('b1', 'b2') });
    await create();
    const embedder = new FakeEmbedder();
    embedders.push(embedder);
    embedder.hold();
    const call = embedder.nextCall();
    const worker = workerOn(database, { embedder });
    workers.push(worker);
    await worker.start();
    await call;
    await setBody(1, paragraphs('a1', 'x2'));
    await database.query('delete from doc where id = 2');
    const next = embedder.nextCall();
    embedder.release();
    embedder.hold();
    await next;
    // The old chunks were not written, and of the new ones none is there yet.
    expect(await chunks()).toEqual([]);
    embedder.release();
    await pollUntil(async () => (await jobCount(database)) === 0);
    expect(await texts()).toEqual(['a1', 'x2'].map(paragraph));
    await allRight();
    // Chunks on which it relies go while it computes: it computes them.
    embedder.hold();
    const third = embedder.nextCall();
    await setBody(1, paragraphs('a1', 'x2', 'x3'));
    expect(await third).toEqual([paragraph('x3')]);
    await database.query('delete from doc_embedding where chunk = 0');
    embedder.release();
    await pollUntil(async () => {
      await makeDue(database);
      return (await jobCount(database)) === 0;
    });
    expect(await texts()).toEqual(['a1', 'x2', 'x3'].map(paragraph));
    await allRight();
  });
});

describe('rows', () => {
  it('with a poison chunk fail alone, and become dead letters', async () => {
    await make({ 1: paragraphs('a', 'b'), 2: paragraphs('c', 'poison', 'd'), 3: paragraphs('e') });
    await create(SMALL, ', max_attempts => 2');
    const embedder = new FakeEmbedder();
    embedder.fault = (text) =>
      text.startsWith('poison') ? new EngineError('run', 'the model does not like it') : undefined;
    expect(await drain(database, { embedder })).toMatchObject({ embedded: 2, retried: 1, failing: [] });
    expect(await texts()).toEqual(['a', 'b', 'e'].map(paragraph));
    await makeDue(database);
    expect(await drain(database, { embedder })).toMatchObject({ dead: 1 });
    const { rows } = await database.query('select row_key, error from embedder.failed_job');
    expect(rows).toEqual([{ row_key: '2', error: expect.stringMatching(/the model does not like it/) }]);
    await setBody(2, paragraphs('c', 'd'));
    expect(await drain(database, { embedder })).toMatchObject({ embedded: 1 });
    expect(await texts(2)).toEqual(['c', 'd'].map(paragraph));
    expect((await database.query('select from embedder.failed_job')).rowCount).toBe(0);
    // A row that fails keeps the chunks that it has.
    await setBody(2, paragraphs('poison'));
    await drain(database, { embedder });
    expect(await texts(2)).toEqual(['c', 'd'].map(paragraph));
    const status = await database.query('select stale_rows, source_rows, embedded_rows from embedder.status');
    expect(status.rows).toEqual([{ stale_rows: '1', source_rows: '3', embedded_rows: '3' }]);
  });

  it('with more than a thousand chunks, counted as one', async () => {
    const names = Array.from({ length: 1_200 }, (_, i) => `p${i}`);
    await make({ 1: paragraphs(...names), 2: paragraphs('small'), 3: null });
    await create();
    expect(await embedded()).toHaveLength(1_201);
    expect(await chunks(1)).toHaveLength(1_200);
    await allRight();
    const status = async () =>
      (await database.query('select source_rows, embedded_rows, stale_rows, coverage from embedder.status'))
        .rows[0];
    expect(await status()).toEqual({
      source_rows: '3',
      embedded_rows: '2',
      stale_rows: '0',
      coverage: '1.0000',
    });
    await setBody(1, `${paragraphs(...names)}\n\n${paragraph('last')}`);
    expect(await status()).toMatchObject({ embedded_rows: '2', stale_rows: '1' });
    expect(await embedded()).toEqual([paragraph('last')]);
    await setBody(1, paragraph('first'));
    await embedded();
    expect(await chunks(1)).toHaveLength(1);
    expect(await status()).toMatchObject({ embedded_rows: '2', stale_rows: '0' });
    await database.query(`select embedder.recount('doc')`);
    expect(await status()).toMatchObject({ source_rows: '3', embedded_rows: '2' });
  });

  it('that share texts, and a text that repeats itself, each have all their chunks', async () => {
    await make({ 1: paragraphs('same', 'same', 'a'), 2: paragraphs('same', 'b'), 3: paragraphs('same') });
    await create();
    await embedded();
    expect(await texts(1)).toEqual(['same', 'same', 'a'].map(paragraph));
    expect(await texts(2)).toEqual(['same', 'b'].map(paragraph));
    await allRight();
    await setBody(3, paragraphs('a', 'same', 'same'));
    await setBody(1, paragraphs('a', 'same', 'same', 'same'));
    expect(await embedded()).toEqual([paragraph('a')]);
    await allRight();
    expect(await texts(1)).toHaveLength(4);
  });

  it('beside a pipeline that takes them whole, and one with other chunks', async () => {
    await make({ 1: paragraphs('a', 'b'), 2: paragraphs('c') });
    await create();
    await database.query(`select embedder.create_pipeline('doc', 'body', name => 'whole', index => 'none');
      select embedder.create_pipeline('doc', 'body', name => 'large', index => 'none', chunking => '{"strategy": "recursive", "size": 100}')`);
    await embedded();
    const counts = async () =>
      (
        await database.query(
          `select (select count(*)::int from doc_embedding) as small, (select count(*)::int from whole_embedding) as whole, (select count(*)::int from large_embedding) as large`,
        )
      ).rows[0];
    expect(await counts()).toEqual({ small: 3, whole: 2, large: 2 });
    await setBody(1, paragraphs('a', 'b', 'new'));
    expect(await embedded()).toEqual(
      [paragraph('new'), paragraphs('a', 'b', 'new'), paragraphs('a', 'b', 'new')].sort(),
    );
    expect(await counts()).toEqual({ small: 4, whole: 2, large: 2 });
    await allRight();
  });

  it('whose chunks somebody has deleted get them back by enqueue_embed', async () => {
    await make({ 1: paragraphs('a', 'b', 'c'), 2: paragraphs('d') });
    await create();
    await embedded();
    await database.query('delete from doc_embedding where (id, chunk) in ((1, 0), (1, 2))');
    await database.query(`select embedder.enqueue_embed('doc', 1)`);
    expect(await embedded()).toEqual(['a', 'c'].map(paragraph));
    await allRight();
    expect(await texts(1)).toHaveLength(3);
    await database.query('delete from doc_embedding where id = 2');
    await database.query(`select embedder.backfill('doc')`);
    expect(await embedded()).toEqual([paragraph('d')]);
  });

  it('whose vectors somebody has taken away get them back', async () => {
    await make({ 1: paragraphs('a', 'b') });
    await create();
    await embedded();
    await database.query(`alter table doc_embedding alter column embedding drop not null;
      update doc_embedding set embedding = null where chunk = 1`);
    await database.query(`select embedder.enqueue_embed('doc', 1)`);
    expect(await embedded()).toEqual([paragraph('b')]);
    await allRight();
  });
});
