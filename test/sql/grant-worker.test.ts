import pg from 'pg';
import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, it } from 'vitest';
import { createWorker } from '../../src/worker/worker.ts';
import {
  createMigratedDatabase,
  FakeEmbedder,
  type MigratedDatabase,
  silent,
} from '../support/pgembedder.ts';
import { createRole, type TestRole } from '../support/postgres.ts';

let database: MigratedDatabase;
let role: TestRole;

beforeAll(async () => {
  database = await createMigratedDatabase();
});
afterAll(() => database.drop());
beforeEach(async () => {
  role = await createRole();
});
afterEach(async () => {
  await database.query(`drop owned by ${role.name}`);
  await role.drop();
});

const grant = async (name = role.name) =>
  (await database.query<{ left: string }>('select embedder.grant_worker($1) as left', [name])).rows.map(
    ({ left }) => left,
  );

describe('grant_worker', () => {
  it('gives a role all that a worker needs, on tables that it may not read', async () => {
    await database.query(`create schema shop authorization current_user; create table shop.doc (id int primary key, body text);
      insert into shop.doc values (1, 'a'); select embedder.create_pipeline('shop.doc', 'body', index => 'none')`);
    const drain = () =>
      createWorker({
        connection: database.urlAs(role),
        logger: silent,
        embedder: new FakeEmbedder(),
      }).drain();
    await expect(drain()).rejects.toThrow();
    expect(await grant()).toEqual([]);
    expect(await drain()).toMatchObject({ embedded: 1, failing: [] });
    // Once more is no error.
    expect(await grant()).toEqual([]);
    await database.query('select embedder.revoke_worker($1)', [role.name]);
    await expect(drain()).rejects.toThrow();
    await database.query(`select embedder.drop_pipeline('doc'); drop schema shop cascade`);
  });

  it('says what is left for a superuser where the caller may not', async () => {
    const client = new pg.Client(database.urlAs(role));
    await client.connect();
    try {
      const { rows } = await client.query<{ left: string }>('select embedder.grant_worker($1) as left', [
        role.name,
      ]);
      expect(rows).toEqual([{ left: `grant embedder_worker to ${role.name};` }]);
    } finally {
      await client.end();
    }
  });

  it.each(['Ada "the" Worker', 'работник-с-именем-в-60', '%s', 'select'])(
    'a role of the name %s',
    async (name) => {
      const quoted = `"${name.replaceAll('"', '""')}"`;
      await database.query(`create role ${quoted}`);
      try {
        expect(await grant(name)).toEqual([]);
        const { rows } = await database.query(
          `select rolcanlogin, pg_has_role(oid, 'embedder_worker', 'usage') as member from pg_roles where rolname = $1`,
          [name],
        );
        expect(rows).toEqual([{ rolcanlogin: true, member: true }]);
        await database.query('select embedder.revoke_worker($1)', [name]);
      } finally {
        await database.query(`drop owned by ${quoted}; drop role ${quoted}`);
      }
    },
  );

  it('of a role that inherits nothing, and of none', async () => {
    await database.query(`alter role ${role.name} noinherit`);
    const left = await grant();
    const { rows } = await database.query<{ version: number }>(
      `select current_setting('server_version_num')::int / 10000 as version`,
    );
    // From 16 on a grant is told whether it is inherited; before that, the role is.
    if (rows[0]!.version < 16) expect(left).toEqual([`alter role ${role.name} inherit;`]);
    else expect(left).toEqual([]);
    await expect(grant('nobody_at_all')).rejects.toMatchObject({
      message: 'there is no role "nobody_at_all"',
      hint: expect.stringContaining(`create role nobody_at_all login password '...';`),
    });
  });
});
