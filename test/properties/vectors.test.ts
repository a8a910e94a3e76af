import fc from 'fast-check';
import { afterAll, beforeAll, expect, it } from 'vitest';
import { encodeVectors, vectorText } from '../../src/database/vector-codec.ts';
import { createDatabase, type TestDatabase } from '../support/postgres.ts';
import { holds } from './property.ts';

let database: TestDatabase;
let oid: number;

beforeAll(async () => {
  database = await createDatabase({ vector: true });
  const { rows } = await database.query<{ oid: number }>(`select 'vector'::regtype::oid::int as oid`);
  oid = rows[0]!.oid;
});
afterAll(() => database.drop());

const vector = fc.float32Array({ minLength: 1, maxLength: 40, noNaN: true, noDefaultInfinity: true });

it('vectors come back as they were written, each at its place, to the bit', async () => {
  await holds([fc.array(fc.option(vector), { maxLength: 20 })], async (vectors) => {
    const { rows } = await database.query<{ text: string | null }>(
      'select v::text as text from unnest($1::vector[]) with ordinality t(v, place) order by place',
      [encodeVectors(vectors, oid)],
    );
    expect(rows.map(({ text }) => text && Float32Array.from(JSON.parse(text) as number[]))).toEqual(
      vectors.map(positive),
    );
  });
});

it('so does the one of a query, as text', async () => {
  await holds([vector], async (given) => {
    const { rows } = await database.query<{ text: string }>('select $1::vector::text as text', [
      vectorText(given),
    ]);
    expect(Float32Array.from(JSON.parse(rows[0]!.text) as number[])).toEqual(positive(given));
  });
});

/** JSON has no -0. */
function positive<Vector extends Float32Array | null>(given: Vector): Vector {
  return given && (given.map((value) => value + 0) as Vector);
}
