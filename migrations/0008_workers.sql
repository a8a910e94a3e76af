-- An index that could not be built is tried again; a worker says what keeps it from claiming.

-- In steps: functions of sql/ take rows of this table, and PostgreSQL then refuses a new column that comes with a default.
alter table embedder.pipeline
  add column index_tries int,
  add column index_retry_at timestamptz;
alter table embedder.pipeline alter column index_tries set default 0;
update embedder.pipeline set index_tries = 0;
alter table embedder.pipeline alter column index_tries set not null;
comment on column embedder.pipeline.index_error is 'Why its index could not be built the last time.';
comment on column embedder.pipeline.index_retry_at is 'When a worker tries again to build its index.';

alter table embedder.worker_process add column note text;
comment on column embedder.worker_process.note is 'What keeps the worker from claiming; null when nothing does.';
