-- What is done about a pipeline's tables is done in short steps: triggers last, counting by a worker, and a first filling that ends
-- although new rows come all the time.

alter table embedder.pipeline add column uncounted_since timestamptz, add column walked_at timestamptz;
update embedder.pipeline set uncounted_since = now() where fingerprint is null;
alter table embedder.pipeline alter column uncounted_since set default now();
comment on column embedder.pipeline.uncounted_since is 'A worker is to count source and target, when the new rows that waited then are done; null: they are counted.';
comment on column embedder.pipeline.walked_at is 'When the last range of the first filling had been walked.';
comment on column embedder.pipeline.filled_at is 'When the rows that were there at the declaration had been done, or had failed once: the end of the first filling.';

alter table embedder.job add column asked_at timestamptz not null default now();
comment on column embedder.job.asked_at is 'Since when there is this job; it stays when the row is asked for anew.';

drop function if exists embedder.cutover(text, boolean);
drop function if exists embedder.make_live(int);
drop function if exists embedder.make_target_columns(embedder.pipeline);
drop function if exists embedder.add_hash_column(embedder.pipeline);
drop function if exists embedder.leave_filter(embedder.pipeline);
drop function if exists embedder.auto_cutover();
