import { readFileSync } from 'node:fs';
import { createRequire } from 'node:module';
import type { Browser, Page } from 'playwright-core';
import { afterAll, afterEach, beforeAll, expect, it } from 'vitest';
import type { Shown } from '../../../src/http/operate/shown.ts';
import { readOpened } from '../../../src/http/search/opened.ts';
import type { Worker } from '../../../src/worker/worker.ts';
import { openBrowser } from '../../support/browser.ts';
import {
  createMigratedDatabase,
  FakeEmbedder,
  type MigratedDatabase,
  workerOn,
} from '../../support/pgembedder.ts';
import { serveWorker, type TestHttpServer } from './support.ts';

const odd = 'Ärger / mit "Namen" & <b>?#%';
const axe = readFileSync(createRequire(import.meta.url).resolve('axe-core'), 'utf8');

const models = { defaultFor: () => null, list: () => [] };
let database: MigratedDatabase;
let worker: Worker;
let http: TestHttpServer;
let browser: Browser;
let page: Page;
const faults: string[] = [];

beforeAll(async () => {
  browser = await openBrowser();
  database = await createMigratedDatabase();
  await database.query(`create table note (id int primary key, body text);
    select embedder.create_pipeline('note', 'body', max_attempts => 1, index => 'none');
    create table "${odd.replaceAll('"', '""')}" (id text primary key, body text);`);
  await database.query(`select embedder.create_pipeline($1, 'body', name => $2)`, [
    `"${odd.replaceAll('"', '""')}"`,
    odd,
  ]);
  // A row that the target refuses is a dead letter at once.
  await database.query(`create function refuse() returns trigger language plpgsql as $$ begin
      if new.id = 7 then raise 'this row is <i>not</i> welcome'; end if; return new; end $$;
    create trigger refuse before insert on note_embedding for each row execute function refuse();
    insert into note select n, 'text ' || n from generate_series(1, 10) n`);
  worker = workerOn(database, { embedder: new FakeEmbedder() });
  await worker.start();
  http = await serveWorker(worker, database.url, {
    search: { opened: [{ ...readOpened('note')[0]!, filters: { id: 'id = $1' }, columns: ['id'] }], models },
    endpoints: [
      { name: 'cloud', models: [{ name: 'small' }, { name: 'large' }] },
      { name: 'spare', models: [{ name: 'small' }] },
    ],
  });
});
afterAll(async () => {
  await browser?.close();
  await http?.close();
  await worker?.stop();
  await database?.drop();
});
afterEach(async () => {
  await page?.close();
  expect(faults).toEqual([]);
});

async function open(
  path: string,
  options: Parameters<Browser['newPage']>[0] = {},
  url = http.url,
): Promise<void> {
  page = await browser.newPage(options);
  page.on('pageerror', ({ message }) => faults.push(message));
  page.on('console', (message) => {
    if (message.type() === 'error' && !/status of 40[13]/.test(message.text())) faults.push(message.text());
  });
  page.on('request', (request) => {
    if (!request.url().startsWith(url) && !request.url().startsWith('data:'))
      faults.push(`asks for ${request.url()}`);
  });
  await page.goto(url + path);
}

/** Presses a button and says yes. */
async function press(name: string): Promise<void> {
  await page.getByRole('button', { name, exact: true }).click();
  await page.getByRole('button', { name: 'Yes' }).click();
}

const cell = (row: string, label: string) =>
  page.getByRole('row', { name: row }).locator(`[data-label="${label}"]`);

it('shows every pipeline, the workers and what goes on, without being loaded again', async () => {
  await open('/');
  await page.getByRole('link', { name: odd }).waitFor();
  await cell('note', 'failed').getByText('1', { exact: true }).waitFor();
  await page.getByText(`process ${process.pid}`).waitFor();
  await database.query(`insert into note values (11, 'one more')`);
  await cell('note', 'rows').getByText('11', { exact: true }).waitFor();
  await database.query('delete from note where id = 11');
});

