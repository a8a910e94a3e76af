-- What a worker has begun, so that a worker's death makes no healthy row a dead letter: only what was under way is suspect,
-- and suspects are halved until one stands alone.

create unlogged table embedder.under_way (
  worker_id int not null,
  batch int not null,
  pipeline_id int not null,
  row_keys text[] collate "C" not null,
  primary key (worker_id, batch)
) with (
  -- A row comes and goes with each batch.
  autovacuum_vacuum_scale_factor = 0,
  autovacuum_vacuum_threshold = 1000
);
alter table embedder.under_way alter column row_keys set storage external;
comment on table embedder.under_way is 'Batches that workers have begun: rows that are read, chunked or at the engine. Unlogged: a worker lives on when the server crashes.';

alter table embedder.job add column suspect bigint;
comment on column embedder.job.suspect is
  'The group of rows that were under way when a worker died. A group is worked on alone, and halved when that worker dies too.';
create index job_suspect on embedder.job (suspect) where suspect is not null;
comment on column embedder.job.attempts is
  'Attempts so far, the one under way included. A worker''s death counts for a row that was under way alone.';
