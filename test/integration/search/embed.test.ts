import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import type { Worker } from '../../../src/worker/worker.ts';
import { cosine, createMigratedDatabase, type MigratedDatabase, openReference, workerOn } from '../../support/pgembedder.ts';

let database: MigratedDatabase;
let worker: Worker;
const reference = openReference();
beforeAll(async () => {
  database = await createMigratedDatabase();
  await database.query('create extension dblink');
  worker = workerOn(database, {threads: 1});
  await worker.start();
});
afterAll(async () => {
  await worker?.stop();
  await reference.close();
  await database.drop();
});
const vectorOf = (text: string) => Float32Array.from(JSON.parse(text) as number[]);
describe('embed', () => {
  it('gives', async () => {
    const [wanted] = await reference.embed(['a small cat']);
    const { rows } = await database.query<{ e: string }>(`select embedder.embed('a small cat')::text as e`);
    expect(cosine(vectorOf(rows[0]!.e), wanted!)).toBeGreaterThan(0.999);
    const client = await database.pool.connect();
    for (const c of [0, 1]) {
    const times = [];
    for (let i = 0; i < 200; i++) {
      const begin = performance.now();
      await client.query(`select embedder.embed($1)`, ['number ' + i]);
      times.push(performance.now() - begin);
    }
    times.sort((a, b) => a - b);
    console.log(times[100], times[190]);
    }
    client.release();
  });
});
