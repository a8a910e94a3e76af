import { z } from 'zod';
import type { Database } from '../../database/database.ts';
import { INSUFFICIENT_PRIVILEGE, UNDEFINED_OBJECT } from '../../database/errors.ts';
import { codeOf, messageOf } from '../../errors.ts';
import { cutOver, pausePipeline, resumePipeline } from '../../pipelines/commands.ts';
import { startBackfill } from '../../pipelines/filling.ts';
import { retryFailed, retryRow } from '../../queue/dead-letters.ts';
import { HttpError } from '../api/http-error.ts';
import type { Action } from './shown.ts';

/** All of them. */
export const actions: readonly Action[] = ['pause', 'resume', 'backfill', 'retry', 'cutover'];

const Body = z.strictObject({
  /** Of `retry`: one row, not all. */
  row_key: z.string().optional(),
});

/**
 * Does something with a pipeline, with the rights of the worker's role.
 * @returns one sentence about what was done
 * @throws HttpError 400, 403, 404; 422 where the pipeline is not in a state for it
 */
export async function act(database: Database, name: string, action: Action, given: unknown): Promise<string> {
  const body = Body.safeParse(given);
  if (!body.success) throw new HttpError(400, 'The body may have row_key, a string, and nothing else');
  try {
    return await doIt(database, name, action, body.data.row_key);
  } catch (error) {
    const code = codeOf(error);
    if (code === UNDEFINED_OBJECT) throw new HttpError(404, sentence(error));
    if (code === INSUFFICIENT_PRIVILEGE)
      throw new HttpError(
        403,
        `${sentence(error)}: the worker's role may do that as a member of embedder_admin`,
      );
    if (/^(22|42|55)/.test(code)) throw new HttpError(422, sentence(error));
    throw error;
  }
}

async function doIt(
  database: Database,
  name: string,
  action: Action,
  rowKey: string | undefined,
): Promise<string> {
  switch (action) {
    case 'pause':
      await pausePipeline(database, name);
      return 'It is paused: changes gather and nothing is embedded.';
    case 'resume':
      await resumePipeline(database, name);
      return 'It goes on.';
    case 'backfill':
      await startBackfill(database, name, { force: false, stale: false });
      return 'Rows that lack a result are looked for.';
    case 'cutover':
      await cutOver(database, name);
      return 'The next generation is about to be the live one.';
    case 'retry':
      if (rowKey !== undefined) {
        await retryRow(database, name, rowKey);
        return 'The row is tried again.';
      }
      return `Tried again: ${await retryFailed(database, name)} rows.`;
  }
}

function sentence(error: unknown): string {
  const message = messageOf(error);
  return message.charAt(0).toUpperCase() + message.slice(1);
}
