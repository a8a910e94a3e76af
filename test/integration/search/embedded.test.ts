import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { sql } from 'kysely';
import { expect, it } from 'vitest';
import { openDatabase } from '../../../src/database/database.ts';
import { migrate } from '../../../src/database/migrate/migrate.ts';
import { startEmbedded } from '../../../src/embedded/start-embedded.ts';
import { knownModels, silent } from '../../support/pgembedder.ts';

it('the embedded Postgres searches by a vector, and says why it does not by a text', async () => {
  const directory = await mkdtemp(join(tmpdir(), 'pgembedder-search-'));
  const embedded = await startEmbedded(directory, { logger: silent });
  const database = openDatabase(embedded.connection);
  const query = (statement: string) => sql.raw(statement).execute(database);
  try {
    await migrate(database, knownModels());
    await query('create table doc (id int primary key, body text)');
    await query(`insert into doc values (1, 'one'), (2, 'two')`);
    await query(`select embedder.create_pipeline('doc', 'body')`);
    await query(
      `insert into doc_embedding (id, embedding, model) select id, (array[id, 1] || array_fill(0, array[382]))::vector, 'm' from doc`,
    );
    const vector = `(array[1, 0] || array_fill(0, array[382]))::vector`;
    const { rows } = await query(
      `select row_key, input from embedder.search('doc', ${vector}, 1, 'body like ''t%''')`,
    );
    expect(rows).toEqual([{ row_key: '2', input: 'two' }]);
    const { rows: both } = await query(
      `select row_key, full_text_rank from embedder.hybrid_search('doc', 'one', ${vector})`,
    );
    expect(both).toEqual([
      { row_key: '1', full_text_rank: 1 },
      { row_key: '2', full_text_rank: null },
    ]);
    await expect(query(`select * from embedder.search('doc', 'text')`)).rejects.toMatchObject({
      code: '0A000',
      hint: expect.stringContaining('pgembedder search'),
    });
  } finally {
    await database.destroy();
    await embedded.stop();
    await rm(directory, { recursive: true });
  }
});
