-- An index that could not be built is tried again; a worker says what keeps it from claiming.

alter table embedder.pipeline
  add column index_tries int not null default 0,
  add column index_retry_at timestamptz;
comment on column embedder.pipeline.index_error is 'Why its index could not be built the last time.';
comment on column embedder.pipeline.index_retry_at is 'When a worker tries again to build its index.';

alter table embedder.worker_process add column note text;
comment on column embedder.worker_process.note is 'What keeps the worker from claiming; null when nothing does.';
