-- The tables of pgembedder. Functions and views live in sql/ and are re-applied when they change;
-- a table changes only by the next numbered file here.

create table embedder.model (
  name text primary key,
  task text not null,
  dimensions int,
  max_tokens int,
  seen_at timestamptz not null default now()
);
comment on table embedder.model is 'Models that pgembedder knows: the catalog''s, written by migrate, and those that a worker has found in its folders.';
comment on column embedder.model.dimensions is 'Length of the model''s vectors; null for a task without vectors.';
comment on column embedder.model.max_tokens is 'Longest input in tokens, special tokens included; what is longer is cut.';

create table embedder.pipeline (
  id int generated always as identity primary key,
  name text not null unique,
  source regclass not null,
  key_columns text[] not null,
  input text not null,
  model text not null,
  task text not null,
  target_table regclass not null,
  target_column text not null,
  sidecar boolean not null,
  dimensions int not null,
  options jsonb not null default '{}',
  index text not null,
  priority int not null,
  max_attempts int not null,
  generation int not null default 1,
  paused boolean not null default false,
  error text,
  error_at timestamptz,
  trigger_error text,
  filled_at timestamptz,
  created_at timestamptz not null default now()
);
comment on table embedder.pipeline is 'One row a pipeline: source + input + model + task + target. Written by embedder.create_pipeline and its like.';
comment on column embedder.pipeline.sidecar is 'True: target_table is a table of its own. False: target_table is the source and target_column a column of it.';
comment on column embedder.pipeline.error is 'What keeps the pipeline as a whole from working (not one row''s error); cleared when it works again.';
comment on column embedder.pipeline.trigger_error is 'Why a trigger could not queue rows; stays until embedder.resume_pipeline.';
comment on column embedder.pipeline.filled_at is 'When its queue was first seen empty: the end of the first filling.';

-- At most one job a row: what changes while it waits is coalesced into it.
-- The primary key's text is compared in "C": no locale's rules in the hottest index.
create table embedder.job (
  pipeline_id int not null,
  attempts smallint not null default 0,
  leased_by int,
  due_at timestamptz not null default now(),
  version xid8 not null default pg_current_xact_id(),
  row_key text collate "C" not null,
  last_error text,
  primary key (pipeline_id, row_key)
) with (
  -- Rows come and go all the time: vacuum by a fixed number of dead rows, not by a share of a table that is mostly empty.
  autovacuum_vacuum_scale_factor = 0,
  autovacuum_vacuum_threshold = 20000,
  autovacuum_analyze_scale_factor = 0,
  autovacuum_analyze_threshold = 20000,
  autovacuum_vacuum_cost_delay = 0
);
create index job_due on embedder.job (pipeline_id, due_at);
-- No statistics of pipeline_id: they are of another moment's queue. A pipeline that they have not seen counts as one
-- row, and the planner then reads all its jobs for each one it looks up. Without them it is taken for 0.5 % of the table.
alter table embedder.job alter column pipeline_id set statistics 0;
comment on table embedder.job is 'One row a row key of a pipeline that is due. No foreign key to pipeline: it would cost a check a row.';
comment on column embedder.job.version is 'The transaction that last asked for this job. A batch is written only where it is still the one that was claimed.';
comment on column embedder.job.due_at is 'When the job may be claimed; while it is leased, the end of the lease.';
comment on column embedder.job.leased_by is 'The worker that holds the lease; null when nobody does.';
comment on column embedder.job.attempts is 'Claims so far, the current one included.';

create table embedder.dead_letter (
  pipeline_id int not null references embedder.pipeline on delete cascade,
  row_key text collate "C" not null,
  attempts int not null,
  error text not null,
  failed_at timestamptz not null default now(),
  primary key (pipeline_id, row_key)
);
comment on table embedder.dead_letter is 'Jobs that used up their attempts; read it through the view embedder.failed_job.';

create table embedder.worker_process (
  id int generated always as identity primary key,
  hostname text not null,
  pid int not null,
  version text not null,
  listening boolean not null default false,
  idle boolean not null default false,
  started_at timestamptz not null default now(),
  beat_at timestamptz not null default now()
) with (fillfactor = 50, autovacuum_vacuum_threshold = 500, autovacuum_vacuum_scale_factor = 0);
comment on table embedder.worker_process is 'One row a running worker; read it through the view embedder.worker.';
comment on column embedder.worker_process.idle is 'The worker sleeps and wants a NOTIFY. While no worker sleeps, writers send none.';
