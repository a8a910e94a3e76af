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
    // What tests leave behind goes with this folder (test/support/global-setup.ts). The models of whoever runs the tests
    // are none of theirs.
    env: { TMPDIR: scratch, XDG_DATA_HOME: join(scratch, 'data') },
    testTimeout: 60_000,
    hookTimeout: 300_000,
  },
});
