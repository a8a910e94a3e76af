import { mkdtemp, rm } from 'node:fs/promises';
import { createConnection } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { PGlite } from '@electric-sql/pglite';
import { vector } from '@electric-sql/pglite-pgvector';
import pg from 'pg';
import { afterAll, beforeAll, beforeEach, describe, expect, it } from 'vitest';
import { encode } from '../../../src/embedded/protocol.ts';
import { SocketServer } from '../../../src/embedded/socket-server.ts';

const IDLE_LIMIT_MS = 300;

let folder: string;
let server: SocketServer;
let pool: pg.Pool;

const config = () => ({ host: folder, port: 5432, user: 'postgres', database: 'postgres' });

async function connect(): Promise<pg.Client> {
  const client = new pg.Client(config());
  client.on('error', () => {});
  await client.connect();
  return client;
}

/** The bare socket under a client, to cut it off as a crash does. */
const socketOf = (client: pg.Client) =>
  (client as unknown as { connection: { stream: NodeJS.WritableStream & { destroy(): void } } }).connection
    .stream;

const count = async () => (await pool.query<{ n: number }>('select count(*)::int as n from t')).rows[0]!.n;

beforeAll(async () => {
  folder = await mkdtemp(join(tmpdir(), 'pgembedder-front-'));
  const database = await PGlite.create({ extensions: { vector } });
  server = await SocketServer.listen(database, join(folder, '.s.PGSQL.5432'), { idleLimit: IDLE_LIMIT_MS });
  pool = new pg.Pool({ ...config(), max: 8 });
  pool.on('error', () => {});
  await pool.query('create extension vector; create table t (id int primary key, v text)');
});

beforeEach(async () => {
  await pool.query('truncate t');
});

afterAll(async () => {
  await pool.end();
  await server.close();
  await rm(folder, { recursive: true });
});

describe('several connections at once', () => {
  it('get the answers to their own statements', async () => {
    await Promise.all(
      Array.from({ length: 300 }, async (_, index) => {
        const { rows } = await pool.query(`select ${index} as text, $1::int as parameter`, [index]);
        expect(rows).toEqual([{ text: index, parameter: index }]);
      }),
    );
  });

  it('get the errors of their own statements', async () => {
    await Promise.all(
      Array.from({ length: 150 }, async (_, index) => {
        if (index % 3 === 0)
          await expect(pool.query('select 1 / $1::int', [0])).rejects.toMatchObject({ code: '22012' });
        else if (index % 3 === 1)
          await expect(pool.query(`nonsense ${index}`)).rejects.toMatchObject({ code: '42601' });
        else expect((await pool.query(`select ${index} as i, $1::text`, ['x'])).rows[0].i).toBe(index);
      }),
    );
  });

  it('have their transactions to themselves, those with errors in the middle too', async () => {
    await Promise.all(
      Array.from({ length: 60 }, async (_, index) => {
        const client = await pool.connect();
        await client.query('begin');
        await client.query('insert into t values ($1, $2)', [index, `v${index}`]);
        if (index % 3 === 0) await client.query('select 1 / $1::int', [0]).catch(() => {});
        else
          expect((await client.query('select v from t where id = $1', [index])).rows).toEqual([
            { v: `v${index}` },
          ]);
        await client.query(index % 3 === 1 ? 'rollback' : 'commit'); // the commit of a failed one is a rollback
        client.release();
      }),
    );
    expect(await count()).toBe(20);
  });

  it('wait while one of them is in a transaction, and then see what it did', async () => {
    const client = await connect();
    await client.query('begin');
    await client.query("insert into t values (1, 'a')");
    const seen = count();
    await client.query("insert into t values (2, 'b')");
    await client.query('commit');
    expect(await seen).toBe(2);
    await client.end();
  });

  it('may use the same names for prepared statements', async () => {
    const clients = await Promise.all(Array.from({ length: 4 }, connect));
    for (const round of [1, 2]) {
      const answers = clients.map((client, index) =>
        client.query({ name: 'mine', text: `select ${index} as i, $1::int as r`, values: [round] }),
      );
      const rows = (await Promise.all(answers)).map((answer) => answer.rows[0]);
      expect(rows).toEqual(clients.map((_, index) => ({ i: index, r: round })));
    }
    await Promise.all(clients.map((client) => client.end()));
    const gone = await connect(); // takes its turn after the others have been cleared away
    const { rows } = await gone.query("select name from pg_prepared_statements where name <> ''");
    expect(rows).toEqual([]);
    await gone.end();
  });
});

