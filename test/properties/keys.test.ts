import fc from 'fast-check';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import {
  createMigratedDatabase,
  drain,
  fakeVector,
  jobCount,
  type MigratedDatabase,
  readVectors,
  wrongKeys,
} from '../support/pgembedder.ts';
import { holds, storableText } from './property.ts';

let database: MigratedDatabase;

beforeAll(async () => {
  database = await createMigratedDatabase();
  await database.query(`create extension citext; create extension hstore; create type mood as enum ('it''s ok', 'BAD', 'ça va');
    create domain short_text as text check (length(value) < 1000);
    create collation no_case (provider = icu, locale = 'und-u-ks-level2', deterministic = false)`);
});
afterAll(() => database.drop());

const bigint = fc.bigInt({ min: -(2n ** 63n), max: 2n ** 63n - 1n }).map(String);
const int = fc.integer({ min: -(2 ** 31), max: 2 ** 31 - 1 }).map(String);
const bytes = fc.uint8Array({ maxLength: 40 }).map((given) => `\\x${Buffer.from(given).toString('hex')}`);
const decimal = fc
  .tuple(fc.bigInt({ min: -(10n ** 20n), max: 10n ** 20n }), fc.integer({ min: 0, max: 30 }))
  .map(([whole, places]) => `${whole}e-${places}`);
const float = fc.double().map((given) => String(given));
const moment = fc
  .date({ min: new Date('0001-01-02T00:00:00Z'), max: new Date('9999-12-31T00:00:00Z'), noInvalidDate: true })
  .map((date) => date.toISOString());
const duration = fc
  .tuple(
    fc.integer({ min: -5, max: 5 }),
    fc.integer({ min: -40, max: 40 }),
    fc.integer({ min: -1e6, max: 1e6 }),
  )
  .map(([months, days, seconds]) => `${months} mon ${days} day ${seconds} s`);
const address = fc.oneof(fc.ipV4(), fc.ipV6());
const inQuotes = (item: string) => `"${item.replaceAll(/["\\]/g, '\\$&')}"`;
const list = (of: fc.Arbitrary<string>) =>
  fc.array(of, { maxLength: 4 }).map((items) => `{${items.map(inQuotes).join(',')}}`);
// Longer ones do not fit into an index entry (test/sql/long-keys.test.ts).
const text = storableText.map((given) => given.slice(0, 60));

/** Types of keys, with texts that PostgreSQL reads as values of theirs. */
const types: [type: string, values: fc.Arbitrary<string>][] = [
  ['int', int],
  ['bigint', bigint],
  ['text', text],
  ['text collate "C"', text],
  ['text collate no_case', text],
  ['citext', text],
  ['short_text', text],
  ['char(5)', text.map((given) => [...given].slice(0, 5).join(''))],
  ['uuid', fc.uuid()],
  ['bytea', bytes],
  ['numeric', decimal],
  ['float8', float],
  ['float4', fc.float({ noNaN: false }).map(String)],
  ['timestamptz', moment],
  ['timestamp', moment.map((given) => given.replace('Z', ''))],
  ['date', moment.map((given) => given.slice(0, 10))],
  ['interval', duration],
  ['inet', address],
  ['boolean', fc.constantFrom('t', 'f')],
  ['mood', fc.constantFrom("it's ok", 'BAD', 'ça va')],
  ['int[]', list(int)],
  ['text[]', list(text)],
  ['jsonb', fc.jsonValue({ maxDepth: 2 }).map((given) => JSON.stringify(given).replaceAll('\\u0000', ''))],
  [
    'int4range',
    fc.tuple(fc.integer({ min: -9, max: 9 }), fc.nat(9)).map(([from, n]) => `[${from},${from + n}]`),
  ],
];

/** What a session may be set to: each of these changes how some type is written. */
const settings = fc.record({
  timezone: fc.constantFrom('UTC', 'Asia/Kolkata', 'America/St_Johns'),
  datestyle: fc.constantFrom('ISO, MDY', 'German, DMY', 'SQL, MDY', 'Postgres, DMY'),
  intervalstyle: fc.constantFrom('postgres', 'sql_standard', 'iso_8601', 'postgres_verbose'),
  bytea_output: fc.constantFrom('hex', 'escape'),
  extra_float_digits: fc.constantFrom('-10', '0', '3'),
});

describe.each(types)('any keys of type %s', (type, values) => {
  it.each(['column', 'sidecar, with another column'])(
    'have the vector of their text, then none: %s',
    async (kind) => {
      const pair = kind !== 'column';
      await database.query(`drop table if exists thing cascade;
        create table thing (id ${type}, "B ""%s" bigint default 7, body text, primary key (id${pair ? ', "B ""%s"' : ''}));
        select embedder.create_pipeline('thing', 'body', index => 'none'
          ${kind === 'column' ? ", target_column => 'v'" : ''})`);
      const found =
        kind === 'column'
          ? 'select body, v from thing'
          : `select s.body, e.embedding from thing s left join thing_embedding e using (id, "B ""%s")`;
      await holds(
        [fc.uniqueArray(values, { minLength: 1, maxLength: 6 }), settings],
        async (keys, session) => {
          const client = await database.pool.connect();
          try {
            for (const [setting, value] of Object.entries(session))
              await client.query('select set_config($1, $2, false)', [setting, value]);
            for (const [place, key] of keys.entries())
              await client.query(`insert into thing (id, body) values ($1, $2) on conflict do nothing`, [
                key,
                `text ${place} of ${key}`,
              ]);
            await drain(database);
            const { rows } = await client.query<{ body: string }>('select body from thing');
            const wanted = new Map(rows.map(({ body }) => [body, fakeVector(body)]));
            expect(wrongKeys(await readVectors(database, found), wanted)).toEqual([]);
            await client.query(`update thing set body = body || '!'`);
            await drain(database);
            const changed = new Map(rows.map(({ body }) => [`${body}!`, fakeVector(`${body}!`)]));
            expect(wrongKeys(await readVectors(database, found), changed)).toEqual([]);
            await client.query('delete from thing');
            expect(await jobCount(database)).toBe(0);
            if (kind !== 'column')
              expect((await client.query('select from thing_embedding')).rowCount).toBe(0);
          } finally {
            client.release(true);
          }
        },
        2,
      );
      await database.query(`select embedder.drop_pipeline('thing', drop_target => true)`);
    },
  );
});
