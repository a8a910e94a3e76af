import pg from 'pg';
import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, it } from 'vitest';
import { createMigratedDatabase, type MigratedDatabase } from '../support/pgembedder.ts';
import { createRole, type TestRole } from '../support/postgres.ts';

/**
 * Everything that PUBLIC may call, as the catalog has it, tried by a role that was granted nothing on a pipeline of somebody
 * else's. A function that comes to it is tried by itself; one whose arguments are of a kind that is not known here fails.
 */

let database: MigratedDatabase;
let alice: TestRole;
let mallory: TestRole;
let stranger: pg.Client;
let id: number;

beforeAll(async () => {
  database = await createMigratedDatabase();
  [alice, mallory] = (await Promise.all([createRole(), createRole()])) as [TestRole, TestRole];
  await database.query(`grant create on schema public to ${alice.name}`);
  const owner = new pg.Client({ connectionString: database.urlAs(alice) });
  await owner.connect();
  // A key, texts and an error that nobody else knows; a row that waits, one that failed, and a next generation that is filled.
  await owner.query(`create table doc (id text primary key, body text);
    insert into doc select 'hush' || i, 'hush text ' || i from generate_series(1, 3) i;
    select embedder.create_pipeline('doc', 'body', enqueue_existing => false);
    select embedder.alter_pipeline('doc', input => '{body}!', auto_cutover => true);
    insert into doc values ('hush4', 'hush text 4')`);
  await owner.end();
  await database.query(`update embedder.pipeline set error = 'hush error', filled_at = now();
    insert into embedder.dead_letter (pipeline_id, row_key, attempts, error) select id, 'hush1', 5, 'hush error' from embedder.pipeline;
    insert into embedder.request (model, options, input, expires_at) values ('m', '{}', 'hush question', 'infinity');
    insert into embedder.query_vector (digest, model, embedding) values ('\\x00', 'm', '[1]')`);
  id = (await database.query<{ id: number }>(`select id from embedder.pipeline where live`)).rows[0]!.id;
});
afterAll(async () => {
  await database.drop();
  for (const role of [alice, mallory]) await role.drop();
});
beforeEach(async () => {
  stranger = new pg.Client({ connectionString: database.urlAs(mallory) });
  stranger.on('error', () => {});
  await stranger.connect();
  await stranger.query(`set statement_timeout = '10s'`);
});
afterEach(() => stranger.end());

/** The tables that are alice's or the schema's. */
const tables = async () =>
  (
    await database.query<{ name: string }>(
      `select oid::regclass::text as name from pg_class where relkind = 'r' and (relnamespace = 'embedder'::regnamespace or relname like 'doc%') order by 1`,
    )
  ).rows.map(({ name }) => name);

/** What all of it looks like. */
async function state(): Promise<Record<string, unknown>> {
  const found: Record<string, unknown> = {};
  for (const table of await tables())
    found[table] = (
      await database.query(`select coalesce(jsonb_agg(t order by t::text), '[]') as rows from ${table} t`)
    ).rows[0]!.rows;
  found.objects = (
    await database.query(
      `select (select jsonb_agg(oid::regprocedure::text order by oid) from pg_proc where pronamespace = 'embedder'::regnamespace) as functions,
        (select jsonb_agg(tgname order by oid) from pg_trigger) as triggers,
        (select jsonb_agg(relname order by oid) from pg_class where relnamespace in ('embedder'::regnamespace, 'public'::regnamespace)) as relations`,
    )
  ).rows[0];
  return found;
}

/** What the open transaction of the stranger holds that others wait for who read or write rows. */
async function locks(): Promise<string[]> {
  const { rows } = await database.query<{ held: string }>(
    `select l.mode || ' on ' || l.relation::regclass as held from pg_locks l join pg_stat_activity a using (pid)
     where a.usename = $1 and l.granted and l.locktype = 'relation' and l.database = (select oid from pg_database where datname = current_database())
       and l.mode not in ('AccessShareLock', 'RowShareLock', 'RowExclusiveLock') and (l.relation = 'doc'::regclass or l.relation in (
         select oid from pg_class where relnamespace in ('embedder'::regnamespace, 'public'::regnamespace) and relkind = 'r'))
     union all
     select 'advisory lock' from pg_locks l join pg_stat_activity a using (pid) where a.usename = $1 and l.locktype = 'advisory'`,
    [mallory.name],
  );
  const held = rows.map((row) => row.held);
  for (const table of await tables()) {
    const { rows } = await database.query<{ free: number; there: number }>(
      `select (select count(*)::int from (select from ${table} for update skip locked) t) as free, (select count(*)::int from ${table}) as there`,
    );
    if (rows[0]!.free !== rows[0]!.there) held.push(`rows of ${table}`);
  }
  return held;
}

