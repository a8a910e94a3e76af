import type { ColumnType, Generated } from 'kysely';

/** The tables and views of schema `embedder`, for Kysely. bigints come as numbers. */
export interface Schema {
  'embedder.pipeline': PipelineTable;
  'embedder.model': ModelTable;
  'embedder.job': JobTable;
  'embedder.failed_job': FailedJobView;
  'embedder.status': StatusView;
  'embedder.worker': WorkerView;
  'embedder.worker_process': WorkerProcessTable;
}

type Timestamp = ColumnType<Date, Date | string | undefined, Date | string>;

/** What a pipeline does with its texts. */
export type PipelineTask =
  | 'feature-extraction'
  | 'text-classification'
  | 'zero-shot-classification'
  | 'token-classification';

interface PipelineTable {
  id: Generated<number>;
  name: string;
  source: string;
  key_columns: string[];
  input: string;
  model: string;
  task: PipelineTask;
  target_table: string;
  target_column: string;
  sidecar: boolean;
  dimensions: number | null;
  options: PipelineOptions;
  chunking: object | null;
  filter: string | null;
  index: 'hnsw' | 'ivfflat' | 'none';
  priority: number;
  max_attempts: number;
  generation: number;
  live: boolean;
  paused: boolean;
  error: string | null;
  error_at: Timestamp | null;
  trigger_error: string | null;
  filled_at: Timestamp | null;
  created_at: Timestamp;
}

/** The options of a pipeline's task, as embedder.create_pipeline has checked them. */
export interface PipelineOptions {
  pooling?: 'mean' | 'cls' | 'last' | 'max' | 'mean_sqrt_len' | 'weighted_mean';
  normalize?: boolean;
  prompt?: string;
  dimensions?: number;
  vector_type?: 'vector' | 'halfvec';
  top_k?: number;
  labels?: string[];
  hypothesis_template?: string;
  multi_label?: boolean;
  aggregation_strategy?: 'none' | 'simple' | 'first' | 'average' | 'max';
}

interface ModelTable {
  name: string;
  task: string;
  dimensions: number | null;
  max_tokens: number | null;
  seen_at: Timestamp;
}

interface JobTable {
  pipeline_id: number;
  row_key: string;
  version: number;
  attempts: number;
  leased_by: number | null;
  due_at: Timestamp;
  last_error: string | null;
}

interface FailedJobView {
  pipeline: string;
  row_key: string;
  attempts: number;
  error: string;
  failed_at: Date;
}

interface StatusView {
  pipeline: string;
  source: string;
  task: string;
  model: string;
  generation: number;
  state: 'paused' | 'error' | 'filling' | 'live';
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
  next_generation: number | null;
  next_model: string | null;
  next_state: string | null;
  next_coverage: string | null;
  target_table: string;
  target_column: string;
  index: string;
  created_at: Date;
  filled_at: Date | null;
  warning: string | null;
  empty_rows: number | null;
}

interface WorkerView {
  id: number;
  hostname: string;
  pid: number;
  version: string;
  listening: boolean;
  idle: boolean;
  started_at: Date;
  beat_at: Date;
  alive: boolean;
}

interface WorkerProcessTable {
  id: Generated<number>;
  hostname: string;
  pid: number;
  version: string;
  listening: Generated<boolean>;
  idle: Generated<boolean>;
  started_at: Timestamp;
  beat_at: Timestamp;
}
