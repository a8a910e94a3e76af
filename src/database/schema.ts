// Made from the database by test/sql/schema-types.test.ts. To have it made again:
// npx vitest run test/sql/schema-types.test.ts -u

import type { ColumnType, Generated } from 'kysely';
import type { PipelineOptions, PipelineState, PipelineTask } from './column-types.ts';

/** The tables and views of schema `embedder` that queries made with Kysely name. */
export interface Schema {
  'embedder.model': Model;
  'embedder.pipeline': Pipeline;
  'embedder.status': Status;
  'embedder.worker_process': WorkerProcess;
}

type Timestamp = ColumnType<Date, Date | string | undefined, Date | string>;

interface Model {
  name: string;
  task: string;
  dimensions: number | null;
  max_tokens: number | null;
  seen_at: Timestamp;
  sparse: boolean | null;
}

interface Pipeline {
  id: Generated<number>;
  name: string;
  source: string;
  key_columns: string[];
  input: string;
  model: string;
  task: PipelineTask;
  target_table: string | null;
  target_column: string;
  sidecar: boolean;
  dimensions: number | null;
  options: Generated<PipelineOptions>;
  index: string;
  priority: number;
  max_attempts: number;
  generation: Generated<number>;
  paused: Generated<boolean>;
  error: string | null;
  error_at: Timestamp | null;
  trigger_error: string | null;
  filled_at: Timestamp | null;
  created_at: Timestamp;
  live: Generated<boolean>;
  chunking: object | null;
  filter: string | null;
  index_options: Generated<unknown>;
  index_error: string | null;
  columns: Generated<unknown>;
  members: Generated<string>;
  target_name: string | null;
  fingerprint: string | null;
  drop_target: Generated<boolean>;
  cutover: string | null;
  drop_old: Generated<boolean>;
  marks: string | null;
  uncounted_since: Timestamp | null;
  walked_at: Timestamp | null;
  index_tries: Generated<number>;
  index_retry_at: Timestamp | null;
  notify: boolean | null;
}

interface Status {
  pipeline: string;
  source: string;
  task: string;
  model: string;
  generation: number;
  state: PipelineState;
  error: string | null;
  source_rows: number | null;
  embedded_rows: number | null;
  stale_rows: number | null;
  pending: number;
  leased: number;
  failed: number;
  coverage: string | null;
  oldest_due_age: string | null;
  rows_per_second: string;
  backfill_rows_estimate: number;
  time_left_estimate: string | null;
  index_state: string;
  index: string;
  next_generation: number | null;
  next_model: string | null;
  next_state: string | null;
  next_coverage: string | null;
  target_table: string;
  target_column: string;
  created_at: Timestamp;
  filled_at: Timestamp | null;
  warning: string | null;
  empty_rows: number | null;
}

interface WorkerProcess {
  id: Generated<number>;
  hostname: string;
  pid: number;
  version: string;
  listening: Generated<boolean>;
  idle: Generated<boolean>;
  started_at: Timestamp;
  beat_at: Timestamp;
  building: Generated<boolean>;
  note: string | null;
}
