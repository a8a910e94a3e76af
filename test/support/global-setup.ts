import { mkdirSync, rmSync } from 'node:fs';
import type { TestProject } from 'vitest/node';
import { startServer } from './server.ts';

declare module 'vitest' {
  interface ProvidedContext {
    /** Superuser connection to the shared test server's maintenance database. */
    serverUrl: string;
  }
}

/**
 * Makes the folder for what tests leave behind, and finds or starts the one PostgreSQL server of this run;
 * `createDatabase` in postgres.ts hands out databases on it.
 */
export default async function setup(project: TestProject): Promise<() => Promise<void>> {
  const scratch = project.config.env.TMPDIR!;
  mkdirSync(scratch, { recursive: true });
  const stopServer = await findServer(project);
  return async () => {
    await stopServer();
    rmSync(scratch, { recursive: true, force: true });
  };
}

async function findServer(project: TestProject): Promise<() => Promise<void>> {
  const given = process.env.TEST_DATABASE_URL;
  if (given) {
    console.log('[postgres] using the server of TEST_DATABASE_URL');
    project.provide('serverUrl', given);
    return async () => {};
  }
  const server = await startServer();
  const { major, directory, cron } = server.binaries;
  console.log(
    `[postgres] PostgreSQL ${major} of ${directory} on port ${server.port}${cron ? ', with pg_cron' : ''}`,
  );
  project.provide('serverUrl', server.url);
  return () => server.stop();
}
