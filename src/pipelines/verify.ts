import { sql } from 'kysely';
import type { Database } from '../database/database.ts';
import { codeOf, messageOf, UserError } from '../errors.ts';
import { startBackfill } from './filling.ts';
import { inspectPipelines } from './inspection.ts';

/** What can be wrong with a row of a pipeline, as `embedder.verify` names it. */
export type Fault = 'missing' | 'stale' | 'orphan' | 'doubled' | 'orphan_job' | 'orphan_dead_letter';

/** A row that is not as it should be, and that nobody is about to work on. */
export interface RowFault {
  readonly rowKey: string;
  readonly fault: Fault;
}

/** What a check of a pipeline has found. */
export interface PipelineReport {
  readonly pipeline: string;
  /** Whether nothing is wrong. */
  readonly well: boolean;
  /** What is wrong with the pipeline as a whole: its tables, triggers, functions, counts; a sentence each. */
  readonly problems: readonly string[];
  /** How many rows have which fault; those without any are left out. */
  readonly faults: Readonly<Partial<Record<Fault, number>>>;
  /** Some of these rows, 20 at most of each fault. */
  readonly rows: readonly RowFault[];
  /** Rows of the source that were looked at; null where they could not be read. */
  readonly sourceRows: number | null;
}

/** Rows of each fault that a report names. */
const SHOWN = 20;

/**
 * Compares each row of pipelines with its result, and the queue and the counts with the rows. It reads source and target as a whole, in one
 * statement, and changes nothing. Rows that wait, have failed or are yet to be looked at by a backfill are no faults.
 * @param only this pipeline; without it all that the role sees, where one that cannot be checked is a problem of that one alone
 * @throws UserError when there is no pipeline `only`, or it cannot be checked
 */
export async function checkPipelines(database: Database, only?: string): Promise<PipelineReport[]> {
  const inspected = await inspectPipelines(database);
  const reports: PipelineReport[] = [];
  // One that is named and not there is asked for as well: the database says what there is.
  for (const name of only === undefined ? [...new Set(inspected.map((each) => each.name))] : [only]) {
    const generations = inspected.filter((each) => each.name === name);
    const problems = generations.flatMap(({ error, warning, gaps }) => [
      ...(error === null ? [] : [error]),
      ...gaps,
      ...(warning === null ? [] : [warning]),
    ]);
    reports.push(await report(database, name, problems, only !== undefined));
  }
  return reports;
}

async function report(
  database: Database,
  pipeline: string,
  known: readonly string[],
  named: boolean,
): Promise<PipelineReport> {
  const problems = [...new Set(known)];
  let rows: { row_key: string; fault: Fault; of_fault: number }[] = [];
  let sourceRows: number | null = null;
  try {
    const found = await sql<(typeof rows)[number]>`
      select row_key, fault, of_fault from (
        select v.*, count(*) over (partition by v.fault) as of_fault, row_number() over (partition by v.fault order by v.row_key) as place
        from embedder.verify(${pipeline}) v) v
      where place <= ${SHOWN} order by fault, place`.execute(database);
    rows = found.rows;
    const counts = await countsOf(database, pipeline);
    sourceRows = counts.sourceRows;
    problems.push(...counts.problems);
  } catch (error) {
    const refused = ['42704', '42501'].includes(codeOf(error));
    if (refused && !named) problems.push(messageOf(error));
    // What the pipeline is broken by is said already.
    else if (known.length === 0 || refused) throw asUserError(error);
  }
  return {
    pipeline,
    well: problems.length === 0 && rows.length === 0,
    problems,
    faults: Object.fromEntries(rows.map(({ fault, of_fault }) => [fault, of_fault])),
    rows: rows.map(({ row_key, fault }) => ({ rowKey: row_key, fault })),
    sourceRows,
  };
}

async function countsOf(database: Database, pipeline: string) {
  const { rows } = await sql<{
    source_rows: number | null;
    counted_source_rows: number;
    embedded_rows: number;
    counted_embedded_rows: number;
  }>`select * from embedder.verify_counts(${pipeline})`.execute(database);
  const counts = rows[0];
  if (!counts) return { sourceRows: null, problems: [] };
  const problems: string[] = [];
  const { source_rows: source, embedded_rows: embedded } = counts;
  // Null: a worker has yet to count.
  if (source !== null && (source !== counts.counted_source_rows || embedded !== counts.counted_embedded_rows))
    problems.push(
      `embedder.status counts ${source} rows and ${embedded} results, and there are ${counts.counted_source_rows} and ${counts.counted_embedded_rows}`,
    );
  return { sourceRows: counts.counted_source_rows, problems };
}

/**
 * Has what a check has found put right: rows are queued that lack their result or have another one, a backfill looks for what is left of
 * rows that are gone, and counts are made anew. A worker does the rest.
 */
export async function repairPipeline(
  database: Database,
  { pipeline, faults, problems, sourceRows }: PipelineReport,
): Promise<void> {
  const { missing = 0, stale = 0, doubled = 0, ...orphans } = faults;
  if (missing + stale + doubled > 0) {
    await sql`select count(embedder.enqueue_embed(${pipeline}, v.row_key)) from embedder.verify(${pipeline}) v
      where v.fault in ('missing', 'stale', 'doubled')`.execute(database);
  }
  if (Object.values(orphans).some((rows) => rows > 0)) {
    await startBackfill(database, pipeline, { force: false, stale: true });
  }
  if (problems.length > 0 && sourceRows !== null)
    await sql`select embedder.recount(${pipeline})`.execute(database);
}

function asUserError(error: unknown): unknown {
  const hint = (error as { hint?: string }).hint;
  return ['42704', '42501', '55000'].includes(codeOf(error))
    ? new UserError(messageOf(error), { cause: error, ...(hint && { hint }) })
    : error;
}

/** A result, and what the model was given for it. */
export interface SampledResult {
  readonly row_key: string;
  readonly chunk: number;
  readonly input: string;
  /** The vector, or the detail of labels, as text. */
  readonly result: string;
}

/** Some results of a pipeline, at random. */
export async function sampleResults(
  database: Database,
  pipeline: string,
  count: number,
): Promise<SampledResult[]> {
  const { rows } = await sql<SampledResult>`
    select * from embedder.sample_results(${pipeline}, ${count})`.execute(database);
  return rows;
}
