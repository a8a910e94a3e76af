import { InMemorySpanExporter, NodeTracerProvider, SimpleSpanProcessor } from '@opentelemetry/sdk-trace-node';
import { afterAll, beforeAll, beforeEach, expect, it } from 'vitest';
import { createMigratedDatabase, type MigratedDatabase, workerOn } from '../../support/pgembedder.ts';
import { serveWorker } from '../http/support.ts';

const exporter = new InMemorySpanExporter();
const provider = new NodeTracerProvider({ spanProcessors: [new SimpleSpanProcessor(exporter)] });
let database: MigratedDatabase;

beforeAll(async () => {
  provider.register();
  database = await createMigratedDatabase();
  await database.query(`create table note (id int primary key, body text);
    select embedder.create_pipeline('note', 'body', index => 'none', enqueue_existing => false)`);
});
afterAll(async () => {
  await provider.shutdown();
  await database.drop();
});
beforeEach(() => exporter.reset());

/** The finished spans, each as `name < parent`. */
function spans(): string[] {
  const all = exporter.getFinishedSpans();
  const names = new Map(all.map((span) => [span.spanContext().spanId, span.name]));
  return all.map(({ name, parentSpanContext: parent }) =>
    parent ? `${name} < ${names.get(parent.spanId) ?? parent.spanId}` : name,
  );
}

it('the way of a row is one trace: claimed, read, tokenized, run and written', async () => {
  await database.query(`insert into note values (1, 'a secret text'), (2, 'another one')`);
  await workerOn(database).drain();
  expect(spans().sort()).toEqual([
    'pgembedder.claim < pgembedder.window',
    'pgembedder.read < pgembedder.window',
    'pgembedder.run < pgembedder.window',
    'pgembedder.tokenize < pgembedder.window',
    'pgembedder.window',
    'pgembedder.write < pgembedder.window',
  ]);
  const all = exporter.getFinishedSpans();
  expect(new Set(all.map((span) => span.spanContext().traceId)).size).toBe(1);
  expect(all.find(({ name }) => name === 'pgembedder.write')!.attributes).toEqual({
    'pgembedder.pipeline': 'note',
    'pgembedder.rows': 2,
  });
  expect(
    JSON.stringify(all.map(({ attributes, events, status }) => [attributes, events, status])),
  ).not.toMatch(/secret/);
});

it('a write that fails is marked, with its SQLSTATE and without its message', async () => {
  await database.query(`create function refuse() returns trigger language plpgsql as $$ begin raise 'not %', new.id; end $$;
    create trigger refuse before insert on note_embedding for each row execute function refuse();
    insert into note values (3, 'a third text')`);
  await workerOn(database).drain();
  const write = exporter.getFinishedSpans().find(({ name }) => name === 'pgembedder.write')!;
  expect([write.status, write.attributes['error.type'], write.events]).toEqual([{ code: 2 }, 'P0001', []]);
});

it('a request over HTTP belongs to the trace of its traceparent', async () => {
  const worker = workerOn(database);
  const http = await serveWorker(worker, database.url, {
    api: { defaultFor: () => ({ name: 'all-MiniLM-L6-v2' }), list: () => [] },
  });
  try {
    await worker.start();
    exporter.reset();
    const response = await fetch(`${http.url}/v1/embeddings`, {
      method: 'POST',
      headers: {
        'content-type': 'application/json',
        traceparent: '00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01',
      },
      body: JSON.stringify({ input: 'a text' }),
    });
    expect(response.status).toBe(200);
    const mine = exporter.getFinishedSpans();
    expect(mine.map(({ name }) => name).sort()).toEqual([
      'POST /v1/embeddings',
      'pgembedder.run',
      'pgembedder.tokenize',
    ]);
    expect(new Set(mine.map((span) => span.spanContext().traceId))).toEqual(
      new Set(['0af7651916cd43dd8448eb211c80319c']),
    );
    const request = mine.find(({ name }) => name.startsWith('POST'))!;
    expect(request.parentSpanContext?.spanId).toBe('b7ad6b7169203331');
    expect(request.attributes).toMatchObject({
      'http.route': '/v1/embeddings',
      'http.response.status_code': 200,
    });
  } finally {
    await http.close();
    await worker.stop();
  }
});
