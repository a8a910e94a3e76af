import { once } from 'node:events';
import { rmSync } from 'node:fs';
import { join } from 'node:path';
import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, it } from 'vitest';
import { openDatabase } from '../../src/database/database.ts';
import { migrate } from '../../src/database/migrate/migrate.ts';
import type { Worker } from '../../src/worker/worker.ts';
import { unpackMatrix } from '../support/matrix.ts';
import {
  createMigratedDatabase,
  drain,
  FakeEmbedder,
  knownModels,
  type MigratedDatabase,
  workerOn,
} from '../support/pgembedder.ts';
import { createDatabase, createRole } from '../support/postgres.ts';

const { directory } = unpackMatrix();
const MODEL = 'matrix/splade';
const SPARSE = `model => '${MODEL}', options => '{"vector_type": "sparsevec"}'`;

let database: MigratedDatabase;
const workers: Worker[] = [];

beforeAll(async () => {
  database = await createMigratedDatabase();
  await database.query(`create extension dblink;
    insert into embedder.model (name, task, dimensions, max_tokens, sparse) values
      ('${MODEL}', 'feature-extraction', 600, 64, true), ('own/large', 'feature-extraction', 250002, 64, true),
      ('own/dense', 'feature-extraction', 384, 64, false), ('own/unknown', 'feature-extraction', 600, 64, null)`);
});
afterAll(async () => {
  await database.drop();
  rmSync(join(directory, '..'), { recursive: true });
});
beforeEach(() => database.query('create table doc (id int primary key, body text)'));
afterEach(async () => {
  for (const worker of workers.splice(0)) await worker.stop();
  await database.query(`select embedder.drop_pipeline(name, true) from embedder.pipeline where live; drop table doc cascade;
    truncate embedder.query_vector; delete from embedder.worker_process`);
});

const create = (rest: string) => database.query(`select embedder.create_pipeline('doc', 'body', ${rest})`);
const work = () => drain(database, { embedder: new FakeEmbedder([directory]) });
async function start(): Promise<Worker> {
  const worker = workerOn(database, { embedder: new FakeEmbedder([directory]) });
  workers.push(worker);
  await worker.start();
  return worker;
}
const keys = async (call: string) =>
  (await database.query<{ row_key: string }>(`select row_key from ${call}`)).rows.map(
    ({ row_key }) => row_key,
  );

