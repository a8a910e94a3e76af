import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { defineConfig } from 'vitest/config';

export default defineConfig({
  test: {
    include: ['test/**/*.test.ts'],
    globalSetup: 'test/support/global-setup.ts',
    // Two cores are shared by the tests, PostgreSQL and the engines: more workers only make each of them slower.
    maxWorkers: 2,
    // What is found out about the machine is not for its user's own cache folder.
    env: { XDG_CACHE_HOME: join(tmpdir(), `pgembedder-test-cache-${process.pid}`) },
    testTimeout: 60_000,
    hookTimeout: 300_000,
  },
});