describe('a client that goes away', () => {
  it('inside a transaction: it is rolled back, and the others go on', async () => {
    const client = await connect();
    await client.query('begin');
    await client.query("insert into t values (1, 'lost')");
    socketOf(client).destroy();
    expect(await count()).toBe(0);
  });

  it('inside a statement of a transaction', async () => {
    const client = await connect();
    await client.query('begin');
    client.query("insert into t select i, 'lost' from generate_series(1, 20000) as i").catch(() => {});
    await new Promise<void>((resolve) => socketOf(client).write('', () => resolve())); // it is on its way
    socketOf(client).destroy();
    expect(await count()).toBe(0);
  });

  it('between Parse and Sync', async () => {
    const client = await connect();
    const messages = [
      encode('P', '', "insert into t values (1, 'lost')", Buffer.from([0, 0])),
      encode('B', '', '', Buffer.from([0, 0, 0, 0, 0, 0])),
      encode('E', '', Buffer.alloc(4)),
      encode('H'), // Flush: the backend answers, and the connection holds it until its Sync
    ];
    const answered = new Promise((resolve) => socketOf(client).once('data', resolve));
    socketOf(client).write(Buffer.concat(messages));
    await answered;
    socketOf(client).destroy();
    expect(await count()).toBe(0);
  });

  it('after an error between Parse and Sync', async () => {
    const client = await connect();
    await client.query('begin');
    await client.query("insert into t values (1, 'lost')");
    const answered = new Promise((resolve) => socketOf(client).once('data', resolve));
    socketOf(client).write(Buffer.concat([encode('P', '', 'nonsense', Buffer.from([0, 0])), encode('H')]));
    await answered;
    socketOf(client).destroy();
    expect(await count()).toBe(0);
  });

  it('in the middle of a COPY: nothing is copied', async () => {
    const client = await connect();
    const answered = new Promise((resolve) => socketOf(client).once('data', resolve));
    socketOf(client).write(encode('Q', 'copy t from stdin'));
    await answered;
    socketOf(client).write(encode('d', Buffer.from('1\tlost\n')));
    socketOf(client).destroy();
    expect(await count()).toBe(0);
  });
});

it('ends a transaction that idles while others wait, and says why', async () => {
  const client = new pg.Client(config());
  const errors: unknown[] = [];
  client.on('error', (error) => errors.push(error));
  await client.connect();
  const ended = new Promise<void>((resolve) => client.once('end', () => resolve()));
  await client.query('begin');
  await client.query("insert into t values (1, 'a')");
  expect(await count()).toBe(0); // would wait for ever
  await ended;
  expect(errors[0]).toMatchObject({ code: '25P03' });
});

it('takes and gives large values', async () => {
  const value = 'ä'.repeat(1 << 20);
  const answers = [1, 2, 3].map((id) => pool.query('insert into t values ($1, $2) returning v', [id, value]));
  for (const { rows } of await Promise.all(answers)) expect(rows[0].v === value).toBe(true);
});

it('takes vectors in their binary format', async () => {
  const one = Buffer.from([0, 2, 0, 0, 0x3f, 0x80, 0, 0, 0xc0, 0, 0, 0]); // two dimensions: 1, -2
  expect((await pool.query('select $1::vector as v', [one])).rows).toEqual([{ v: '[1,-2]' }]);
});