it('pauses and resumes a pipeline, after asking', async () => {
  await open('/#/pipeline/note');
  await page.getByRole('button', { name: 'Pause' }).click();
  await page.getByRole('button', { name: 'Cancel' }).click();
  const paused = async () =>
    (await database.query(`select paused from embedder.pipeline where name = 'note'`)).rows[0];
  expect(await paused()).toEqual({ paused: false });
  await press('Pause');
  await page.getByText('It is paused').waitFor();
  expect(await paused()).toEqual({ paused: true });
  await press('Resume');
  await page.getByText('It goes on').waitFor();
  expect(await paused()).toEqual({ paused: false });
});

it('shows failed rows with their errors, and tries one or all again', async () => {
  await open('/#/pipeline/note');
  await page.getByText('this row is <i>not</i> welcome').waitFor();
  await press('Retry row 7');
  await page.getByText('The row is tried again').waitFor();
  await database.query('drop trigger refuse on note_embedding');
  await page.getByRole('button', { name: 'Retry failed' }).waitFor();
  await press('Retry failed');
  await page.getByText(/Tried again: [01] rows/).waitFor();
  await page.getByText('None.').waitFor();
  const { rows } = await database.query('select from note_embedding where id = 7');
  expect(rows).toHaveLength(1);
});

it('backfills, and cuts over to the next generation', async () => {
  await database.query(`alter table note disable trigger all`);
  await database.query(`insert into note values (12, 'unseen')`);
  await database.query(`alter table note enable trigger all`);
  await open('/#/pipeline/note');
  const done = new Promise<void>((resolve) => {
    worker.events.on('completed', ({ pipeline }) => pipeline === 'note' && resolve());
  });
  await press('Backfill');
  await page.getByText('Rows that lack a result are looked for').waitFor();
  await done;
  expect((await database.query('select from note_embedding where id = 12')).rows).toHaveLength(1);
  await database.query(`select embedder.alter_pipeline('note', input => 'note: {body}')`);
  await page.getByText(/next: all-MiniLM-L6-v2, .* %, filled/).waitFor();
  await press('Cut over');
  await page.getByText('Generation 2, live').waitFor();
});

it('says what a role may not do, and what the server did not know', async () => {
  const post = (path: string, body = '{}', type = 'application/json') =>
    fetch(http.url + path, { method: 'POST', headers: { 'content-type': type }, body });
  const answers = await Promise.all([
    post('/v1/pipelines/nothing/pause'),
    post('/v1/pipelines/note/burn'),
    post('/v1/pipelines/note/pause', '{"a": 1}'),
    post('/v1/pipelines/note/retry', '{"row_key": "no number"}'),
    post('/v1/pipelines/note/cutover'),
    post('/v1/pipelines/note/pause', 'a=b', 'application/x-www-form-urlencoded'),
    fetch(`${http.url}/v1/pipelines/nothing`),
    fetch(`${http.url}/v1/pipelines/note/pause`),
  ]);
  expect(answers.map(({ status }) => status)).toEqual([404, 404, 400, 422, 422, 415, 404, 405]);
});

it('searches a pipeline that is open, says how long it took, and what is refused', async () => {
  await open('/#/pipeline/note');
  const region = page.getByRole('region', { name: 'Search' });
  await region.getByLabel('Query').fill('note: text 3');
  await region.getByRole('button', { name: 'Search' }).click();
  await region.getByText(/^10 results: embedded in .* ms, searched in .* ms, here after .* ms$/).waitFor();
  // The vector of the same text.
  expect(await region.getByRole('row').nth(1).textContent()).toMatch(/^\s*3\s*1\.000/);
  expect(await problems()).toEqual([]);
  await region.getByLabel('id').fill('4');
  await region.getByLabel('words too').check();
  await page.keyboard.press('Enter');
  await region.getByText(/^1 result:/).waitFor();
  await page.setViewportSize({ width: 390, height: 800 });
  expect(await problems()).toEqual([]);
  await region.getByLabel('id').fill('four');
  await page.keyboard.press('Enter');
  faults.length = 0;
  await region.getByText('A value does not fit').waitFor();
  faults.length = 0;
  await page.getByRole('link', { name: 'All pipelines' }).click();
  await page.getByRole('link', { name: odd }).click();
  await page.getByRole('heading', { name: odd }).waitFor();
  expect(await region.count()).toBe(0);
});

