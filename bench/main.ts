import { writeFile } from 'node:fs/promises';
import { availableParallelism, cpus, loadavg, totalmem } from 'node:os';
import { parseArgs } from 'node:util';
import { printRow } from './print.ts';
import { type Figure, type Row, reached } from './row.ts';
import { backfill } from './rows/backfill.ts';
import { chunks } from './rows/chunks.ts';
import { claims } from './rows/claims.ts';
import { drain } from './rows/drain.ts';
import { engine } from './rows/engine.ts';
import { http } from './rows/http.ts';
import { insert } from './rows/insert.ts';
import { latency } from './rows/latency.ts';
import { locks } from './rows/locks.ts';
import { memory } from './rows/memory.ts';
import { pipelines } from './rows/pipelines.ts';
import { queue } from './rows/queue.ts';
import { rerank } from './rows/rerank.ts';
import { sparse } from './rows/sparse.ts';
import { start } from './rows/start.ts';
import { transformers } from './rows/transformers.ts';
import { workers } from './rows/workers.ts';
import { startBenchServer } from './support/database.ts';

const ROWS: readonly Row[] = [
  drain,
  transformers,
  engine,
  rerank,
  sparse,
  queue,
  workers,
  claims,
  insert,
  latency,
  start,
  backfill,
  pipelines,
  chunks,
  locks,
  http,
];
/** Rows that run only when they are named. */
const NAMED: readonly Row[] = [memory];

const ALL = [...ROWS, ...NAMED];

const HELP = `npm run bench -- [--only NAME]... [--quick] [--json [FILE]]

  --only NAME    just this row; may be given more than once: ${ALL.map(({ name }) => name).join(', ')}
  --quick        small sizes and few runs: shows that it works, the figures say little
  --json [FILE]  the figures as JSON, in a file or on standard output

bench/README.md says what each row measures. Exit code: 1 when a bar is missed.`;

interface Options {
  rows: readonly Row[];
  quick: boolean;
  /** '-' is standard output. */
  json: string | undefined;
}

function readOptions(): Options {
  const { values, positionals } = parseArgs({
    // `--json` alone is for standard output.
    args: process.argv
      .slice(2)
      .map((arg, i, all) =>
        arg === '--json' && (all[i + 1] === undefined || all[i + 1]!.startsWith('--')) ? '--json=-' : arg,
      ),
    options: {
      only: { type: 'string', multiple: true },
      quick: { type: 'boolean', default: false },
      json: { type: 'string' },
      help: { type: 'boolean', short: 'h', default: false },
    },
    allowPositionals: true,
  });
  if (values.help) {
    console.log(HELP);
    process.exit(0);
  }
  const unknown = values.only?.filter((name) => !ALL.some((row) => row.name === name)) ?? [];
  if (positionals.length > 0 || unknown.length > 0) {
    console.error(`unknown: ${[...positionals, ...unknown].join(', ')}\n\n${HELP}`);
    process.exit(2);
  }
  return {
    rows: values.only ? ALL.filter(({ name }) => values.only!.includes(name)) : ROWS,
    quick: values.quick,
    json: values.json,
  };
}

async function main({ rows, quick, json }: Options): Promise<void> {
  const table = json !== '-';
  const server = await startBenchServer();
  const results: { row: string; title: string; load: number; figures: readonly Figure[] }[] = [];
  try {
    for (const row of rows) {
      const load = loadavg()[0]!;
      if (table && load > 1) console.log(`\nload average ${load.toFixed(1)}: something else is running`);
      const figures = await row.measure({
        server,
        quick,
        say: (line) => console.error(`  ${line}`),
      });
      if (table) printRow(row, figures);
      results.push({ row: row.name, title: row.title, load, figures });
    }
  } finally {
    await server.stop();
  }
  const figures = results.flatMap((result) => result.figures);
  if (json !== undefined) {
    const report = {
      date: new Date().toISOString(),
      quick,
      machine: {
        cpu: cpus()[0]?.model,
        cores: availableParallelism(),
        memoryGiB: Math.round(totalmem() / 2 ** 30),
        node: process.version,
        postgres: server.binaries.major,
      },
      rows: results.map(({ figures, ...row }) => ({
        ...row,
        figures: figures.map((figure) => ({ ...figure, reached: reached(figure) })),
      })),
    };
    const text = `${JSON.stringify(report, null, 2)}\n`;
    if (table) await writeFile(json, text);
    else process.stdout.write(text);
  }
  if (figures.some((figure) => reached(figure) === false)) process.exitCode = 1;
}

await main(readOptions());
