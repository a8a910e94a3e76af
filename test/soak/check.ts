import type pg from 'pg';
import { vectorOf } from './vector.ts';

/**
 * What is wrong when all is quiet, a line each: by embedder.verify, by the counts, by what is left over, and by the vectors themselves, each of
 * which must be the one of its text.
 */
export async function violations(client: pg.Client): Promise<string[]> {
  const found: string[] = [];
  const rows = async <Row>(statement: string) => (await client.query(statement)).rows as Row[];
  const live = await rows<{ name: string; prompt: string | null; problem: string | null }>(
    `select name, options ->> 'prompt' as prompt, coalesce(trigger_error, error, index_error) as problem from embedder.pipeline where live order by name`,
  );
  for (const { name, prompt, problem } of live) {
    if (problem !== null) found.push(`${name}: ${problem}`);
    for (const { row_key, fault } of await rows<{ row_key: string; fault: string }>(
      `select * from embedder.verify('${name}') limit 5`,
    ))
      found.push(`${name}: ${row_key} ${fault}`);
    const [counts] = await rows<Record<string, number>>(`select * from embedder.verify_counts('${name}')`);
    if (
      counts!.source_rows !== counts!.counted_source_rows ||
      counts!.embedded_rows !== counts!.counted_embedded_rows
    )
      found.push(`${name}: counts ${JSON.stringify(counts)}`);
    const results = await rows<{ row_key: string; chunk: number; input: string; result: string }>(
      `select * from embedder.sample_results('${name}', 1000000)`,
    );
    for (const { row_key, chunk, input, result } of results) {
      const [kept, wanted] = [JSON.parse(result) as number[], vectorOf((prompt ?? '') + input)];
      if (Math.abs(kept[0]! - wanted[0]!) > 1e-5 || Math.abs(kept[383]! - wanted[383]!) > 1e-5)
        found.push(
          `${name}: ${row_key}, chunk ${chunk}, has the vector of another text than ${JSON.stringify(input.slice(0, 60))}`,
        );
    }
  }
  const left = await rows<{ what: string }>(`
    select format('function %s of no pipeline', proname) as what from pg_proc
      where pronamespace = 'embedder'::regnamespace and proname ~ '^pipeline_\\d+_' and substring(proname from '^pipeline_(\\d+)_')::int not in (select id from embedder.pipeline)
    union all select format('trigger %s on %s of no pipeline', tgname, tgrelid::regclass) from pg_trigger
      where tgname ~ '^embedder_\\d+_' and substring(tgname from '^embedder_(\\d+)_')::int not in (select id from embedder.pipeline)
    union all select format('%s jobs of no pipeline', count(*)) from embedder.job where pipeline_id not in (select id from embedder.pipeline) having count(*) > 0
    union all select format('%s jobs left', count(*)) from embedder.job having count(*) > 0
    union all select format('dead letter %s: %s', row_key, error) from embedder.dead_letter
    union all select format('index %s is invalid', indexrelid::regclass) from pg_index where not indisvalid`);
  return [...found, ...left.map(({ what }) => what)];
}
