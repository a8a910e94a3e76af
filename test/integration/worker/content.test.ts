import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import {
  cosine,
  createMigratedDatabase,
  jobCount,
  type MigratedDatabase,
  openReference,
  readVectors,
  workerOn,
  wrongKeys,
} from '../../support/pgembedder.ts';

/** Texts that have broken somebody's quoting, escaping, encoding or cutting. */
const texts = new Map<string, string>([
  ['plain', 'a person who studies insects'],
  ['quotes', `it's a "quoted" 'text' with \`ticks\``],
  ['dollars', '$$ end; $body$ drop table doc; $1 $2 $$'],
  ['escapes', String.raw`nul-like \0 \x00 \u0000 %00 and \n \\ \' and E'\t'`],
  ['control', 'bell \u0007 escape \u001b unit \u001f delete \u007f'],
  ['braces', '{title} {{x}} {0} %s %I %% ?'],
  ['cjk', '昆虫を研究する人 研究昆蟲的人 곤충을 연구하는 사람'],
  ['emoji', 'ants 🐜 and a family 👨‍👩‍👧‍👦 of 🐝🏽'],
  ['rtl', 'شخص يدرس الحشرات אדם שחוקר חרקים'],
  ['combining', 'Z͑ͫ̓ͪ̂ͫ̽͏̴̙̤̞͉͚̯̞̠͍A̴̵̜̰͔ͫ͗͢ café cafe\u0301'],
  ['newlines', 'first\r\nsecond\n\n\tthird\u2028fourth'],
  ['one letter', 'x'],
  ['punctuation', '?!.,;:-'],
  ['case', 'ENTOMOLOGIST ΣΊΣΥΦΟΣ İstanbul ß'],
  ['nbsp', 'a\u00a0person\u200bwho\ufeffstudies'],
  ['long', 'insects and the people who study them '.repeat(400)],
  ['one long word', 'antidisestablishmentarianism'.repeat(300)],
  ['very long', `${'beetle '.repeat(9_000)} never reached`],
]);
const empty = new Map<string, string | null>([
  ['null', null],
  ['empty', ''],
  ['blank', '  \t\r\n '],
]);

/** A text alone and in a batch of an int8 model; unrelated texts are below 0.9. */
const SAME = 0.985;

let database: MigratedDatabase;
const reference = openReference();
/** The vectors of `texts`, by their names. */
let vectors: Map<string, Float32Array>;

beforeAll(async () => {
  database = await createMigratedDatabase();
  const all = await reference.embed([...texts.values()]);
  vectors = new Map([...texts.keys()].map((name, i) => [name, all[i]!]));
  await database.query(`create table doc (name text primary key, title text, body text)`);
  await database.query(`insert into doc select * from unnest($1::text[], $2::text[], $2::text[])`, [
    [...texts.keys(), ...empty.keys()],
    [...texts.values(), ...empty.values()],
  ]);
  await database.query(`select embedder.create_pipeline('doc', 'body', name => 'side'),
    embedder.create_pipeline('doc', 'body', name => 'col', target_column => 'embedding'),
    embedder.create_pipeline('doc', 'On {name}:\n{title}', name => 'template'),
    embedder.create_pipeline('doc', 'title', name => 'prompted', options => '{"prompt": "about "}')`);
});
afterAll(async () => {
  await reference.close();
  await database.drop();
});

describe('with the bundled model', () => {
  it('each row gets the vector of its text, wherever it is written', async () => {
    const result = await workerOn(database).drain();
    expect(result).toMatchObject({
      embedded: 3 * texts.size + texts.size + empty.size,
      // Those without text are looked at once by each of the three, and noted (docs/decisions.md, Staleness 7).
      emptied: 3 * empty.size,
      retried: 0,
      dead: 0,
      failing: [],
    });
    expect(result.seconds).toBeGreaterThan(0);
    expect(await jobCount(database)).toBe(0);

    expect(
      wrongKeys(await readVectors(database, 'select name, embedding from side_embedding'), vectors, SAME),
    ).toEqual([]);
    const column = new Map<string, Float32Array | null>([
      ...vectors,
      ...[...empty.keys()].map((name) => [name, null] as const),
    ]);
    expect(wrongKeys(await readVectors(database, 'select name, embedding from doc'), column, SAME)).toEqual(
      [],
    );
    // The texts are far enough apart for 0.99 to mean something.
    expect(cosine(vectors.get('plain')!, vectors.get('quotes')!)).toBeLessThan(0.9);

    const named = [...texts, ...empty].map(([name, text]) => [name, `On ${name}:\n${text ?? ''}`] as const);
    const templated = await reference.embed(named.map(([, text]) => text));
    expect(
      wrongKeys(
        await readVectors(database, 'select name, embedding from template_embedding'),
        new Map(named.map(([name], i) => [name, templated[i]!])),
        SAME,
      ),
    ).toEqual([]);

    const prompted = await reference.embed([...texts.values()].map((text) => `about ${text}`));
    expect(
      wrongKeys(
        await readVectors(database, 'select name, embedding from prompted_embedding'),
        new Map([...texts.keys()].map((name, i) => [name, prompted[i]!])),
        SAME,
      ),
    ).toEqual([]);
  });

  it('the sidecar says which model, when, and which piece', async () => {
    const { rows } = await database.query(
      `select distinct model, chunk, chunk_text, embedded_at > now() - interval '10 minutes' as recent from side_embedding`,
    );
    expect(rows).toEqual([{ model: 'all-MiniLM-L6-v2', chunk: 0, chunk_text: null, recent: true }]);
  });

  it('an index is built when the first filling has ended', async () => {
    const { rows } = await database.query<{ table: string; valid: boolean }>(
      `select indrelid::regclass::text as table, indisvalid as valid from pg_index x join pg_class c on c.oid = indexrelid
       join pg_am a on a.oid = c.relam where amname = 'hnsw' order by 1`,
    );
    expect(rows.map(({ table }) => table)).toEqual([
      'doc',
      'prompted_embedding',
      'side_embedding',
      'template_embedding',
    ]);
    expect(rows.every(({ valid }) => valid)).toBe(true);
    const status = await database.query(
      'select distinct state, coverage > 0.8 as covered, pending from embedder.status',
    );
    expect(status.rows).toEqual([{ state: 'live', covered: true, pending: '0' }]);
  });

  it('a text that is taken away takes its vector along, and one that comes brings one', async () => {
    await database.query(`update doc set body = null where name = 'plain'; update doc set body = ' ' where name = 'cjk';
      update doc set body = 'a person who studies insects' where name = 'null'`);
    expect(await workerOn(database).drain()).toMatchObject({ embedded: 2, emptied: 4 });
    const wanted = new Map<string, Float32Array | null>(vectors);
    wanted.set('null', vectors.get('plain')!);
    wanted.delete('plain');
    wanted.delete('cjk');
    expect(
      wrongKeys(await readVectors(database, 'select name, embedding from side_embedding'), wanted, SAME),
    ).toEqual([]);
    for (const name of ['plain', 'cjk', 'empty', 'blank']) wanted.set(name, null);
    expect(wrongKeys(await readVectors(database, 'select name, embedding from doc'), wanted, SAME)).toEqual(
      [],
    );
  });
});
