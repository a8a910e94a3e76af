import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { createMigratedDatabase, type MigratedDatabase, workerOn } from '../../support/pgembedder.ts';

let database: MigratedDatabase;
beforeAll(async () => {
  database = await createMigratedDatabase();
});
afterAll(() => database.drop());

describe('a worker whose device does not work', () => {
  it('does not start, says why, and was never to be seen', async () => {
    await database.query(`create table seen as select 0 as n`);
    await database.query(`create function see() returns trigger language plpgsql as
      $$ begin update public.seen set n = n + 1; return null; end $$`);
    await database.query(`create trigger see after insert on embedder.worker_process
      for each statement execute function see()`);
    const foreign = process.platform === 'win32' ? 'coreml' : 'dml';
    const worker = workerOn(database, { device: foreign });
    await expect(worker.start()).rejects.toMatchObject({
      name: 'UserError',
      message: `The device ${foreign} does not work: ONNX Runtime does not have it on this system`,
    });
    await expect(workerOn(database, { device: foreign }).drain()).rejects.toThrow('does not work');
    expect((await database.query('select n from seen')).rows).toEqual([{ n: 0 }]);
    await workerOn(database, { device: 'cpu' }).drain();
    expect((await database.query('select n from seen')).rows).toEqual([{ n: 1 }]);
  });
});