it('shows the endpoints, as they have answered', async () => {
  await open('/');
  await page.getByRole('heading', { name: 'Endpoints' }).waitFor();
  await cell('spare', 'state').getByText('unused').waitFor();
  worker.events.emit('endpointRequest', { endpoint: 'cloud', outcome: '200' });
  worker.events.emit('endpointTokens', { endpoint: 'cloud', model: 'cloud:small', tokens: 1234 });
  await cell('cloud', 'state').getByText('answering').waitFor();
  await cell('cloud', 'tokens').getByText('1,234').waitFor();
  worker.events.emit('endpointRequest', { endpoint: 'cloud', outcome: '429' });
  worker.events.emit('endpointWait', { endpoint: 'cloud', reason: '429', ms: 3_600_000 });
  await cell('cloud', 'state')
    .getByText(/waiting\s+(60 min|1 h)/)
    .waitFor();
  await cell('cloud', 'refused').getByText('1', { exact: true }).waitFor();
  expect(await problems()).toEqual([]);
});

it('gives the throughput in numbers beside the picture', async () => {
  const now = (await (await fetch(`${http.url}/v1/status`)).json()) as Shown;
  const pipelines = now.pipelines.map((each) => ({ ...each, minutes: [10, 3000, 5] }));
  const shown: Shown = { ...now, pipelines };
  const told = `event: status\ndata: ${JSON.stringify(shown)}\n\n`;
  page = await browser.newPage();
  // The hour of a server that has just started is empty: the page is told of another one, on a stream that stays open.
  await page.addInitScript(`{ const real = fetch; fetch = (path, options) => path !== '/v1/events' ? real(path, options)
    : Promise.resolve(new Response(new ReadableStream({ start: (to) => to.enqueue(new TextEncoder().encode(${JSON.stringify(told)})) }))); }`);
  await page.goto(`${http.url}/#/pipeline/note`);
  const figure = (title: string) => page.locator('dl.figures div', { hasText: title }).locator('dd');
  await figure('last 3 min').getByText('3,015 rows').waitFor();
  await figure('best minute').getByText('3,000 rows').waitFor();
  await figure('last minute').getByText('5 rows', { exact: true }).waitFor();
});

it('says that the server is away, and goes on when it is back', async () => {
  const first = await serveWorker(worker, database.url);
  const port = Number(new URL(first.url).port);
  await open('/#/pipeline/note', {}, first.url);
  await page.getByRole('heading', { name: 'Generation 2, live' }).waitFor();
  await first.close();
  await page.getByText(/^The server (has ended the connection|is away); trying again/).waitFor();
  const second = await serveWorker(worker, database.url, { address: { host: '127.0.0.1', port } });
  try {
    await page.getByRole('heading', { name: 'Generation 2, live' }).waitFor();
    expect(await page.getByText('trying again').count()).toBe(0);
    await press('Pause');
    await page.getByText('It is paused').waitFor();
    await press('Resume');
    await page.getByText('It goes on').waitFor();
  } finally {
    await second.close();
    // A page says in its console what it could not reach.
    faults.length = 0;
  }
});