describe('a declaration', () => {
  it.each([
    [
      `model => '${MODEL}'`,
      `model "${MODEL}" gives sparse vectors, and vector_type is "vector"`,
      `Say: options => '{"vector_type": "sparsevec"}'.`,
    ],
    [
      `model => '${MODEL}', options => '{"vector_type": "halfvec"}'`,
      `model "${MODEL}" gives sparse vectors, and vector_type is "halfvec"`,
      undefined,
    ],
    [
      `model => 'own/dense', options => '{"vector_type": "sparsevec"}'`,
      'model "own/dense" gives dense vectors, and vector_type is "sparsevec"',
      'Leave vector_type out, or choose a SPLADE model.',
    ],
    [
      `model => '${MODEL}', task => 'zero-shot-classification', options => '{"labels": ["a"]}'`,
      `model "${MODEL}" gives sparse vectors, and zero-shot-classification takes dense ones`,
      undefined,
    ],
    [
      `model => '${MODEL}', options => '{"vector_type": "sparsevec", "dimensions": 300}'`,
      `model "${MODEL}" gives sparse vectors of 600 dimensions, not of 300`,
      /Leave dimensions out/,
    ],
    [
      `model => 'x/y', options => '{"vector_type": "sparsevec"}'`,
      'nobody knows the model "x/y" yet',
      /Known: /,
    ],
    [
      `${SPARSE}, index => 'ivfflat'`,
      'pgvector has no index ivfflat for sparse vectors',
      `Give index => 'hnsw', or 'none'.`,
    ],
    [
      `model => '${MODEL}', options => '{"vector_type": "sparsevec", "top_k": 1001}'`,
      'pgvector indexes sparse vectors of up to 1,000 terms, and top_k is 1001',
      `Give a top_k of up to 1,000, or index => 'none'.`,
    ],
    [
      `model => '${MODEL}', options => '{"vector_type": "sparsevec", "top_k": 16001}', index => 'none'`,
      'option "top_k" is 16001, and must be a whole number from 1 to 16000',
      undefined,
    ],
    [
      `${SPARSE}, index_options => '{"operator_class": "vector_ip_ops"}'`,
      'hnsw has no operator class "vector_ip_ops" for sparsevec',
      /sparsevec_ip_ops/,
    ],
    [
      `model => '${MODEL}', options => '{"vector_type": "sparsevec", "normalize": true}'`,
      'option "normalize" is not for sparse vectors',
      /Leave it out/,
    ],
    [`options => '{"top_k": 5}'`, 'option "top_k" is for sparse vectors', /"vector_type": "sparsevec"/],
  ])('is refused: %s', async (rest, message, hint) => {
    const error = await create(rest).then(
      () => ({ message: 'nothing', hint: undefined }),
      (thrown: { message: string; hint?: string }) => thrown,
    );
    expect(error.message).toBe(message);
    if (hint !== undefined)
      expect(error.hint).toEqual(typeof hint === 'string' ? hint : expect.stringMatching(hint));
  });

  it('takes a vocabulary of any length, and as many terms as an index does', async () => {
    await create(`model => 'own/large', options => '{"vector_type": "sparsevec"}'`);
    const { rows } = await database.query<Record<string, unknown>>(
      `select p.options, p.dimensions, format_type(a.atttypid, a.atttypmod) as type
       from embedder.pipeline p join pg_attribute a on a.attrelid = p.target_table and a.attname = 'embedding'`,
    );
    expect(rows[0]).toEqual({
      options: { vector_type: 'sparsevec', top_k: 1_000 },
      dimensions: 250_002,
      type: 'sparsevec(250002)',
    });
  });

  it('takes a model of which nobody has said what its vectors are, or that nobody knows', async () => {
    await create(`name => 'a', model => 'own/unknown', options => '{"vector_type": "sparsevec"}'`);
    await create(`name => 'b', model => 'own/unknown'`);
    await create(
      `name => 'c', model => 'x/y', index => 'none', options => '{"vector_type": "sparsevec", "dimensions": 30522, "top_k": 16000}'`,
    );
    expect((await database.query('select from embedder.pipeline')).rowCount).toBe(3);
  });
});

describe('texts for which no term stands', () => {
  it.each(['sparsevec_ip_ops', 'sparsevec_cosine_ops'])(
    'have an empty vector, that no search finds: %s',
    async (operators) => {
      await database.query(
        `insert into doc values (1, '1 2 2'), (2, 'nothing'), (3, '2 3'), (4, '9'), (5, null)`,
      );
      await create(`${SPARSE}, index_options => '{"operator_class": "${operators}"}'`);
      const worker = await start();
      await once(worker.events, 'indexed');
      const { rows } = await database.query(`select id, embedding::text as v from doc_embedding order by id`);
      expect(rows).toEqual([
        { id: 1, v: '{2:1,3:2}/600' },
        { id: 2, v: '{}/600' },
        { id: 3, v: '{3:1,4:1}/600' },
        { id: 4, v: '{10:1}/600' },
      ]);
      expect(
        (await database.query('select coverage, embedded_rows, index_state from embedder.status')).rows,
      ).toEqual([{ coverage: '1.0000', embedded_rows: '4', index_state: 'built' }]);
      // Only what has a term in common, by the index as without.
      for (const scan of ['on', 'off']) {
        const client = await database.pool.connect();
        try {
          await client.query(`set enable_seqscan = ${scan}`);
          const found = async (query: string) =>
            (
              await client.query<{ row_key: string }>(`select row_key from embedder.search('doc', $1, 10)`, [
                query,
              ])
            ).rows.map((row) => row.row_key);
          expect(await found('2')).toEqual(['1', '3']);
          expect(await found('9')).toEqual(['4']);
          expect(await found('nothing')).toEqual([]);
          expect(await found('77')).toEqual([]);
        } finally {
          client.release(true);
        }
      }
      expect(await keys(`embedder.hybrid_search('doc', 'nothing', 10)`)).toEqual(['2']);
    },
  );
});

