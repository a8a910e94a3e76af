import { afterAll, afterEach, beforeAll, describe, expect, it } from 'vitest';
import { createMigratedDatabase, drain, type MigratedDatabase, queued } from '../support/pgembedder.ts';
import { createRole, type TestRole } from '../support/postgres.ts';

let database: MigratedDatabase;
let stranger: TestRole;

beforeAll(async () => {
  database = await createMigratedDatabase();
  stranger = await createRole();
  await database.query(`
    create table article (id int primary key, title text, body text, n int, embedding_small vector(3), any_size vector,
      made vector(384) generated always as (null::vector(384)) stored);
    insert into article (id, title, body) values (1, 'one', 'first'), (2, 'two', null);
    create table keyless (body text);
    create table parted (id int primary key, body text) partition by hash (id);
    create table part partition of parted for values with (modulus 1, remainder 0);
    create table parent (id int primary key, body text);
    create table child (primary key (id)) inherits (parent);
    create table chunked (id int, chunk int, body text, primary key (id, chunk));
    create view seen as select * from chunked;
    create materialized view kept as select * from chunked;
    create table wrong_embedding (id int, note text);
    create table of_other (id int primary key, body text);
    alter table of_other owner to ${stranger.name};
    insert into embedder.model (name, task, dimensions) values ('sorter', 'text-classification', null), ('big', 'feature-extraction', 3072)`);
});
afterAll(async () => {
  await database.drop();
  await stranger.drop();
});

// Every test leaves the database as it found it.
async function inTransaction(work: (query: (text: string) => Promise<unknown[]>) => Promise<void>) {
  const client = await database.pool.connect();
  await client.query('begin');
  try {
    await work(async (text) => (await client.query<Record<string, unknown>>(text)).rows);
  } finally {
    await client.query('rollback');
    client.release();
  }
}

async function refusal(call: string, before = ''): Promise<{ code: string; message: string; hint: string }> {
  let refused: unknown;
  await inTransaction(async (query) => {
    if (before) await query(before);
    await query(`select embedder.create_pipeline(${call})`).catch((error: unknown) => {
      refused = error;
    });
  });
  expect(refused, 'was not refused').toBeDefined();
  return refused as { code: string; message: string; hint: string };
}

