import { existsSync } from 'node:fs';
import pg from 'pg';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { pollUntil } from './poll-until.ts';
import { createDatabase, createRole, startServer, type TestDatabase } from './postgres.ts';

describe('the shared server', () => {
  let database: TestDatabase;
  beforeAll(async () => {
    database = await createDatabase({ vector: true });
  });
  afterAll(() => database.drop());

  it('gives a database with pgvector, in UTC', async () => {
    const { rows } = await database.query<{ distance: number; zone: string; name: string }>(
      `select '[1,2]'::vector <-> '[1,4]' as distance, current_setting('timezone') as zone, current_database() as name`,
    );
    expect(rows).toEqual([{ distance: 2, zone: 'UTC', name: database.name }]);
  });

  it('gives a role that may do nothing yet', async () => {
    const role = await createRole();
    const client = new pg.Client({ connectionString: database.urlAs(role) });
    await client.connect();
    await expect(client.query('create schema s')).rejects.toMatchObject({ code: '42501' });
    await client.end();
    await role.drop();
  });

  it('drops a database that is in use', async () => {
    const other = await createDatabase();
    const client = new pg.Client({ connectionString: other.url });
    await client.connect();
    const errors: unknown[] = [];
    const cutOff = new Promise<void>((resolve) => client.on('end', resolve));
    client.on('error', (error) => errors.push(error));
    await other.drop();
    await cutOff;
    expect(errors[0]).toMatchObject({ code: '57P01' });
    const { rowCount } = await database.query('select from pg_database where datname = $1', [other.name]);
    expect(rowCount).toBe(0);
  });
});

describe('a server of its own', () => {
  it.each(['fast', 'immediate'] as const)(
    'keeps committed rows over a restart (%s), and leaves nothing',
    async (mode) => {
      const server = await startServer({ settings: { log_connections: 'on' } });
      const database = await createDatabase({ serverUrl: server.url });
      await database.query('create table t as select generate_series(1, 1000) as i');
      await server.restart(mode);
      const rows = await pollUntil(
        () =>
          database.query<{ n: number }>('select count(*)::int as n from t').then(
            (r) => r.rows,
            () => undefined,
          ),
        { what: 'a connection after the restart' },
      );
      expect(rows).toEqual([{ n: 1000 }]);
      await database.drop();
      await server.stop();
      expect(existsSync(server.logFile)).toBe(false);
    },
  );
});
