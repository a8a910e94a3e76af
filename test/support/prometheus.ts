import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { mkdtemp, readFile, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { pollUntil } from './poll-until.ts';
import type { Program } from './program.ts';
import { freePort } from './server.ts';

/** One series of an answer: its labels, and [time in s, value as text]. */
export interface Series {
  metric: Record<string, string>;
  value?: [number, string];
  values?: [number, string][];
}

/** A Prometheus that scrapes one target each second. */
export interface Prometheus {
  readonly url: string;
  /** What an expression gives now. */
  query(expression: string): Promise<Series[]>;
  /** What it gives over the last `seconds`, each second. */
  queryRange(expression: string, seconds: number): Promise<Series[]>;
  get(path: string): Promise<unknown>;
  stop(): Promise<void>;
}

/**
 * Starts one.
 * @param target the URL of a worker
 * @param rules the file with the alerts
 */
export async function startPrometheus(
  program: Program,
  options: { target: string; token: string; rules: string },
): Promise<Prometheus> {
  const directory = await mkdtemp(join(tmpdir(), 'pgembedder-prometheus-'));
  const port = await freePort();
  await writeFile(join(directory, 'token'), options.token);
  await writeFile(
    join(directory, 'prometheus.yml'),
    `global: { scrape_interval: 1s, evaluation_interval: 1s }
rule_files: [${JSON.stringify(options.rules)}]
scrape_configs:
  - job_name: pgembedder
    authorization: { credentials_file: token }
    static_configs: [{ targets: [${JSON.stringify(new URL(options.target).host)}] }]
`,
  );
  const logFile = join(directory, 'log');
  const child = spawn(
    'sh',
    [
      '-c',
      'exec "$@" >"$0" 2>&1',
      logFile,
      program.path,
      `--config.file=${directory}/prometheus.yml`,
      `--storage.tsdb.path=${directory}/data`,
      `--web.listen-address=127.0.0.1:${port}`,
    ],
    { cwd: directory, env: { ...process.env, ...program.env }, stdio: 'ignore' },
  );
  const exited = once(child, 'exit');
  const url = `http://127.0.0.1:${port}`;
  await pollUntil(
    async () => {
      if (child.exitCode !== null)
        throw new Error(`Prometheus has ended: ${await readFile(logFile, 'utf8')}`);
      return fetch(`${url}/-/ready`).then(
        ({ ok }) => ok,
        () => false,
      );
    },
    { what: 'Prometheus', every: 100 },
  );
  const get = async (path: string) => {
    const response = await fetch(url + path);
    const { data, error } = (await response.json()) as { data?: unknown; error?: string };
    if (error !== undefined) throw new Error(`${path}: ${error}`);
    return data;
  };
  const query = async (path: string) => ((await get(path)) as { result: Series[] }).result;
  return {
    url,
    query: (expression) => query(`/api/v1/query?query=${encodeURIComponent(expression)}`),
    queryRange(expression, seconds) {
      const end = Date.now() / 1_000;
      return query(
        `/api/v1/query_range?query=${encodeURIComponent(expression)}&start=${end - seconds}&end=${end}&step=1`,
      );
    },
    get,
    async stop() {
      child.kill('SIGTERM');
      await exited;
      await rm(directory, { recursive: true });
    },
  };
}
