import { CompiledQuery, sql, type Transaction } from 'kysely';
import type { Database } from '../database/database.ts';
import type { Schema } from '../database/schema.ts';
import { codeOf, UserError } from '../errors.ts';
import { keyValue, type Match, type SearchablePipeline } from './search.ts';

/** A search for somebody else, with a role's rights and within bounds. */
export interface RestrictedSearch {
  readonly pipeline: SearchablePipeline;
  /** How many rows, or chunks, are found. */
  readonly k: number;
  /** As pgvector writes it. */
  readonly vector: string;
  /** Also by words where it is given. */
  readonly words: { readonly text: string; readonly language: string } | null;
  /** SQL of the operator's on the row of the source; $1 in it is the value. */
  readonly conditions: readonly { readonly sql: string; readonly value?: unknown }[];
  /** Null: the connection's own. */
  readonly role: string | null;
  /** Settings of this transaction, by their names. */
  readonly settings: Readonly<Record<string, string>>;
  /** Columns of the source that come with each row. */
  readonly columns: readonly string[];
  /** Milliseconds that a statement may take. */
  readonly timeoutMs: number;
  /** Cancels the statement. */
  readonly signal: AbortSignal;
}

export interface RestrictedMatch extends Omit<Match, 'similarity'> {
  readonly chunk: number;
  /** Null where only the words were found. */
  readonly similarity: number | null;
  /** Of a search by words too: the sum over both lists. */
  readonly score: number | undefined;
  /** The columns as a JSON object, its numbers with all their digits. */
  readonly columns: string | undefined;
}

/** The values that a client gave do not fit: a sentence for the client. */
export class ValueError extends Error {}

/**
 * Searches in a transaction that only reads. Values are parameters of the statement and never a part of its text.
 * @param control another pool, by which a statement is cancelled
 * @throws ValueError for a value that does not fit; UserError where the role sees more than row level security lets others see;
 *   what PostgreSQL throws
 */
export async function searchRestricted(
  database: Database,
  control: Database,
  search: RestrictedSearch,
): Promise<RestrictedMatch[]> {
  return database
    .transaction()
    .setAccessMode('read only')
    .execute(async (transaction) => {
      const pid = await enter(transaction, search);
      search.signal.throwIfAborted();
      let cancelled: Promise<unknown> | undefined;
      const cancel = () => {
        cancelled = sql`select pg_cancel_backend(${pid})`.execute(control).catch(() => {});
      };
      search.signal.addEventListener('abort', cancel, { once: true });
      try {
        return await find(transaction, search);
      } finally {
        search.signal.removeEventListener('abort', cancel);
        // Before another search has this connection.
        await cancelled;
      }
    });
}

/** Takes the role and its bounds. @returns the process that serves the transaction */
async function enter(transaction: Transaction<Schema>, search: RestrictedSearch): Promise<number> {
  const { pipeline, role, settings, timeoutMs } = search;
  const { rows } = await sql<{ pid: number }>`
    select set_config('statement_timeout', ${String(Math.ceil(timeoutMs))}, true),
      set_config('role', coalesce(${role}, current_setting('role')), true), pg_backend_pid() as pid`.execute(
    transaction,
  );
  const seen = await sql<{ unseen: boolean; who: string }>`
    select c.relrowsecurity and not row_security_active(c.oid) as unseen, current_user as who
    from embedder.find_searchable(${pipeline.name}) p join pg_class c on c.oid = p.source`.execute(
    transaction,
  );
  const { unseen, who } = seen.rows[0]!;
  if (unseen) {
    throw new UserError(`role ${who} passes by the row level security of pipeline "${pipeline.name}"`, {
      hint: 'Name another role for its search: docs/http.md says how',
    });
  }
  if (Object.keys(settings).length > 0) {
    await refusingValues(
      sql`select set_config(s.key, s.value, true) from jsonb_each_text(${JSON.stringify(settings)}::jsonb) s`.execute(
        transaction,
      ),
    );
  }
  return rows[0]!.pid;
}

async function find(transaction: Transaction<Schema>, search: RestrictedSearch): Promise<RestrictedMatch[]> {
  const { pipeline, k, vector, words } = search;
  const values: unknown[] = words ? [vector, words.text] : [vector];
  const filter = filterOf(search, values);
  const statement = words
    ? sql`embedder.hybrid_statement(${pipeline.name}, ${k}, language => ${words.language}::text::regconfig, filter => ${filter})`
    : sql`embedder.search_statement(${pipeline.name}, ${k}, ${filter})`;
  const depth = words ? sql`embedder.fusion_depth(${k})` : sql`${k}::int`;
  const { rows } = await sql<{ statement: string; source: string; match: string }>`
    select ${statement} as statement, p.source::text as source, embedder.key_matches(p.source, '_source', 'hit.row_key') as match,
      embedder.exchange_settings(embedder.search_settings(p, ${depth}))
    from embedder.find_searchable(${pipeline.name}) p`.execute(transaction);
  const found = await refusingValues(
    transaction.executeQuery<RestrictedMatch & { key: Record<string, string> }>(
      CompiledQuery.raw(withColumns(rows[0]!, search), values),
    ),
  );
  return found.rows.map((row) => ({
    ...row,
    key: Object.fromEntries(
      pipeline.keyColumns.map(({ name, type }) => [name, keyValue(row.key[name]!, type)]),
    ),
  }));
}

/** The conditions as one, their values behind those that there are. */
function filterOf({ conditions }: RestrictedSearch, values: unknown[]): string | null {
  if (conditions.length === 0) return null;
  // A condition may end in a comment, which ends with the line.
  const parts = conditions.map((condition) => {
    if (!('value' in condition)) return `(${condition.sql}\n)`;
    values.push(condition.value);
    return `(${condition.sql.replaceAll(/\$1(?!\d)/g, () => `$${values.length}`)}\n)`;
  });
  return parts.join(' and ');
}

function withColumns(
  { statement, source, match }: { statement: string; source: string; match: string },
  { columns, words }: RestrictedSearch,
): string {
  const named = columns.map((name) => `${literal(name)}, _source.${identifier(name)}`).join(', ');
  return `with hit as materialized (select found.*, row_number() over () as _place from (${statement}) found)
select (select jsonb_object_agg(k.key, k.value) from jsonb_each_text(hit.key) k) as key, hit.chunk, hit.similarity, hit.input
  ${words ? ', hit.score' : ''}${columns.length > 0 ? `, jsonb_build_object(${named})::text as columns` : ''}
from hit ${columns.length > 0 ? `left join ${source} _source on ${match}` : ''}
order by hit._place`;
}

function identifier(name: string): string {
  return `"${name.replaceAll('"', '""')}"`;
}

/** Like this a backslash means itself whatever the session's standard_conforming_strings is. */
function literal(text: string): string {
  return ` E'${text.replaceAll('\\', '\\\\').replaceAll("'", "''")}'`;
}

/** Errors of class 22 are those of values. */
async function refusingValues<Result>(query: Promise<Result>): Promise<Result> {
  return query.catch((error: unknown) => {
    throw codeOf(error).startsWith('22') ? new ValueError((error as Error).message) : error;
  });
}
