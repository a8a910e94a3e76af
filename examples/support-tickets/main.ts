// A worker and a small web application beside it. See README.md.
import { spawn } from 'node:child_process';
import { readFile } from 'node:fs/promises';
import { fileURLToPath } from 'node:url';
import { serve } from '@hono/node-server';
import pg from 'pg';
import { migrate, openDatabase } from 'pgembedder';
import { createApp } from './app.ts';

const url = process.env.DATABASE_URL;
if (!url) {
  console.error('Set DATABASE_URL to a database with pgvector: docker compose up -d postgres gives one');
  process.exit(2);
}
const port = Number(process.env.PORT ?? 3000);
const http = process.env.PGEMBEDDER_HTTP ?? '127.0.0.1:8089';

const database = openDatabase(url);
await migrate(database);
await database.destroy();
const pool = new pg.Pool({ connectionString: url });
await pool.query(await readFile(new URL('schema.sql', import.meta.url), 'utf8'));

// As it is deployed: a process of its own, which keeps rows and vectors in step and answers the application's questions. Where the
// package is installed this is `npx pgembedder work`.
const program = fileURLToPath(new URL('../../dist/cli/main.js', import.meta.url));
const worker = spawn(process.execPath, [program, 'work'], {
  env: { ...process.env, PGEMBEDDER_HTTP: http },
  stdio: 'inherit',
});
const app = createApp({ pool, inference: `http://${http}` });
const server = serve({ fetch: app.fetch, port, hostname: '127.0.0.1' }, () =>
  console.log(`tickets at http://127.0.0.1:${port}`),
);

for (const signal of ['SIGINT', 'SIGTERM'] as const)
  process.once(signal, () => {
    server.close();
    worker.kill('SIGTERM');
    worker.once('exit', () => void pool.end());
  });
