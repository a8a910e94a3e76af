import { mkdirSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { packageRoot } from '../../../src/package-root.ts';
import type { Worker } from '../../../src/worker/worker.ts';
import { readDashboard } from '../../support/dashboard.ts';
import { drawDashboard } from '../../support/draw-dashboard.ts';
import { createMigratedDatabase, type MigratedDatabase, workerOn } from '../../support/pgembedder.ts';
import { pollUntil } from '../../support/poll-until.ts';
import { findProgram } from '../../support/program.ts';
import { type Prometheus, startPrometheus } from '../../support/prometheus.ts';
import { serveWorker, type TestHttpServer } from '../http/support.ts';

const TOKEN = 'a-token';
/** Rates over ten scrapes. */
const RATE_INTERVAL = '10s';
/** How long the load has to last for the picture. */
const PICTURE_SECONDS = 120;

const program = await findProgram('prometheus', 'prometheus');

describe.skipIf(program === null)('with a real Prometheus that scrapes a worker under load', () => {
  let database: MigratedDatabase;
  let worker: Worker;
  let http: TestHttpServer;
  let prometheus: Prometheus;
  let loading: Promise<void>;
  let loaded = false;

  beforeAll(async () => {
    database = await createMigratedDatabase();
    await database.query(`create table article (id int generated always as identity primary key, body text);
      create table note (id int generated always as identity primary key, body text);
      select embedder.create_pipeline('article', 'body', index => 'none', max_attempts => 2);
      select embedder.create_pipeline('note', 'body', index => 'none');
      alter table article_embedding add constraint unlucky check (id % 100 <> 13)`);
    worker = workerOn(database, { backoff: { baseSeconds: 1, limitSeconds: 1 } });
    http = await serveWorker(worker, database.url, {
      tokens: [{ token: TOKEN, scopes: ['read'] }],
    });
    prometheus = await startPrometheus(program!, {
      target: http.url,
      token: TOKEN,
      rules: join(packageRoot, 'deploy', 'prometheus', 'alerts.yml'),
    });
    await worker.start();
    loading = load();
  });
  afterAll(async () => {
    loaded = true;
    await loading;
    await prometheus.stop();
    await worker.stop();
    await http.close();
    await database.drop();
  });

  /** Waves of rows of many lengths, some changed while they are worked on. */
  async function load(): Promise<void> {
    for (let wave = 0; !loaded; wave++) {
      await database.query(
        `insert into article (body) select repeat('word ', 1 + (i * 37) % 60) || i from generate_series(1, $1) i`,
        [300 + 200 * (wave % 5)],
      );
      await database.query(
        `insert into note (body) select 'a short note, ' || i from generate_series(1, 200) i`,
      );
      await database.query(
        `update note set body = body || '.' where id % 7 = 0 and id > (select max(id) - 200 from note)`,
      );
      await pollUntil(
        async () => loaded || (await database.query('select from embedder.job')).rowCount! < 300,
        { what: 'a short queue', every: 200, deadline: 120_000 },
      );
    }
  }

  it('every query of every panel of the dashboard gives figures', { timeout: 300_000 }, async () => {
    const panels = readDashboard(RATE_INTERVAL);
    const queries = panels.flatMap(({ title, queries }) => queries.map((query) => ({ title, ...query })));
    expect(queries.length).toBeGreaterThan(30);
    let without = queries;
    await pollUntil(
      async () => {
        const answers = await Promise.all(
          without.map(async (query) => ({ query, series: await prometheus.query(query.expression) })),
        );
        without = answers
          .filter(({ series }) => !series.some(({ value }) => Number.isFinite(Number(value![1]))))
          .map(({ query }) => query);
        return without.length === 0;
      },
      { what: 'data in each panel', every: 500, deadline: 90_000 },
    ).catch(() => {});
    expect(without).toEqual([]);
    // The picture of the docs: WRITE_DOCS=1 npx vitest run test/integration/monitoring
    if (process.env.WRITE_DOCS) {
      const since = Date.now();
      await pollUntil(() => Date.now() - since > PICTURE_SECONDS * 1_000, {
        every: 1_000,
        deadline: 2 * PICTURE_SECONDS * 1_000,
      });
      const folder = join(packageRoot, 'docs', 'images');
      mkdirSync(folder, { recursive: true });
      writeFileSync(join(folder, 'dashboard.svg'), await drawDashboard(panels, prometheus, PICTURE_SECONDS));
    }
  });

  it('every alert is evaluated, and none is raised but of what this load does', async () => {
    const { groups } = (await prometheus.get('/api/v1/rules')) as {
      groups: { rules: { name: string; health: string; lastError?: string }[] }[];
    };
    const rules = groups.flatMap((group) => group.rules);
    expect(rules.length).toBeGreaterThan(8);
    expect(rules.filter(({ health }) => health !== 'ok')).toEqual([]);
    const raised = await prometheus.query('ALERTS{alertstate="firing"}');
    const names = new Set(raised.map(({ metric }) => metric.alertname));
    names.delete('PgembedderDeadLetters');
    expect([...names]).toEqual([]);
  });
});
