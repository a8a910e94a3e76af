import type { Database } from '../../database/database.ts';
import { readGenerations } from '../../pipelines/list.ts';
import { newestDeadLetters } from '../../queue/dead-letters.ts';
import { HttpError } from '../api/http-error.ts';
import type { ShownDetails } from './shown.ts';

const MOST_FAILURES = 100;

/** What the page of a pipeline shows beside its status. @throws HttpError 404 */
export async function readDetails(database: Database, name: string): Promise<ShownDetails> {
  const [generations, letters] = await Promise.all([
    readGenerations(database, name),
    newestDeadLetters(database, name, MOST_FAILURES),
  ]);
  if (generations.length === 0) throw new HttpError(404, 'There is no such pipeline');
  return {
    name,
    generations,
    failed: letters.map(({ row_key, attempts, error, failed_at }) => ({
      rowKey: row_key,
      attempts,
      error,
      failedAt: failed_at.toISOString(),
    })),
  };
}
