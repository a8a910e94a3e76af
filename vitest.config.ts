import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { defineConfig } from 'vitest/config';

const scratch = join(tmpdir(), `pgembedder-test-${process.pid}`);

export default defineConfig({
  test: {
    include: ['test/**/*.test.ts'],
    globalSetup: 'test/support/global-setup.ts',
    // Two cores are shared by the tests, PostgreSQL and the engines: more workers only make each of them slower.
    maxWorkers: 2,
    // What tests leave behind goes with this folder (test/support/global-setup.ts), also what is found out about the
    // machine and would else be kept in the user's own cache folder.
    env: { TMPDIR: scratch, XDG_CACHE_HOME: join(scratch, 'cache') },
    testTimeout: 60_000,
    hookTimeout: 300_000,
  },
});
