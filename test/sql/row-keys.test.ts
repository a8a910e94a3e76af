import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import {
  createMigratedDatabase,
  drain,
  fakeVector,
  jobCount,
  type MigratedDatabase,
  readVectors,
  takeQueued,
  wrongKeys,
} from '../support/pgembedder.ts';

/** A type of key: its SQL, rows as SQL literals, and the row keys that they have. */
interface KeyKind {
  name: string;
  columns: string;
  key?: string;
  rows: string[];
  keys: string[];
  /** Calls of enqueue_embed for the first row that have to mean it. */
  calls: string[];
}

const nasty = String.raw`it's "q" $$ $f$ \ \n %s %I {x} \x00 漢字 🙂 مرحبا`;
const literal = (text: string) => `E'${text.replaceAll('\\', '\\\\').replaceAll("'", "''")}'`;

const kinds: KeyKind[] = [
  {
    name: 'k_int',
    columns: 'id int',
    rows: ['-1', '2147483647'],
    keys: ['-1', '2147483647'],
    calls: ['-1', `'-1'`, `' -1 '`, '-1::bigint'],
  },
  {
    name: 'k_bigint',
    columns: 'id bigint',
    rows: ['9223372036854775807', '0'],
    keys: ['0', '9223372036854775807'],
    calls: ['9223372036854775807', `'9223372036854775807'`],
  },
  {
    name: 'k_text',
    columns: 'id text',
    rows: [literal(nasty), `''`],
    keys: ['', nasty],
    calls: [literal(nasty), `${literal(nasty)}::varchar`],
  },
  {
    name: 'k_char',
    columns: 'id char(4)',
    rows: [`'ab'`, `'abcd'`],
    keys: ['ab', 'abcd'],
    calls: [`'ab'`, `'ab  '`, `'ab'::char(4)`],
  },
  {
    name: 'k_uuid',
    columns: 'id uuid',
    rows: [`'A0EEBC99-9C0B-4EF8-BB6D-6BB9BD380A11'`],
    keys: ['a0eebc99-9c0b-4ef8-bb6d-6bb9bd380a11'],
    calls: [`'{a0eebc99-9c0b4ef8-bb6d6bb9-bd380a11}'`, `'a0eebc99-9c0b-4ef8-bb6d-6bb9bd380a11'::uuid`],
  },
  {
    name: 'k_timestamptz',
    columns: 'id timestamptz',
    rows: [`'2024-03-05 06:07:08.000009+00'`, `'infinity'`],
    keys: ['2024-03-05 06:07:08.000009+00', 'infinity'],
    calls: [`'2024-03-05 06:07:08.000009+00'::timestamptz`, `'2024-03-05 07:07:08.000009+01'`],
  },
  {
    name: 'k_timestamp',
    columns: 'id timestamp',
    rows: [`'2024-03-05 06:07:08'::timestamp`],
    keys: ['2024-03-05 06:07:08'],
    calls: [`timestamp '2024-03-05 06:07:08'`],
  },
  {
    name: 'k_date',
    columns: 'id date',
    rows: [`date '2024-03-05'`],
    keys: ['2024-03-05'],
    calls: [`date '2024-03-05'`, `'2024-03-05'`],
  },
  {
    name: 'k_interval',
    columns: 'id interval',
    rows: [`interval '1 day 2 hours'`],
    keys: ['1 day 02:00:00'],
    calls: [`interval '1 day 2 hours'`, `interval '26 hours'`],
  },
  {
    name: 'k_numeric',
    columns: 'id numeric',
    rows: ['1.50', `'NaN'`],
    keys: ['1.5', 'NaN'],
    calls: ['1.50', '1.5', `'1.500'`],
  },
  {
    name: 'k_float',
    columns: 'id float8',
    rows: ['0.1::float8 + 0.2::float8', '1e300'],
    keys: ['0.30000000000000004', '1e+300'],
    calls: ['0.30000000000000004::float8'],
  },
  {
    name: 'k_bytea',
    columns: 'id bytea',
    rows: [String.raw`'\x00ff5c27'::bytea`],
    keys: [String.raw`\x00ff5c27`],
    calls: [String.raw`'\x00ff5c27'::bytea`, String.raw`'\x00FF5C27'`],
  },
  {
    name: 'k_bool',
    columns: 'id boolean',
    rows: ['true', 'false'],
    keys: ['false', 'true'],
    calls: ['true', `'t'`],
  },
  {
    name: 'k_enum',
    columns: 'id mood',
    rows: [`'it''s ok'`, `'BAD'`],
    keys: ['BAD', "it's ok"],
    calls: [`'it''s ok'`, `'it''s ok'::mood`],
  },
  {
    name: 'k_citext',
    columns: 'id citext',
    rows: [`'MiXed'`],
    keys: ['MiXed'],
    calls: [`'MiXed'`, `'mixed'`, `'MIXED'::citext`],
  },
  { name: 'k_domain', columns: 'id positive', rows: ['5'], keys: ['5'], calls: ['5', `'5'`, '5::positive'] },
  {
    name: 'k_array',
    columns: 'id text[]',
    rows: [`array['a,b', 'c"']`],
    keys: [String.raw`{"a,b","c\""}`],
    calls: [String.raw`'{"a,b","c\""}'`],
  },
  {
    name: 'Pair of "keys" %s',
    columns: 'b int, "A ""key"" %I\'s" text',
    key: '"A ""key"" %I\'s", b',
    rows: [`1, ${literal(nasty)}`, `2, 'x'`],
    keys: [],
    calls: [
      `jsonb_build_object('A "key" %I''s', ${literal(nasty)}, 'b', 1)`,
      `jsonb_build_object('b', 1, 'A "key" %I''s', ${literal(nasty)})::text`,
      `json_build_object('b', '1', 'A "key" %I''s', ${literal(nasty)})`,
    ],
  },
  {
    name: 'k_triple',
    columns: 'at timestamptz, raw bytea, list int[]',
    key: 'at, raw, list',
    rows: [String.raw`'2024-03-05 06:07:08+00', '\xff'::bytea, array[1, 2]`],
    keys: [],
    calls: [String.raw`'{"at": "2024-03-05T07:07:08+01:00", "raw": "\\xff", "list": "{1,2}"}'`],
  },
];

