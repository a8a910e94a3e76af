import { afterAll, beforeAll, expect, it } from 'vitest';
import { functionFiles, readSql } from '../../src/database/migrate/sql-files.ts';
import { createMigratedDatabase, type MigratedDatabase } from '../support/pgembedder.ts';

let database: MigratedDatabase;
beforeAll(async () => {
  database = await createMigratedDatabase();
});
afterAll(() => database.drop());

/** The functions beside which the files of sql/ say that `callers` may call them. */
async function annotated(callers: string): Promise<Set<string>> {
  const texts = await Promise.all((await functionFiles()).map(readSql));
  const notes = texts
    .join('\n')
    .matchAll(
      /^-- Callable by: ([^.(]+?)(?: \(([\w, ]+)\))?\.\n(?:create or replace function embedder\.(\w+)|do )/gm,
    );
  return new Set(
    [...notes]
      .filter(([, named]) => named === callers)
      .flatMap(([, , listed, name]) => listed?.split(', ') ?? [name!]),
  );
}

/** The functions of schema embedder for which an expression on pg_proc is true. */
async function functions(condition: string): Promise<Set<string>> {
  const { rows } = await database.query<{ proname: string }>(
    `select distinct proname from pg_proc f where pronamespace = 'embedder'::regnamespace and ${condition}`,
  );
  return new Set(rows.map((row) => row.proname));
}

const isPublic = `exists (select from aclexplode(f.proacl) a where a.grantee = 0)`;

it('everybody may call what stands beside a function, and nothing else', async () => {
  expect([...(await functions(isPublic))].sort()).toEqual([...(await annotated('everybody'))].sort());
});

it('so it is with workers, and these functions run as the schema’s owner', async () => {
  const workers = await annotated("workers, with the rights of the schema's owner");
  const theirs = `has_function_privilege('embedder_worker', oid, 'execute') and not ${isPublic}`;
  expect([...(await functions(theirs))].sort()).toEqual([...workers].sort());
  expect([...(await functions(`${theirs} and not prosecdef`))]).toEqual([]);
});