it('takes no action from a page of another site, and may not be put into one', async () => {
  // What a page may send to another site without asking it first: no body, a form, plain text.
  const simple = [
    {},
    { body: new URLSearchParams({ row_key: '7' }) },
    { body: '{}', headers: { 'content-type': 'text/plain' } },
  ];
  for (const request of simple) {
    const headers = { ...request.headers, origin: 'https://other.example' };
    const { status } = await fetch(`${http.url}/v1/pipelines/note/pause`, {
      method: 'POST',
      ...request,
      headers,
    });
    expect(status).toBe(415);
  }
  const { rows } = await database.query<{ paused: boolean }>(
    "select paused from embedder.pipeline where name = 'note'",
  );
  expect(rows[0]!.paused).toBe(false);
  const { headers } = await fetch(http.url);
  expect(headers.get('content-security-policy')).toContain("frame-ancestors 'none'");
});

it('asks for a token where one is set, and lets it do no more than it may', async () => {
  const guarded = await serveWorker(worker, database.url, {
    tokens: [{ token: 'reader', scopes: ['read'] }],
  });
  try {
    await open('/#/pipeline/note', {}, guarded.url);
    await page.getByLabel('A token').fill('wrong');
    await page.getByRole('button', { name: 'Show' }).click();
    await page.getByText('The token is not one that this server knows').waitFor();
    await page.getByLabel('A token').fill('reader');
    await page.getByRole('button', { name: 'Show' }).click();
    await page.getByRole('heading', { name: 'note' }).waitFor();
    await press('Pause');
    await page.getByText('it lacks the scope operate').waitFor();
  } finally {
    await guarded.close();
  }
});

it('lets other machines look without a token, where that is allowed, and not act', async () => {
  const open = await serveWorker(worker, database.url, { address: { host: '0.0.0.0', port: 0 } });
  try {
    const url = open.url.replace('0.0.0.0', '127.0.0.1');
    const headers = { 'content-type': 'application/json' };
    const acted = await fetch(`${url}/v1/pipelines/note/pause`, { method: 'POST', headers, body: '{}' });
    expect([(await fetch(`${url}/v1/status`)).status, acted.status]).toEqual([200, 403]);
  } finally {
    await open.close();
  }
});

it.each([
  ['light', 1280],
  ['dark', 1280],
  ['dark', 390],
] as const)('is accessible and fits: %s, %d pixels', async (colorScheme, width) => {
  await open('/', { colorScheme, viewport: { width, height: 800 } });
  await page.getByRole('link', { name: odd }).waitFor();
  expect(await problems()).toEqual([]);
  await page.getByRole('link', { name: odd }).focus();
  await page.keyboard.press('Enter');
  await page.getByRole('heading', { name: 'Generation 1, live' }).waitFor();
  expect(await problems()).toEqual([]);
  await page.getByRole('button', { name: 'Pause' }).focus();
  await page.keyboard.press('Enter');
  await page.getByRole('dialog').waitFor();
  expect(await problems()).toEqual([]);
  await page.keyboard.press('Escape');
  await page.getByRole('dialog').waitFor({ state: 'detached' });
  expect(await page.evaluate('document.activeElement.textContent')).toBe('Pause');
});

/** What axe finds, and whether the page is wider than its window. */
async function problems(): Promise<string[]> {
  await page.evaluate(axe);
  const { violations } = (await page.evaluate('axe.run()')) as {
    violations: { id: string; nodes: { html: string }[] }[];
  };
  const wide = await page.evaluate('document.documentElement.scrollWidth > innerWidth');
  return [
    ...violations.flatMap(({ id, nodes }) => nodes.map((node) => `${id}: ${node.html}`)),
    ...(wide ? ['wider than the window'] : []),
  ];
}

it('is light', async () => {
  let size = 0;
  page = await browser.newPage();
  page.on('response', (response) => {
    if (!response.url().includes('/v1/')) void response.body().then((body) => (size += body.length));
  });
  await page.goto(http.url);
  await page.getByRole('link', { name: odd }).waitFor();
  expect(size).toBeGreaterThan(10_000);
  expect(size).toBeLessThan(100_000);
});