describe('COPY from the client', () => {
  const copy = async (sql: string, chunks: string[], end: Buffer) => {
    const client = await connect();
    const socket = socketOf(client);
    const answer = new Promise<{ command?: string; code?: string }>((resolve) => {
      client.query({ text: sql }).then(
        (result) => resolve({ command: `${result.command} ${result.rowCount}` }),
        (error: { code: string }) => resolve({ code: error.code }),
      );
    });
    // pg itself has no COPY: it tells of the CopyInResponse and leaves the rest to others.
    const { connection } = client as unknown as {
      connection: NodeJS.EventEmitter & { sendCopyFail(text: string): void };
    };
    connection.sendCopyFail = () => {};
    await new Promise((resolve) => connection.once('copyInResponse', resolve));
    for (const chunk of chunks) socket.write(encode('d', Buffer.from(chunk)));
    socket.write(end);
    const result = await answer;
    await client.end();
    return result;
  };

  it('takes rows, however they are cut', async () => {
    const result = await copy('copy t from stdin', ['1\ta\n2', '\tb\n', '3\tc\n'], encode('c'));
    expect(result).toEqual({ command: 'COPY 3' });
    expect(await count()).toBe(3);
  });

  it('reports a bad row, and a copy that the client gives up', async () => {
    expect(await copy('copy t from stdin', ['1\ta\nx\tb\n'], encode('c'))).toEqual({ code: '22P02' });
    expect(await copy('copy t from stdin', ['1\ta\n'], encode('f', 'no more'))).toEqual({ code: '57014' });
    expect(await count()).toBe(0);
  });
});

describe('NOTIFY', () => {
  it('reaches the connections that listen on the channel, and no others', async () => {
    const [a, b, sender] = [await connect(), await connect(), await connect()];
    const heard: string[] = [];
    for (const [name, client] of Object.entries({ a, b, sender })) {
      client.on('notification', ({ channel, payload }) => heard.push(`${name} ${channel} ${payload}`));
    }
    await a.query('listen jobs');
    await b.query('listen jobs');
    await b.query('listen "Other"');
    await sender.query("select pg_notify('jobs', '1'), pg_notify('Other', '2')");
    await Promise.all([a.query('select 1'), b.query('select 1'), sender.query('select 1')]);
    expect(heard.sort()).toEqual(['a jobs 1', 'b Other 2', 'b jobs 1']);

    heard.length = 0;
    await a.query('unlisten jobs');
    await sender.query("notify jobs, '3'");
    await Promise.all([a.query('select 1'), b.query('select 1')]);
    expect(heard).toEqual(['b jobs 3']);
    await Promise.all([a.end(), b.end(), sender.end()]);
  });
});

describe('the start of a connection', () => {
  it('refuses a database that is not there', async () => {
    const client = new pg.Client({ ...config(), database: 'shop' });
    await expect(client.connect()).rejects.toMatchObject({ code: '3D000' });
  });

  it('answers the wish for encryption with no', async () => {
    const socket = createConnection(join(folder, '.s.PGSQL.5432'));
    socket.write(Buffer.from([0, 0, 0, 8, 4, 210, 22, 47]));
    const answer = await new Promise<Buffer>((resolve) => socket.once('data', resolve));
    expect(answer.toString()).toBe('N');
    socket.destroy();
  });

  it('ignores a cancel request, and ends nonsense', async () => {
    for (const bytes of [
      [0, 0, 0, 16, 4, 210, 22, 46, 0, 0, 0, 0, 0, 0, 0, 0],
      [71, 69, 84, 32, 47, 32, 72, 84],
    ]) {
      const socket = createConnection(join(folder, '.s.PGSQL.5432'));
      const closed = new Promise<void>((resolve) => socket.once('close', () => resolve()));
      socket.resume();
      socket.write(Buffer.from(bytes));
      await closed;
    }
    expect((await pool.query('select 1 as one')).rows).toEqual([{ one: 1 }]);
  });
});