it('a vector that is given is searched for, a dense one too', async () => {
  await database.query(`insert into doc values (1, '1 2 2'), (2, '3'), (3, '2 3')`);
  await create(`${SPARSE}, index => 'none'`);
  await work();
  expect(await keys(`embedder.search('doc', '{3:1}/600'::sparsevec, 10)`)).toEqual(['1', '3']);
  expect(
    await keys(`embedder.search('doc', (array[0, 0, 1] || array_fill(0, array[597]))::vector, 10)`),
  ).toEqual(['1', '3']);
  expect(await keys(`embedder.hybrid_search('doc', '3', '{3:1}/600'::sparsevec, 10)`)).toEqual([
    '3',
    '1',
    '2',
  ]);
  await expect(keys(`embedder.search('doc', '{3:1}/30'::sparsevec)`)).rejects.toThrow(
    'expected 600 dimensions, not 30',
  );
  await create(`name => 'dense', index => 'none'`);
  await work();
  await expect(keys(`embedder.search('dense', '{3:1}/30'::sparsevec)`)).rejects.toThrow(
    'expected 384 dimensions',
  );
});

it('a row that the model cannot read costs the others nothing', async () => {
  await database.query(`insert into doc select n, n::text from generate_series(1, 20) n`);
  await create(`${SPARSE}, index => 'none', max_attempts => 1`);
  const embedder = new FakeEmbedder([directory]);
  const { EngineError } = await import('../../src/inference/backend/engine-error.ts');
  embedder.fault = (text) => (text === '7' ? new EngineError('not-finite', 'no numbers') : undefined);
  await drain(database, { embedder });
  expect((await database.query('select embedded_rows, failed from embedder.status')).rows).toEqual([
    { embedded_rows: '19', failed: '1' },
  ]);
});

it('an owner without any other right declares, fills and searches', async () => {
  const owner = await createRole();
  try {
    await database.query(`grant create on schema public to ${owner.name}; alter table doc owner to ${owner.name};
      insert into doc values (1, '1 2'), (2, '3')`);
    const client = await database.pool.connect();
    try {
      await client.query(`set role ${owner.name}`);
      await client.query(`select embedder.create_pipeline('doc', 'body', ${SPARSE})`);
      await once((await start()).events, 'indexed');
      const { rows } = await client.query(
        `select row_key, similarity from embedder.search('doc', '{4:2}/600'::sparsevec)`,
      );
      expect(rows).toEqual([{ row_key: '2', similarity: 2 }]);
      const asked = await client.query(`select embedder.embed_sparse_for('doc', '3 3')::text as v`);
      expect(asked.rows).toEqual([{ v: '{4:2}/600' }]);
    } finally {
      client.release(true);
    }
  } finally {
    await database.query(
      `select embedder.drop_pipeline('doc', true); alter table doc owner to current_user; drop owned by ${owner.name}`,
    );
    await owner.drop();
  }
});

describe('pgvector before 0.7', () => {
  it('has no sparse vectors: this is said, until migrate has run with a newer one', async () => {
    const old = await createDatabase({ vector: true });
    // It looks like that to whoever asks for the type.
    await old.query('alter type sparsevec rename to sparsevec_of_later');
    const kysely = openDatabase(old.url, 2);
    try {
      await migrate(kysely, knownModels());
      await old.query(`create table doc (id int primary key, body text); insert into doc values (1, 'a');
        insert into embedder.model (name, task, dimensions, sparse) values ('${MODEL}', 'feature-extraction', 600, true)`);
      const declare = () => old.query(`select embedder.create_pipeline('doc', 'body', ${SPARSE})`);
      await expect(declare()).rejects.toMatchObject({
        message: 'this pgvector has no type sparsevec',
        hint: 'It came with pgvector 0.7: install a newer one, then: alter extension vector update;',
      });
      // All else works.
      await old.query(`select embedder.create_pipeline('doc', 'body', name => 'dense', index => 'none')`);
      await drain(old);
      expect(
        (await old.query(`select row_key from embedder.search('dense', array_fill(1, array[384])::vector)`))
          .rowCount,
      ).toBe(1);

      await old.query('alter type sparsevec_of_later rename to sparsevec');
      await expect(declare()).rejects.toMatchObject({ hint: 'Run: pgembedder migrate' });
      expect((await migrate(kysely, knownModels())).mended).toEqual([]);
      await declare();
      expect((await old.query(`select embedder.search('doc', '{1:1}/600'::sparsevec)`)).rowCount).toBe(0);
      expect((await migrate(kysely, knownModels())).functions).toEqual([]);
    } finally {
      await kysely.destroy();
      await old.drop();
    }
  });
});
