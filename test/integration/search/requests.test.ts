import pg from 'pg';
import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, it } from 'vitest';
import {
  createMigratedDatabase,
  FakeEmbedder,
  type MigratedDatabase,
  workerOn,
} from '../../support/pgembedder.ts';
import { createRole, type TestRole } from '../../support/postgres.ts';

let database: MigratedDatabase;
let owner: TestRole;
let app: TestRole;
let loopback: TestRole;

beforeAll(async () => {
  database = await createMigratedDatabase();
  [owner, app, loopback] = (await Promise.all([createRole(), createRole(), createRole()])) as [
    TestRole,
    TestRole,
    TestRole,
  ];
  await database.query(`create extension dblink; create schema shop authorization ${owner.name}`);
  // Somebody is there, and answers nothing.
  await database.query(
    `insert into embedder.worker_process (hostname, pid, version, beat_at) values ('x', 1, 'x', 'infinity')`,
  );
});
afterAll(async () => {
  await database.drop();
  for (const role of [owner, app, loopback]) await role.drop();
});
beforeEach(() => database.query('truncate embedder.request, embedder.answer, embedder.query_vector'));
afterEach(() => database.query(`alter database ${database.name} reset all; delete from embedder.pipeline`));

async function as<Result>(role: TestRole, use: (client: pg.Client) => Promise<Result>): Promise<Result> {
  const client = new pg.Client(database.urlAs(role));
  await client.connect();
  try {
    return await use(client);
  } finally {
    await client.end();
  }
}
const post = (
  on: { query(statement: string): Promise<{ rows: { secret: string }[] }> },
  asker: string,
  text = 'x',
) =>
  on.query(
    `select embedder.post_request('${asker}', 'all-MiniLM-L6-v2', '{}', '${text}', '1 minute') as secret`,
  );

describe('a query text', () => {
  it('longer than the model could read is refused before anybody has it', async () => {
    const most = (await database.query<{ n: number }>(`select embedder.query_limit('all-MiniLM-L6-v2') as n`))
      .rows[0]!.n;
    for (const statement of [
      `select embedder.embed(repeat('x', ${most + 1}))`,
      `select embedder.post_request('me', 'all-MiniLM-L6-v2', '{}', repeat('x', ${most + 1}), '1 minute')`,
    ])
      await expect(database.query(statement), statement).rejects.toMatchObject({
        code: '54000',
        message: `the text has ${most + 1} characters, and a query for model "all-MiniLM-L6-v2" has up to ${most}`,
        hint: `The model reads the beginning only: give it left(..., ${most}).`,
      });
    expect((await database.query('select from embedder.request')).rowCount).toBe(0);
  });

  it('has its place among those of its role; the database says how many, and not the session', async () => {
    await database.query(`alter database ${database.name} set embedder.max_requests = 2`);
    const clients: pg.Client[] = [];
    const next = async () => {
      const client = new pg.Client(database.url);
      clients.push(client);
      await client.connect();
      await client.query(`set embedder.max_requests = 1000`);
      return client;
    };
    try {
      await post(await next(), 'app');
      await post(await next(), 'app');
      await expect(post(await next(), 'app')).rejects.toMatchObject({
        code: '53400',
        message: 'role app has 2 texts waiting to be embedded already',
      });
      await post(await next(), 'other');
    } finally {
      for (const client of clients) await client.end();
    }
  });

  it('is one at a time of a connection, so that nobody floods the list', async () => {
    const client = await database.pool.connect();
    try {
      await client.query(
        `select embedder.post_request('a' || i, 'm', '{}', 'x', '1 minute') from generate_series(1, 500) i`,
      );
      expect((await database.query('select from embedder.request')).rowCount).toBe(1);
    } finally {
      client.release(true);
    }
  });

  it('comes to a worker with others as far as a million characters go', async () => {
    await database.query(
      `insert into embedder.request (model, options, input, expires_at) select 'm', '{}', repeat('x', 400000), 'infinity' from generate_series(1, 10)`,
    );
    const claim = () => database.query('select id from embedder.claim_requests(1, 64)');
    expect([(await claim()).rowCount, (await claim()).rowCount]).toEqual([3, 3]);
    await database.query(
      `truncate embedder.request; insert into embedder.request (model, options, input, expires_at) select 'm', '{}', repeat('x', 4000000), 'infinity' from generate_series(1, 2)`,
    );
    expect((await claim()).rowCount).toBe(1);
  });
});

