import { execFile } from 'node:child_process';
import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { promisify } from 'node:util';
import { describe, expect, it } from 'vitest';
import { describeMetrics } from '../../../src/http/metrics/metrics.ts';
import { packageRoot } from '../../../src/package-root.ts';
import { readDashboard } from '../../support/dashboard.ts';
import { createMigratedDatabase, workerOn } from '../../support/pgembedder.ts';
import { findProgram } from '../../support/program.ts';
import { serveWorker } from '../http/support.ts';

const run = promisify(execFile);
const folder = join(packageRoot, 'deploy', 'prometheus');
const program = await findProgram('promtool', 'prometheus');
const promtool = (...args: string[]) =>
  run(program!.path, args, { cwd: folder, env: { ...process.env, ...program!.env } });

describe.skipIf(program === null)('promtool', () => {
  it('takes prometheus.yml and alerts.yml', async () => {
    // Without looking for the file of the token, which is there in the container only.
    expect((await promtool('check', 'config', '--syntax-only', 'prometheus.yml')).stdout).toContain(
      'SUCCESS',
    );
    expect((await promtool('check', 'rules', 'alerts.yml')).stdout).toMatch(/SUCCESS: \d+ rules found/);
  });

  it('finds that each alert comes and goes when it has to', async () => {
    expect((await promtool('test', 'rules', 'alerts.test.yml')).stdout).toContain('SUCCESS');
    const names = (file: string, mark: RegExp) =>
      new Set([...readFileSync(join(folder, file), 'utf8').matchAll(mark)].map(([, name]) => name));
    expect(names('alerts.test.yml', /alertname: (\w+)\n\s+exp_alerts:\n/g)).toEqual(
      names('alerts.yml', /- alert: (\w+)/g),
    );
  });

  it('has nothing to say against the names of the metrics', async () => {
    const database = await createMigratedDatabase();
    const worker = workerOn(database);
    const http = await serveWorker(worker, database.url);
    try {
      const text = await http.metrics();
      const ours = text.split('\n').filter((line) => line.includes('pgembedder_'));
      const check = execFile(program!.path, ['check', 'metrics'], {
        env: { ...process.env, ...program!.env },
      });
      const said: string[] = [];
      check.stdout!.on('data', (chunk: string) => said.push(chunk));
      check.stderr!.on('data', (chunk: string) => said.push(chunk));
      check.stdin!.end(`${ours.join('\n')}\n`);
      const code = await new Promise((resolve) => check.once('close', resolve));
      expect([said.join(''), code]).toEqual(['', 0]);
    } finally {
      await http.close();
      await worker.stop();
      await database.drop();
    }
  });
});

it('alerts and dashboard use metrics that there are', () => {
  const known = new Set(
    describeMetrics().flatMap(({ name, type }) =>
      type === 'histogram' ? [`${name}_bucket`, `${name}_sum`, `${name}_count`] : [name],
    ),
  );
  const expressions = [
    readFileSync(join(folder, 'alerts.yml'), 'utf8'),
    ...readDashboard('1m').flatMap(({ queries }) => queries.map(({ expression }) => expression)),
  ];
  const used = expressions.flatMap((text) => text.match(/\bpgembedder_\w+/g) ?? []);
  expect(used.length).toBeGreaterThan(30);
  expect(used.filter((name) => !known.has(name))).toEqual([]);
});