let database: MigratedDatabase;
const quoted = (name: string) => `"${name.replaceAll('"', '""')}"`;
const string = (text: string) => `'${text.replaceAll("'", "''")}'`;

beforeAll(async () => {
  database = await createMigratedDatabase();
  await database.query(
    `create extension citext; create type mood as enum ('it''s ok', 'BAD'); create domain positive as int check (value > 0)`,
  );
  for (const { name, columns, key = 'id' } of kinds) {
    await database.query(`create table ${quoted(name)} (${columns}, "The Text" text, primary key (${key}));
      select embedder.create_pipeline(${string(quoted(name))}, 'The Text', name => ${string(name)}, index => 'none');
      select embedder.create_pipeline(${string(quoted(name))}, 'The Text', name => ${string(`${name}:col`)}, target_column => 'Em "b"', index => 'none')`);
  }
});
afterAll(() => database.drop());

describe.each(kinds)('key $columns', ({ name, rows, keys, calls }) => {
  it('is the same whatever the session is set to, in each statement', async () => {
    const client = await database.pool.connect();
    try {
      await client.query(`set timezone = 'Asia/Kolkata'; set datestyle = 'German, DMY'; set intervalstyle = 'sql_standard';
        set bytea_output = 'escape'; set extra_float_digits = -10; set standard_conforming_strings = on`);
      for (const row of rows) await client.query(`insert into ${quoted(name)} values (${row}, 'text')`);
    } finally {
      client.release(true);
    }
    const inserted = await takeQueued(database, name);
    if (keys.length > 0) expect(inserted).toEqual(keys);
    expect(inserted).toHaveLength(rows.length);
    await database.query(`update ${quoted(name)} set "The Text" = 'changed'`);
    expect(await takeQueued(database, name)).toEqual(inserted);
    await database.query(`update ${quoted(name)} set "Em ""b""" = null`);
    expect(await takeQueued(database, name)).toEqual([]);
    // Given by hand, each form means the same row.
    for (const call of calls) {
      const { rows: answer } = await database.query<{ queued: boolean; keys: string[] }>(
        `with one as (select embedder.enqueue_embed(${string(name)}, ${call}) as queued) select queued from one`,
      );
      expect(answer, call).toEqual([{ queued: true }]);
      const [key, ...more] = await takeQueued(database, name);
      expect(inserted, call).toContain(key);
      expect(more, call).toEqual([]);
    }
    await database.query('delete from embedder.job');
  });

  it('gets vectors, loses them with the text, and goes with the row', async () => {
    const client = await database.pool.connect();
    try {
      await client.query(
        `set timezone = 'America/St_Johns'; set datestyle = 'SQL, MDY'; set bytea_output = 'escape'`,
      );
      await client.query(`update ${quoted(name)} t set "The Text" = 'text of ' || md5(row_to_json(t)::text)`);
    } finally {
      client.release(true);
    }
    await drain(database);
    expect(await jobCount(database)).toBe(0);
    const { rows: texts } = await database.query<{ ctid: string; text: string }>(
      `select "The Text" as text from ${quoted(name)}`,
    );
    const wanted = new Map(texts.map(({ text }) => [text, fakeVector(text)]));
    expect(wanted.size).toBe(rows.length);
    const sidecar = quoted(`${name}_embedding`);
    const keyColumns = await database.query<{ list: string }>(
      `select string_agg(quote_ident(c), ', ') as list from embedder.pipeline, unnest(key_columns) c where name = $1`,
      [name],
    );
    const joined = `select s."The Text", e.embedding from ${quoted(name)} s join ${sidecar} e using (${keyColumns.rows[0]!.list})`;
    expect(wrongKeys(await readVectors(database, joined), wanted)).toEqual([]);
    expect(
      wrongKeys(await readVectors(database, `select "The Text", "Em ""b""" from ${quoted(name)}`), wanted),
    ).toEqual([]);

    await database.query(`update ${quoted(name)} set "The Text" = ' '`);
    await drain(database);
    expect(await jobCount(database)).toBe(0);
    expect((await database.query(`select from ${sidecar}`)).rowCount).toBe(0);
    const left = await database.query(`select from ${quoted(name)} where "Em ""b""" is not null`);
    expect(left.rowCount).toBe(0);

    await database.query(`update ${quoted(name)} set "The Text" = 'again'`);
    await drain(database);
    expect((await database.query(`select from ${sidecar}`)).rowCount).toBe(rows.length);
    await database.query(`delete from ${quoted(name)}`);
    expect((await database.query(`select from ${sidecar}`)).rowCount).toBe(0);
    expect(await jobCount(database)).toBe(0);
  });
});

describe('two ways to write one key', () => {
  it('are one job', async () => {
    await database.query(`insert into k_numeric values (1.50, 'text')`);
    await database.query(`select embedder.enqueue_embed('k_numeric', 1.5)`);
    await database.query(`insert into k_citext values ('Ab', 'text')`);
    await database.query(`select embedder.enqueue_embed('k_citext', 'aB')`);
    expect(await takeQueued(database, 'k_numeric')).toEqual(['1.5']);
    expect(await takeQueued(database, 'k_citext')).toEqual(['Ab']);
  });
});
