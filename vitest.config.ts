import { join } from 'node:path';
import { defineConfig } from 'vitest/config';

export default defineConfig({
  test: {
    include: ['test/**/*.test.ts'],
    // Nowhere: the models of whoever runs the tests are none of theirs.
    env: { XDG_DATA_HOME: join(import.meta.dirname, 'test', 'none') },
    globalSetup: 'test/support/global-setup.ts',
    // Two cores are shared by the tests, PostgreSQL and the engines: more workers only make each of them slower.
    maxWorkers: 2,
    testTimeout: 60_000,
    hookTimeout: 300_000,
  },
});
