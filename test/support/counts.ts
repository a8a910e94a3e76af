import type { TestDatabase } from './postgres.ts';

interface Counts {
  id: number;
  name: string;
  generation: number;
  sourceRows: number;
  embeddedRows: number;
  failed: number;
}

/**
 * Every counter of embedder.status that is not what the tables say, a line each, generation by generation; none when all
 * is right. Compares source_rows, embedded_rows and failed, which counts dead letters of rows that are there and that the
 * filter lets in.
 */
export async function wrongCounts(database: TestDatabase): Promise<string[]> {
  const { rows } = await database.query<Counts>(
    `select p.id, p.name, p.generation, q.source_rows::int as "sourceRows", q.embedded_rows::int as "embeddedRows", q.failed::int as failed
     from embedder.pipeline p join embedder.queue_count q on q.pipeline_id = p.id order by p.id`,
  );
  const wrong: string[] = [];
  for (const said of rows) {
    const truth = await countTruth(database, said.id);
    for (const counter of ['sourceRows', 'embeddedRows', 'failed'] as const)
      if (said[counter] !== truth[counter])
        wrong.push(`${said.name} ${said.generation}: ${counter} ${said[counter]}, truth ${truth[counter]}`);
  }
  return wrong;
}

async function countTruth(database: TestDatabase, id: number) {
  const { rows: statements } = await database.query<{ failed: string }>(
    `select format('select count(*)::int as failed from embedder.dead_letter d where pipeline_id = %s and exists (select from %s source where %s%s)',
       p.id, p.source, embedder.key_matches(p.source, 'source', 'd.row_key'), embedder.and_filter(p)) as failed
     from embedder.pipeline p where p.id = $1`,
    [id],
  );
  const { rows: letters } = await database.query<{ failed: number }>(statements[0]!.failed);
  const { rows } = await database.query<{ sourceRows: number; embeddedRows: number }>(
    `select source_rows::int as "sourceRows", embedded_rows::int as "embeddedRows" from embedder.pipeline_${id}_count()`,
  );
  return { ...rows[0]!, failed: letters[0]!.failed };
}