/** What the stranger is told by a statement, and what she holds afterwards, with her transaction still open. */
async function attempt(statement: string): Promise<{ told: string; held: string[] }> {
  await stranger.query('begin');
  try {
    let told: string;
    try {
      told = JSON.stringify((await stranger.query(statement)).rows);
    } catch (error) {
      const { code, message, hint, detail } = error as pg.DatabaseError;
      told = JSON.stringify({ code, message, hint, detail });
      // That it could not be called is this test's fault.
      expect(told, statement).not.toMatch(/^."code":"(42601|42725)|function embedder.\w+\([^)]*, /);
    }
    return { told, held: await locks() };
  } finally {
    // What she could do stays done.
    await stranger.query('commit');
  }
}

/**
 * Arguments by name and type, or by type alone; of a pipeline that is there and of one that is not. Its number is no hush: the
 * names of its functions have it, and these are in the catalog.
 */
function argument(name: string, type: string, there: boolean, declared: string): string | undefined {
  const pipeline = there ? `'doc'` : `'nope'`;
  const byName: Record<string, string> = {
    'pipeline text': pipeline,
    'name text': pipeline,
    'pipeline_id integer': String(id),
    'pipeline integer': String(id),
    'input text': `'{body}'`,
    'template text': `'{body} {chunk}'`,
    'piece text': `'{body}'`,
    'model text': `'all-MiniLM-L6-v2'`,
    'task text': `'feature-extraction'`,
    'filter text': `'true'`,
    'condition text': `'true'`,
    'path text': `'pg_catalog'`,
    'row_key text': `'hush1'`,
    'query text': `'"hush text" words'`,
    'index text': `'hnsw'`,
    'rerank text': `'m'`,
    'candidates integer': '10',
    'wanted integer': '10',
    'new_name text': `'other'`,
    'base text': `'doc'`,
    'suffix text': `'_x'`,
    'space text': `'embedder'`,
    'what text': `'pipeline'`,
    'verb text': `'drop'`,
    'target_column text': 'null',
    'target_table text': 'null',
    'target_name text': `'doc_embedding'`,
    'column_name text': `'body'`,
    'role_name text': `'embedder_admin'`,
    'kind text': `'vector'`,
    'option text': `'labels'`,
    'j embedder.job': 'null',
    'row_alias text': `'source'`,
    'prefix text': `''`,
    'one text': `'source'`,
    'other text': `'target'`,
    'schedule text': `'* * * * *'`,
    'command text': `'select 1'`,
    'operation text': `'insert'`,
    'message text': `'forged'`,
    'error text': `'forged'`,
    'wanted text': `'bdoy'`,
    'distance text': `'1'`,
    'named text': `'public.vector'`,
    'vector_schema text': `'public.'`,
    // Tables are in PostgreSQL's own catalog.
    'relation text': `'doc'`,
    'state text': `'42501'`,
    'k integer': '3',
    'longest integer': '9',
    'enough integer': '2',
    'rrf_k integer': '60',
    'generation integer': '2',
    'priority integer': '1',
    'max_attempts integer': '1',
  };
  const byType: Record<string, string> = {
    regclass: `'public.doc'`,
    'embedder.pipeline': declared,
    jsonb: `'{}'`,
    boolean: 'true',
    vector: `(select ('[' || pg_catalog.string_agg('1', ',') || ']')::vector from pg_catalog.generate_series(1, 384))`,
    sparsevec: `'{1:1}/384'`,
    regconfig: `'english'`,
    bigint: '1',
    'timestamp with time zone': 'now()',
    tsquery: `'hush1'`,
    'double precision': '1',
    'double precision[]': `'{1}'`,
    anyelement: `'hush1'::text`,
    'text[]': name === 'pipelines' ? `array[${pipeline}]` : `'{hush1}'`,
    'name[]': `'{hush1}'`,
    bytea: `'\\x00'`,
    interval: `'1 second'`,
    numeric: '1',
    uuid: `'00000000-0000-0000-0000-000000000000'`,
    name: `'${alice.name}'`,
  };
  return byName[`${name} ${type}`] ?? byType[type];
}

describe('somebody without rights', () => {
  it('calls every function that is everybody’s, and changes, holds and learns nothing', async () => {
    const { rows: functions } = await database.query<{
      f: string;
      name: string;
      names: string[];
      types: string[];
    }>(`select f.oid::regprocedure::text as f, f.proname as name, coalesce(f.proargnames, '{}') as names,
        array(select format_type(t, null) from unnest(f.proargtypes) with ordinality a(t, place) order by place) as types
      from pg_proc f
      where f.pronamespace = 'embedder'::regnamespace and f.prorettype <> 'trigger'::regtype
        and exists (select from aclexplode(coalesce(f.proacl, acldefault('f', f.proowner))) a where a.grantee = 0)
      order by 1`);
    expect(functions.length).toBeGreaterThan(60);
    const before = await state();
    const unknown: string[] = [];
    const faults: string[] = [];
    for (const { f, name, names, types } of functions) {
      const outcome: string[] = [];
      for (const there of [true, false]) {
        const declared = `jsonb_populate_record(null::embedder.pipeline, ${pg.escapeLiteral(
          JSON.stringify({
            ...(await database.query('select to_jsonb(p) as p from embedder.pipeline p where live')).rows[0]!
              .p,
            // What the caller gives herself is nothing that she is told.
            error: null,
          }),
        )})`;
        const given = types.map(
          (type, i) => argument(names[i] ?? '', type, there, declared) ?? `?${names[i]} ${type}`,
        );
        const lacking = given.filter((value) => value.startsWith('?'));
        if (lacking.length > 0) {
          unknown.push(`${f}: ${lacking.join(', ')}`);
          break;
        }
        const { told, held } = await attempt(
          `select * from embedder.${pg.escapeIdentifier(name)}(${given.map((value, i) => `${value}${types[i] === 'anyelement' ? '' : `::${types[i]}`}`).join(', ')})`,
        );
        if (held.length > 0) faults.push(`${f} holds ${held.join(', ')}`);
        // 'hush1' may come back, as she has said it.
        if (/hush(?!1\b)/.test(told)) faults.push(`${f} tells ${told}`);
        outcome.push(told.replaceAll('nope', 'doc'));
      }
      if (outcome[0] !== outcome[1])
        faults.push(`${f} tells apart what is there from what is not: ${outcome.join(' / ')}`);
    }
    expect(unknown).toEqual([]);
    expect(faults).toEqual([]);
    expect(await state()).toEqual(before);
  }, 120_000);

  it('meets no function that stops at one which is not everybody’s', async () => {
    const { rows } = await database.query<{ f: string; needs: string }>(
      `with functions as (
        select f.proname as f, coalesce(pg_get_function_sqlbody(f.oid), f.prosrc) as body, f.prosecdef,
          exists (select from aclexplode(coalesce(f.proacl, acldefault('f', f.proowner))) a where a.grantee = 0) as open
        from pg_proc f where f.pronamespace = 'embedder'::regnamespace)
      select distinct f.f, n.f as needs from functions f, regexp_matches(f.body, 'embedder[.]([a-z0-9_]+)[(]', 'g') m, functions n
      where f.open and not f.prosecdef and n.f = m[1] and not n.open`,
    );
    expect(rows).toEqual([]);
  });

  it('meets hardly a function that has the owner’s rights', async () => {
    const { rows } = await database.query<{ f: string }>(
      `select proname as f from pg_proc f where f.pronamespace = 'embedder'::regnamespace and f.prosecdef and f.prorettype <> 'trigger'::regtype
        and exists (select from aclexplode(coalesce(f.proacl, acldefault('f', f.proowner))) a where a.grantee = 0) order by 1`,
    );
    // The two that embed read the cache, and all but wake ask workers; that one notifies, as everybody may, and notes that in a sequence.
    expect(rows.map(({ f }) => f)).toEqual(['embed', 'embed_sparse', 'rerank', 'wake']);
  });

  it('has no table or view of ours to lock: neither whole nor by its rows', async () => {
    const { rows } = await database.query<{ name: string; kind: string }>(
      `select oid::regclass::text as name, relkind as kind from pg_class where relnamespace = 'embedder'::regnamespace and relkind in ('r', 'v') order by 1`,
    );
    const taken: string[] = [];
    for (const { name, kind } of rows) {
      for (const mode of [
        'share update exclusive',
        'share',
        'share row exclusive',
        'exclusive',
        'access exclusive',
      ])
        await stranger.query(`begin; lock table ${name} in ${mode} mode nowait; rollback`).then(
          () => taken.push(`${name} ${mode}`),
          () => stranger.query('rollback'),
        );
      if (kind === 'r') {
        const { held } = await attempt(`select from ${name} for update`);
        taken.push(...held);
      }
    }
    expect(taken).toEqual([]);
  });

  it('sees no row that a view leaves out, be her function ever so cheap', async () => {
    await database.query(`grant create on schema public to ${mallory.name}`);
    const heard: string[] = [];
    stranger.on('notice', ({ message }) => heard.push(message!));
    await stranger.query(
      `create function public.leak(t text) returns boolean language plpgsql cost 0.0000001 as $$ begin raise notice '%', t; return true; end $$`,
    );
    for (const view of ['status', 'failed_job'])
      await stranger.query(`select from embedder.${view} where public.leak(pipeline || coalesce(error, ''))`);
    await stranger.query('drop function public.leak(text)');
    expect(heard).toEqual([]);
  });
});