describe('create_pipeline refuses', () => {
  it.each<
    [what: string, call: string, code: string, message: string | RegExp, hint: string | RegExp | undefined]
  >([
    ['an unknown table', `'nope', 'body'`, '42P01', 'relation "nope" does not exist', undefined],
    ['no table', `null, 'body'`, '22023', 'the source table is missing', /create_pipeline\('articles'/],
    [
      'an unknown column',
      `'article', 'text'`,
      '42703',
      'column "text" of table public.article does not exist',
      /^input is a column or a template such as '\{title\}\\n\{body\}'\. Columns: id, title, body, n, /,
    ],
    [
      'no input',
      `'article', null`,
      '42703',
      'column "<NULL>" of table public.article does not exist',
      /Columns: id/,
    ],
    [
      'an unknown column in a template',
      `'article', '{title} {text}'`,
      '42703',
      `the template '{title} {text}' names column "text", which table public.article does not have`,
      /^Columns: id, title/,
    ],
    [
      'an empty name in a template',
      `'article', 'a {}'`,
      '42703',
      `the template 'a {}' names column "", which table public.article does not have`,
      /^Columns/,
    ],
    [
      'an open brace',
      `'article', '{title'`,
      '22023',
      `the template '{title' has a single "{"`,
      'Write {column} for a column, {{ and }} for braces.',
    ],
    [
      'a closing brace',
      `'article', '{title}}'`,
      '22023',
      `the template '{title}}' has a single "}"`,
      /braces/,
    ],
    [
      'a template without a column',
      `'article', 'a {{ b'`,
      '22023',
      `the template 'a {{ b' names no column`,
      /\{column\}/,
    ],
    [
      'a table without a primary key',
      `'keyless', 'body'`,
      '42809',
      'table public.keyless has no primary key',
      'Add one: alter table public.keyless add column id bigint generated always as identity primary key;',
    ],
    [
      'a view',
      `'seen', 'body'`,
      '42809',
      'public.seen is a mere view: nothing tells when its rows change',
      /^Make the pipeline on a table under it: /,
    ],
    [
      'a materialized view',
      `'kept', 'body'`,
      '42809',
      /^public.kept is a materialized view/,
      /table under it: /,
    ],
    [
      'a partition',
      `'part', 'body'`,
      '42809',
      'table public.part is a partition',
      'Name the partitioned table itself; its partitions come with it.',
    ],
    ['a catalog', `'pg_class', 'relname'`, '42809', 'table pg_class belongs to the system', /ordinary table/],
    [
      'its own tables',
      `'embedder.model', 'name'`,
      '42809',
      'table embedder.model belongs to the system',
      /ordinary/,
    ],
    [
      'chunking without a strategy',
      `'article', 'body', chunking => '{"size":100}'`,
      '22023',
      'chunking has no strategy "<NULL>"',
      'Use tokens, recursive or markdown.',
    ],
    [
      'unknown words in chunking',
      `'article', 'body', chunking => '{"strategy":"tokens","length":100}'`,
      '22023',
      'chunking has no "length"',
      'It has strategy, size, overlap, separators, template.',
    ],
    [
      'chunks longer than the model takes',
      `'article', 'body', chunking => '{"strategy":"tokens","size":600}'`,
      '22023',
      'chunks of 600 tokens are too long for model "all-MiniLM-L6-v2"',
      /beside its two special tokens/,
    ],
    [
      'an overlap of half a chunk',
      `'article', 'body', chunking => '{"strategy":"tokens","size":100,"overlap":50}'`,
      '22023',
      'chunking has size 100 and overlap 50',
      /less than half/,
    ],
    [
      'a chunk template without the chunk',
      `'article', 'body', chunking => '{"strategy":"tokens","template":"{title}"}'`,
      '22023',
      `the chunk template '{title}' must name {chunk} once`,
      /\{title\}: \{chunk\}/,
    ],
    [
      'a chunk template with an unknown column',
      `'article', 'body', chunking => '{"strategy":"tokens","template":"{nope}: {chunk}"}'`,
      '42703',
      /names column "nope"/,
      /^Columns/,
    ],
    [
      'chunks in a column',
      `'article', 'body', target_column => 'e', chunking => '{"strategy":"tokens"}'`,
      '22023',
      /^chunking needs a sidecar/,
      'Leave target_column out.',
    ],
    ...[
      ['an unknown column', 'nope > 1', /column "nope" does not exist/],
      ['a subquery', 'n = (select 1)', /subquery/],
      ['an aggregate', 'count(*) > 1', /aggregate/],
      ['what changes by itself', `now() > '2026-01-01'`, /IMMUTABLE/],
      ['no condition', 'n', /must be type boolean|type boolean/],
      ['a second statement', 'true); drop table article; --', /syntax error/],
    ].map(([what, filter, message]): [string, string, string, RegExp, RegExp] => [
      `a filter with ${what}`,
      `'article', 'body', filter => $f$${filter}$f$`,
      '22023',
      message as RegExp,
      /^It is a condition on one row/,
    ]),
    [
      'zero-shot without labels',
      `'article', 'body', model => 'm', task => 'zero-shot-classification'`,
      '22023',
      'zero-shot-classification needs the option "labels"',
      /sport/,
    ],
    [
      'an unknown index option',
      `'article', 'body', index_options => '{"lists": 10}'`,
      '22023',
      'index hnsw has no option "lists"',
      'Its options: m, ef_construction, operator_class.',
    ],
    [
      'an unknown operator class',
      `'article', 'body', index_options => '{"operator_class": "text_ops"}'`,
      '42704',
      'hnsw has no operator class "text_ops" for vector',
      /vector_cosine_ops/,
    ],
    [
      'an unknown task',
      `'article', 'body', task => 'poetry'`,
      '22023',
      'there is no task "poetry"',
      'Use feature-extraction, text-classification, zero-shot-classification or token-classification.',
    ],
    [
      'no task',
      `'article', 'body', task => null`,
      '22023',
      'there is no task "<NULL>"',
      'Use feature-extraction, text-classification, zero-shot-classification or token-classification.',
    ],
    [
      'options that are no object',
      `'article', 'body', options => '[1]'`,
      '22023',
      'options is array, and must be a jsonb object',
      /passage/,
    ],
    [
      'an unknown option',
      `'article', 'body', options => '{"labels": ["a"]}'`,
      '22023',
      'feature-extraction has no option "labels"',
      'Its options: pooling, normalize, prompt, dimensions, vector_type, top_k.',
    ],
    [
      'a wrong pooling',
      `'article', 'body', options => '{"pooling": "sum"}'`,
      '22023',
      'option "pooling" is "sum", and must be "mean", "cls", "last", "max", "mean_sqrt_len" or "weighted_mean"',
      undefined,
    ],
    [
      'a wrong normalize',
      `'article', 'body', options => '{"normalize": "true"}'`,
      '22023',
      'option "normalize" is "true", and must be true or false',
      undefined,
    ],
    [
      'a wrong prompt',
      `'article', 'body', options => '{"prompt": 7}'`,
      '22023',
      'option "prompt" is 7, and must be a string of up to 10000 characters, put before each text',
      undefined,
    ],
    ...[
      JSON.stringify(Array.from({ length: 1_001 }, (_, index) => `${index}`)),
      JSON.stringify(['x'.repeat(1_001)]),
      '[]',
      '["a", 7]',
    ].map((labels): [string, string, string, string, undefined] => [
      `labels ${labels.slice(0, 10)}`,
      `'article', 'body', task => 'zero-shot-classification', options => '{"labels": ${labels}}'`,
      '22023',
      `option "labels" is ${labels.replaceAll('","', '", "').slice(0, 200)}, and must be an array of 1 to 1000 different strings of up to 1000 characters, none of them blank`,
      undefined,
    ]),
    ...['0', '-1', '1.5', '"384"', '100000', 'null'].map(
      (value): [string, string, string, string, undefined] => [
        `dimensions ${value}`,
        `'article', 'body', model => 'x/y', options => '{"dimensions": ${value}}'`,
        '22023',
        `option "dimensions" is ${value}, and must be a whole number from 1 to 16000, for sparsevec to 16777216`,
        undefined,
      ],
    ),
    [
      'other dimensions than the model has',
      `'article', 'body', options => '{"dimensions": 768}'`,
      '22023',
      'model "all-MiniLM-L6-v2" gives vectors of 384 dimensions, not of 768',
      'Fewer are possible: the vectors are cut, as Matryoshka models allow.',
    ],
    [
      'an unknown model without dimensions',
      `'article', 'body', model => 'x/y'`,
      '42704',
      'nobody knows the model "x/y" yet',
      /^Known: .*all-MiniLM-L6-v2.*options => '\{"dimensions": 384\}'/,
    ],
    [
      'a model of another task',
      `'article', 'body', model => 'sorter', options => '{"dimensions": 3}'`,
      '22023',
      'model "sorter" is for text-classification, not for feature-extraction',
      undefined,
    ],
    [
      'an unknown index',
      `'article', 'body', index => 'gin'`,
      '22023',
      'there is no index "gin"',
      'Use hnsw, ivfflat or none.',
    ],
    ['no index by null', `'article', 'body', index => null`, '22023', 'there is no index "<NULL>"', /hnsw/],
    [
      'an index on very long vectors',
      `'article', 'body', model => 'big'`,
      '54000',
      'pgvector indexes vectors of up to 2,000 dimensions, these have 3072',
      `Give index => 'none', or options => '{"vector_type": "halfvec"}' (up to 4,000).`,
    ],
    [
      'no attempts',
      `'article', 'body', max_attempts => 0`,
      '22023',
      'max_attempts is 0, and must be from 1 to 1000',
      undefined,
    ],
    [
      'too many attempts',
      `'article', 'body', max_attempts => 1001`,
      '22023',
      'max_attempts is 1001, and must be from 1 to 1000',
      undefined,
    ],
    [
      'an empty name',
      `'article', 'body', name => ''`,
      '42602',
      /^the name of a pipeline has 1 to 63 bytes, and "n*" has 0$/,
      /not ASCII/,
    ],
    [
      'a long name',
      `'article', 'body', name => repeat('n', 64)`,
      '42602',
      /^the name of a pipeline has 1 to 63 bytes, and "n*" has 64$/,
      /not ASCII/,
    ],
    [
      'both targets',
      `'article', 'body', target_column => 'e', target_table => 't'`,
      '22023',
      'pipeline "article" names both target_column and target_table',
      /^Give target_column for a column of the source/,
    ],
    [
      'a column of the wrong type',
      `'article', 'body', target_column => 'n'`,
      '42804',
      'column "n" of public.article is integer, and model "all-MiniLM-L6-v2" needs public.vector(384)',
      'Give another target_column; one that does not exist is added.',
    ],
    [
      'a generated column',
      `'article', 'body', target_column => 'made'`,
      '22023',
      'column "made" of public.article is a generated one, and nothing can be written to it',
      'Give another target_column; one that does not exist is added.',
    ],
    [
      'a column of other dimensions',
      `'article', 'body', target_column => 'embedding_small'`,
      '42804',
      /^column "embedding_small" of public\.article is public\.vector\(3\), /,
      /is added/,
    ],
    [
      'a target that is its input',
      `'article', '{title} {any_size}', target_column => 'any_size'`,
      '22023',
      'pipeline "article" would read its own target, column "any_size"',
      'Give another target_column.',
    ],
    [
      'a table of another shape',
      `'article', 'body', target_table => 'wrong_embedding'`,
      '42P07',
      'table public.wrong_embedding exists and is no sidecar of this shape',
      /^Drop it, or give another target_table\. A sidecar has: id integer, chunk integer, chunk_text text, embedding public\.vector\(384\), model text, embedded_at timestamp with time zone\.$/,
    ],
    [
      'a key that a sidecar needs itself',
      `'chunked', 'body'`,
      '42701',
      'the key of public.chunked has a column that a sidecar needs for itself',
      /target_column => 'embedding'/,
    ],
  ])('%s', async (_, call, code, message, hint) => {
    const error = await refusal(call);
    expect(error).toMatchObject({
      code,
      message: typeof message === 'string' ? message : expect.stringMatching(message),
    });
    if (hint === undefined) expect(error.hint).toBeUndefined();
    else if (typeof hint === 'string') expect(error.hint).toBe(hint);
    else expect(error.hint).toMatch(hint);
  });

  it('a temporary table', async () => {
    expect(
      await refusal(`'passing', 'body'`, 'create temp table passing (id int primary key, body text)'),
    ).toMatchObject({
      code: '42809',
      message: expect.stringMatching(/passing is temporary: no worker can see it$/),
    });
  });

  it('a name that is taken, with its own words for each way it can be taken', async () => {
    const first = `select embedder.create_pipeline('article', 'body', enqueue_existing => false)`;
    expect(await refusal(`'article', 'title'`, first)).toMatchObject({
      code: '42710',
      message: 'pipeline "article" exists already',
      hint: expect.stringMatching(/if_not_exists => true/),
    });
    expect(
      await refusal(`'article', 'title', name => 'other', target_table => 'article_embedding'`, first),
    ).toMatchObject({
      code: '42P07',
      message: 'table public.article_embedding is the target of pipeline "article"',
      hint: 'Give another name => ... or target_table => ...',
    });
    const column = `select embedder.create_pipeline('article', 'body', target_column => 'e')`;
    expect(await refusal(`'article', 'title', name => 'other', target_column => 'e'`, column)).toMatchObject({
      code: '42701',
      message: 'column "e" of public.article is the target of another pipeline',
    });
  });

  it('a table of somebody else', async () => {
    await inTransaction(async (query) => {
      await query(`grant usage, create on schema embedder to ${stranger.name};
        grant select, insert, update on all tables in schema embedder to ${stranger.name};
        set local role ${stranger.name}`);
      await expect(query(`select embedder.create_pipeline('article', 'body')`)).rejects.toMatchObject({
        code: '42501',
        message: 'table public.article belongs to postgres',
        hint: 'Only its owner, a member of that role, or of embedder_admin makes a pipeline on it.',
      });
    });
  });

  it('leaves nothing behind', async () => {
    await expect(
      database.query(
        `select embedder.create_pipeline('article', 'body', target_column => 'fresh', max_attempts => 0)`,
      ),
    ).rejects.toThrow('max_attempts');
    const { rows } = await database.query(
      `select (select count(*)::int from embedder.pipeline) as pipelines, (select count(*)::int from embedder.job) as jobs,
        (select count(*)::int from pg_trigger where tgrelid = 'article'::regclass) as triggers,
        (select count(*)::int from pg_proc where proname like 'pipeline\\_%\\_%' and pronamespace = 'embedder'::regnamespace and proname ~ '\\d') as functions,
        (select count(*)::int from pg_attribute where attrelid = 'article'::regclass and attname = 'fresh') as columns`,
    );
    expect(rows).toEqual([{ pipelines: 0, jobs: 0, triggers: 0, functions: 0, columns: 0 }]);
  });
});

describe('create_pipeline', () => {
  afterEach(() => database.query('select embedder.drop_pipeline(name, true) from embedder.pipeline'));

  it('names the pipeline and its sidecar after the table and queues every row', async () => {
    const { rows } = await database.query(`select embedder.create_pipeline('article', 'body') as name`);
    expect(rows).toEqual([{ name: 'article' }]);
    expect(await queued(database, 'article')).toEqual(['1', '2']);
    const { rows: columns } = await database.query(
      `select attname as name, format_type(atttypid, atttypmod) as type, attnotnull as required
       from pg_attribute where attrelid = 'public.article_embedding'::regclass and attnum > 0 order by attnum`,
    );
    expect(columns).toEqual([
      { name: 'id', type: 'integer', required: true },
      { name: 'chunk', type: 'integer', required: true },
      { name: 'chunk_text', type: 'text', required: false },
      { name: 'embedding', type: 'vector(384)', required: true },
      { name: 'model', type: 'text', required: true },
      { name: 'source_hash', type: 'uuid', required: false },
      { name: 'embedded_at', type: 'timestamp with time zone', required: true },
    ]);
    const { rows: declared } = await database.query(
      `select source::text, key_columns, input, model, task, target_table::text, target_column, sidecar, dimensions, options,
         index, priority, max_attempts, generation, paused, error, trigger_error, filled_at from embedder.pipeline`,
    );
    expect(declared).toEqual([
      {
        source: 'article',
        key_columns: ['id'],
        input: 'body',
        model: 'all-MiniLM-L6-v2',
        task: 'feature-extraction',
        target_table: 'article_embedding',
        target_column: 'embedding',
        sidecar: true,
        dimensions: 384,
        options: {},
        index: 'hnsw',
        priority: 0,
        max_attempts: 5,
        generation: 1,
        paused: false,
        error: null,
        trigger_error: null,
        filled_at: null,
      },
    ]);
  });

  it('adds a target column, or takes one of a fitting type', async () => {
    await database.query(`select embedder.create_pipeline('article', 'body', name => 'a', target_column => 'Fresh "1"');
      select embedder.create_pipeline('article', 'title', name => 'b', target_column => 'any_size')`);
    const { rows } = await database.query(
      `select attname as name, format_type(atttypid, atttypmod) as type from pg_attribute
       where attrelid = 'article'::regclass and attname in ('Fresh "1"', 'any_size') order by attname collate "C" desc`,
    );
    expect(rows).toEqual([
      { name: 'any_size', type: 'vector' },
      { name: 'Fresh "1"', type: 'vector(384)' },
    ]);
  });

  it('queues nothing with enqueue_existing => false', async () => {
    await database.query(`select embedder.create_pipeline('article', 'body', enqueue_existing => false)`);
    expect(await queued(database, 'article')).toEqual([]);
  });

  it('leaves a pipeline of that name as it is with if_not_exists', async () => {
    await database.query(`select embedder.create_pipeline('article', 'body', priority => 3)`);
    await database.query('delete from embedder.job; delete from embedder.backfill_run');
    const { rows } = await database.query(
      `select embedder.create_pipeline('article', 'title', priority => 9, if_not_exists => true) as name`,
    );
    expect(rows).toEqual([{ name: 'article' }]);
    const { rows: declared } = await database.query('select input, priority from embedder.pipeline');
    expect(declared).toEqual([{ input: 'body', priority: 3 }]);
    expect(await queued(database, 'article')).toEqual([]);
    await database.query('create table other (id int primary key, body text)');
    await expect(
      database.query(
        `select embedder.create_pipeline('other', 'body', name => 'article', if_not_exists => true)`,
      ),
    ).rejects.toMatchObject({
      code: '42710',
      message: 'pipeline "article" exists already, of another table',
    });
    await database.query(`select embedder.drop_pipeline('article', true); drop table other`);
    await database.query(`select embedder.create_pipeline('article', 'title', if_not_exists => true)`);
    expect(await queued(database, 'article')).toEqual(['1', '2']);
  });

  it('puts a sidecar where it is told to, quoted names included', async () => {
    await database.query(`create schema "Odd Place";
      select embedder.create_pipeline('article', 'body', target_table => '"Odd Place"."The "" Table %s"')`);
    const { rows } =
      await database.query(`select relname, nspname from pg_class c join pg_namespace n on n.oid = relnamespace
      where c.oid = (select target_table from embedder.pipeline)`);
    expect(rows).toEqual([{ relname: 'The " Table %s', nspname: 'Odd Place' }]);
    await database.query(`select embedder.drop_pipeline('article', true); drop schema "Odd Place"`);
  });

  it('takes over the sidecar that a dropped pipeline has left, and has all in it looked at', async () => {
    await database.query(`select embedder.create_pipeline('article', 'body')`);
    await database.query(`insert into article_embedding (id, embedding, model)
      select id, array_fill(0.5, array[384])::vector, case id when 1 then 'another model' else 'all-MiniLM-L6-v2' end
      from generate_series(1, 2) id; update article set body = 'text' where id = 2`);
    await database.query(`select embedder.drop_pipeline('article')`);
    const kept = await database.query('select id from article_embedding order by id');
    expect(kept.rows).toEqual([{ id: 1 }, { id: 2 }]);
    await database.query(
      `insert into article_embedding (id, embedding, model) values (99, array_fill(0.5, array[384])::vector, 'old')`,
    );
    await database.query(
      `select embedder.create_pipeline('article', 'body', name => 'again', target_table => 'article_embedding')`,
    );
    // Nobody knows of which texts they are; and 99 has no row.
    expect(await queued(database, 'again')).toEqual(['1', '2', '99']);
    await drain(database);
    const after = await database.query('select id, model from article_embedding order by id');
    expect(after.rows).toEqual([1, 2].map((id) => ({ id, model: 'all-MiniLM-L6-v2' })));
    await database.query(`select embedder.drop_pipeline('again', true)`);
    const gone = await database.query(`select to_regclass('article_embedding') as table`);
    expect(gone.rows).toEqual([{ table: null }]);
  });

  it('gives a sidecar to the owner of the source', async () => {
    await database.query(`grant create on schema public to ${stranger.name}`);
    await database.query(`select embedder.create_pipeline('of_other', 'body')`);
    const { rows } = await database.query(
      `select relowner::regrole::text as owner from pg_class where oid = 'of_other_embedding'::regclass`,
    );
    expect(rows).toEqual([{ owner: stranger.name }]);
  });
});
