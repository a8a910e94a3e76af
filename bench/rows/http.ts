import { fork } from 'node:child_process';
import { once } from 'node:events';
import { existsSync } from 'node:fs';
import { type AddressInfo, createServer } from 'node:net';
import { fileURLToPath } from 'node:url';
import { pino } from 'pino';
import type { Bench, Figure, Row } from '../row.ts';
import { cpu, createModelStore, definePipeline, openEmbedder } from '../support/built.ts';
import { callers, type Load, untilAnswered } from '../support/callers.ts';
import { type BenchDatabase, createBenchDatabase } from '../support/database.ts';
import { glosses } from '../support/texts.ts';
import { startWorkCommand, stopWorkCommand } from '../support/worker-command.ts';

const CALLERS = 12;
/** Callers with 32 texts each: enough that a batch waits when one is done. */
const BATCH_CALLERS = 4;
const BATCH = 32;

/**
 * A worker as an embedding server: 12 callers who each send one random gloss, wait for its vector and send the next one, alone and
 * while the worker fills a pipeline; 4 callers with 32 glosses each against the engine alone; and a plain server round
 * transformers.js under the first load.
 */
export const http: Row = {
  name: 'http',
  title: 'vectors over HTTP',
  async measure(bench) {
    const { server, quick, say } = bench;
    const texts = await glosses(quick ? 20_000 : 100_000);
    const random = () => texts[Math.floor(Math.random() * texts.length)]!;
    const single = () => JSON.stringify({ input: random() });
    const many = () => JSON.stringify({ input: Array.from({ length: BATCH }, random) });
    const seconds = quick ? 10 : 180;
    const part = quick ? 5 : 30;
    const database = await createBenchDatabase(server, 'http');
    const port = await freePort();
    const url = `http://127.0.0.1:${port}/v1/embeddings`;
    const worker = startWorkCommand(database.url, { PGEMBEDDER_HTTP: `127.0.0.1:${port}` });
    try {
      await untilAnswered(url, single());
      await callers(url, { count: CALLERS, seconds: part, bodyOf: single });
      const alone = await callers(url, { count: CALLERS, seconds, bodyOf: single });
      say(`alone: ${shown(alone)}`);
      const batches = await callers(url, { count: BATCH_CALLERS, seconds: part, bodyOf: many });
      const { own, during, load } = await beside(database, texts, part, () =>
        callers(url, { count: CALLERS, seconds: part, bodyOf: single }),
      );
      say(`beside a backfill of ${own.toFixed(0)} rows/s, then ${during.toFixed(0)}: ${shown(load)}`);
      await stopWorkCommand(worker);
      const engine = await engineAlone(texts.slice(0, quick ? 3_000 : 12_000));
      return [
        { name: 'alone: requests', value: alone.perSecond, unit: '/s', bar: { atLeast: 800 } },
        { name: 'alone: p95', value: alone.p95, unit: 'ms', bar: { atMost: 40 } },
        { name: 'alone: failed', value: alone.failed, unit: 'requests', bar: { atMost: 0 } },
        { name: 'beside a backfill: requests', value: load.perSecond, unit: '/s' },
        { name: 'beside a backfill: p95', value: load.p95, unit: 'ms', bar: { atMost: 120 } },
        {
          name: 'beside a backfill: its speed',
          value: during / own,
          unit: 'of its own',
          bar: { atLeast: 0.5 },
        },
        { name: 'batches of 32: texts', value: batches.perSecond * BATCH, unit: '/s' },
        {
          name: 'batches of 32 / engine alone',
          value: (batches.perSecond * BATCH) / engine,
          unit: 'x',
          bar: { atLeast: 0.9 },
        },
        ...(await rival(bench, alone, { seconds: part, bodyOf: single })),
      ];
    } finally {
      if (worker.exitCode === null) await stopWorkCommand(worker);
      await database.drop();
    }
  },
};

function shown({ perSecond, p95, failed }: Load): string {
  return `${perSecond.toFixed(0)} requests/s, p95 ${p95.toFixed(1)} ms, ${failed} failed`;
}

/** The rows a second of a filling by itself and while something else goes on. */
async function beside(
  database: BenchDatabase,
  texts: readonly string[],
  seconds: number,
  run: () => Promise<Load>,
) {
  const { client, kysely } = database;
  await client.query('create table note (id bigint generated always as identity primary key, body text)');
  await client.query('insert into note (body) select unnest($1::text[])', [texts]);
  await definePipeline(kysely, { source: 'note', input: 'body', index: 'none' });
  const done = async () =>
    Number((await client.query<{ n: string }>('select count(*) as n from note_embedding')).rows[0]!.n);
  const rate = async (wait: () => Promise<unknown>) => {
    const [from, begin] = [await done(), performance.now()];
    await wait();
    return ((await done()) - from) / ((performance.now() - begin) / 1_000);
  };
  while ((await done()) === 0) await new Promise((resolve) => setTimeout(resolve, 50));
  const own = await rate(() => new Promise((resolve) => setTimeout(resolve, seconds * 1_000)));
  let load: Load | undefined;
  const during = await rate(async () => {
    load = await run();
  });
  return { own, during, load: load! };
}

/** Texts a second of the engine in this process, without HTTP. */
async function engineAlone(texts: readonly string[]): Promise<number> {
  const embedder = openEmbedder({ logger: pino({ level: 'error' }), device: cpu, directories: [] });
  try {
    const model = embedder.find('all-MiniLM-L6-v2', 'feature-extraction');
    await embedder.embedTexts(model, texts);
    const begin = performance.now();
    await embedder.embedTexts(model, texts);
    return texts.length / ((performance.now() - begin) / 1_000);
  } finally {
    await embedder.stop();
  }
}

async function rival(
  { say }: Bench,
  own: Load,
  load: { seconds: number; bodyOf: () => string },
): Promise<Figure[]> {
  const folder = new URL('../rivals/transformers/', import.meta.url);
  if (!existsSync(new URL('node_modules/@huggingface/transformers', folder))) {
    const note = 'transformers.js is not installed: npm ci --prefix bench/rivals/transformers';
    return [{ name: 'alone / transformers.js', value: null, unit: 'x', note }];
  }
  const { directory } = createModelStore({ directories: [] }).find('all-MiniLM-L6-v2');
  const port = await freePort();
  const file = fileURLToPath(new URL('plain-server.mjs', folder));
  const server = fork(file, [JSON.stringify({ directory }), String(port)], { execArgv: [] });
  await once(server, 'message');
  const url = `http://127.0.0.1:${port}/`;
  await callers(url, { count: CALLERS, ...load, seconds: 2 });
  const theirs = await callers(url, { count: CALLERS, ...load });
  server.disconnect();
  say(`transformers.js: ${shown(theirs)}`);
  return [
    { name: 'transformers.js: requests', value: theirs.perSecond, unit: '/s' },
    { name: 'transformers.js: p95', value: theirs.p95, unit: 'ms' },
    { name: 'alone / transformers.js', value: own.perSecond / theirs.perSecond, unit: 'x' },
  ];
}

async function freePort(): Promise<number> {
  const server = createServer().listen(0, '127.0.0.1');
  await once(server, 'listening');
  const { port } = server.address() as AddressInfo;
  server.close();
  await once(server, 'close');
  return port;
}
