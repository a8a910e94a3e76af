import type { TestProject } from 'vitest/node';
import { startServer } from './server.ts';

declare module 'vitest' {
  interface ProvidedContext {
    /** Superuser connection to the shared test server's maintenance database. */
    serverUrl: string;
  }
}

/** Finds or starts the one PostgreSQL server of this run; `createDatabase` in postgres.ts hands out databases on it. */
export default async function setup(project: TestProject): Promise<(() => Promise<void>) | undefined> {
  const given = process.env.TEST_DATABASE_URL;
  if (given) {
    console.log('[postgres] using the server of TEST_DATABASE_URL');
    project.provide('serverUrl', given);
    return undefined;
  }
  const server = await startServer();
  const { major, directory, cron } = server.binaries;
  console.log(
    `[postgres] PostgreSQL ${major} of ${directory} on port ${server.port}${cron ? ', with pg_cron' : ''}`,
  );
  project.provide('serverUrl', server.url);
  return () => server.stop();
}