describe('the role of the second connection', () => {
  it('can neither read what others ask, nor take their answers, nor write their vectors', async () => {
    for (const f of (await database.query<{ f: string }>('select embedder.loopback_functions() as f')).rows)
      await database.query(`grant execute on function ${f.f} to ${loopback.name}`);
    const { secret } = (await post(database, 'app', 'private')).rows[0]!;
    await database.query(
      `insert into embedder.answer (request_id, secret, error, hint, sqlstate, expires_at) values (1, '${secret}', 'private', '', '58000', 'infinity');
       insert into embedder.query_vector (digest, model, embedding) values ('\\x01', 'm', '[1]')`,
    );
    await as(loopback, async (client) => {
      for (const statement of [
        'select * from embedder.request',
        'select * from embedder.answer',
        'select * from embedder.query_vector',
        `update embedder.query_vector set embedding = '[2]'`,
        'delete from embedder.query_vector',
        `insert into embedder.query_vector (digest, model, embedding) values ('\\x02', 'm', '[1]')`,
        `select * from embedder.claim_requests(1, 10)`,
        `select embedder.answer_requests('{1}', '{[1]}')`,
      ])
        await expect(client.query(statement), statement).rejects.toMatchObject({ code: '42501' });
      expect((await client.query('select * from embedder.take_answer(gen_random_uuid())')).rows).toEqual([]);
      expect((await client.query(`select error from embedder.take_answer('${secret}')`)).rows).toEqual([
        { error: 'private' },
      ]);
    });
  });
});

describe('grant_search', () => {
  it('gives a role all that a search by text needs, and says what is left for whom', async () => {
    await as(owner, async (client) => {
      await client.query(`create table shop.item (id int primary key, body text); insert into shop.item values (1, 'a');
        select embedder.create_pipeline('shop.item', 'body', index => 'none')`);
      const { rows } = await client.query<{ grant_search: string }>(
        `select embedder.grant_search('${app.name}')`,
      );
      // The owner has granted what is hers.
      expect(rows.map((row) => row.grant_search)).toEqual([
        `create role embedder_loopback login password '...';`,
        expect.stringMatching(
          /^grant execute on function .*embedder\.take_answer\(uuid\).* to embedder_loopback;$/,
        ),
        expect.stringMatching(/^create server embedder_loopback foreign data wrapper dblink_fdw options /),
        expect.stringMatching(/^create user mapping for postgres server embedder_loopback options /),
        `grant embedder_loopback to ${app.name};`,
      ]);
    });
    const { port, hostname } = new URL(database.url);
    await database.query(`create server embedder_loopback foreign data wrapper dblink_fdw options (host '${hostname}', port '${port}', dbname '${database.name}');
      create user mapping for postgres server embedder_loopback options (user '${loopback.name}', password '${loopback.password}')`);
    const found = `select row_key from embedder.search('item', 'anything')`;
    try {
      expect(
        (await database.query(`select * from embedder.grant_search('${app.name}', '{item}')`)).rows,
      ).toEqual([]);
      const worker = workerOn(database, { embedder: new FakeEmbedder() });
      await worker.start();
      try {
        await database.query(`select embedder.backfill('item')`);
        await expect
          .poll(async () => (await database.query('select from shop.item_embedding')).rowCount, {
            timeout: 20_000,
          })
          .toBe(1);
        await as(app, async (client) => expect((await client.query(found)).rows).toEqual([{ row_key: '1' }]));
        await database.query(`select embedder.revoke_search('${app.name}')`);
        await as(app, async (client) => {
          await expect(client.query(found)).rejects.toMatchObject({ code: '42704' });
          await expect(client.query(`select embedder.embed('another')`)).rejects.toMatchObject({
            code: '42501',
          });
        });
      } finally {
        await worker.stop();
      }
    } finally {
      await database.query('drop server embedder_loopback cascade');
    }
  });

  it('refuses a role that is not there, and a pipeline that is not the caller’s', async () => {
    await expect(database.query(`select embedder.grant_search('nobody_at_all')`)).rejects.toMatchObject({
      code: '42704',
      message: 'there is no role "nobody_at_all"',
    });
    await as(owner, (client) =>
      client.query(
        `create table shop.other (id int primary key, body text); select embedder.create_pipeline('shop.other', 'body', index => 'none')`,
      ),
    );
    await as(app, async (client) => {
      await expect(
        client.query(`select embedder.grant_search('${app.name}', '{other}')`),
      ).rejects.toMatchObject({
        code: '42704',
      });
      expect(
        (await client.query(`select embedder.grant_search('${app.name}') as s`)).rows.map(({ s }) => s),
      ).not.toContainEqual(expect.stringContaining('shop'));
    });
  });
});
