-- Filters, chunks, labels, generations, backfills, counters and rights.

-- Made again in sql/, with other arguments or results; those of the pipelines at the end of every migration.
do $$
declare
  f regprocedure;
begin
  for f in select oid from pg_proc
    where pronamespace = 'embedder'::regnamespace and proname ~ '^pipeline_\d+_' and prorettype <> 'trigger'::regtype
  loop
    execute format('drop function %s', f);
  end loop;
end
$$;
drop view if exists embedder.status;
drop function if exists embedder.mark_filled();

drop function if exists embedder.vector_type();
drop function if exists embedder.has_rows(regclass, text);
drop function if exists embedder.refresh_pipeline(int);
drop function if exists embedder.create_pipeline(regclass, text, text, text, text, text, text, jsonb, jsonb, text, text, int, int, boolean, boolean);
drop function if exists embedder.check_not_built(text, jsonb, text);
drop function if exists embedder.check_options(jsonb);
drop function if exists embedder.check_index(text, int);
drop function if exists embedder.check_source(regclass);
drop function if exists embedder.model_dimensions(text, text, jsonb);
drop function if exists embedder.sidecar_columns(int);
drop function if exists embedder.make_sidecar(embedder.pipeline, text);
drop function if exists embedder.make_target_column(embedder.pipeline);
drop function if exists embedder.create_triggers(embedder.pipeline);
drop function if exists embedder.drop_triggers(embedder.pipeline);
drop function if exists embedder.generate_trigger(embedder.pipeline, text, text, text, text);
drop function if exists embedder.generate_enqueue_all(embedder.pipeline);
drop function if exists embedder.generate_complete(embedder.pipeline, text);
drop function if exists embedder.enqueue_all(embedder.pipeline);
drop function if exists embedder.enqueue_jobs(int, text[]);
drop function if exists embedder.enqueue_statement(text, text);
drop function if exists embedder.count_rows(embedder.pipeline);
drop function if exists embedder.trigger_failed(int, text, text);
drop function if exists embedder.prune_sidecar(regclass, regclass);
drop function if exists embedder.target_indexes(embedder.pipeline);
drop function if exists embedder.missing_indexes();
create type embedder.result_column as (place int, column_name text, type_name text, given_type text);
comment on type embedder.result_column is 'A column that a pipeline writes: its type, and the type in which the worker gives it.';

-- A model change is a second row of the same name, the next generation, until it takes the first one's place.
alter table embedder.pipeline
  drop constraint pipeline_name_key,
  add constraint pipeline_generation unique (name, generation),
  add column live boolean not null default true,
  add column chunking jsonb,
  add column filter text,
  add column index_options jsonb not null default '{}',
  add column index_error text,
  add column columns jsonb not null default '{}',
  add column members regclass[] not null default '{}',
  add column target_name text,
  add column fingerprint text,
  add column drop_target boolean not null default false,
  add column cutover text check (cutover in ('auto', 'now')),
  add column drop_old boolean not null default true,
  alter column target_table drop not null,
  alter column dimensions drop not null;
create unique index pipeline_live on embedder.pipeline (name) where live;
comment on table embedder.pipeline is 'One row a pipeline: source + input + model + task + target; and a second one while the next generation of it is being filled.';
comment on column embedder.pipeline.live is 'False: the next generation, which takes the live one''s place at the cutover.';
comment on column embedder.pipeline.columns is 'The columns of the source that it reads, by name, with their numbers: a renamed one is found again by its number.';
comment on column embedder.pipeline.members is 'The tables that have its triggers: the source and its partitions or children.';
comment on column embedder.pipeline.index_error is 'Why its index could not be built.';
comment on column embedder.pipeline.target_name is 'The name that was asked for its sidecar.';
comment on column embedder.pipeline.fingerprint is 'Of the tables as they were when its functions were made.';
comment on column embedder.pipeline.drop_target is 'The target goes when this row is deleted.';
comment on column embedder.pipeline.cutover is 'Of the next generation. auto: a worker makes it the live one when it is filled and indexed; now: its owner does.';
comment on column embedder.pipeline.drop_old is 'Of the next generation: the target of the old one is dropped then.';

-- Its check would wait for whoever drops the pipeline, who waits for the jobs that its writer holds.
alter table embedder.dead_letter drop constraint dead_letter_pipeline_id_fkey;

alter table embedder.job add column fresh boolean not null default false;
comment on column embedder.job.fresh is 'The source row is new and not yet counted in embedder.tally; whoever takes the job away counts it.';

-- Exact counts at no cost to writers: an insert is counted by its own job (fresh) and written here when the job is done,
-- with the rest of its batch. Rows are only added, so nobody waits for anybody; a worker sums up the old ones.
create table embedder.tally (
  pipeline_id int not null,
  at timestamptz not null default clock_timestamp(),
  source_rows bigint not null default 0,
  embedded_rows bigint not null default 0,
  done bigint not null default 0
);
create index tally_pipeline on embedder.tally (pipeline_id);
comment on table embedder.tally is 'Changes of the counts of a pipeline; their sum, and the fresh jobs, are its counts.';
comment on column embedder.tally.done is 'Jobs completed.';

create table embedder.backfill_run (
  id bigint generated always as identity primary key,
  pipeline_id int not null references embedder.pipeline on delete cascade,
  condition text,
  force boolean not null default false,
  error text,
  started_at timestamptz not null default now(),
  unique (id, pipeline_id)
);
create index backfill_pipeline on embedder.backfill_run (pipeline_id);
comment on table embedder.backfill_run is 'Backfills under way; gone when their last range is done.';

create table embedder.backfill_range (
  run_id bigint not null,
  pipeline_id int not null,
  place int not null,
  after_key text collate "C",
  to_key text collate "C",
  row_keys text[],
  not_before timestamptz,
  rows_left bigint not null,
  primary key (run_id, place),
  foreign key (run_id, pipeline_id) references embedder.backfill_run (id, pipeline_id) on delete cascade
) with (fillfactor = 50);
create index backfill_range_pipeline on embedder.backfill_range (pipeline_id);
comment on table embedder.backfill_range is 'Stretches of the key order that a backfill has yet to walk.';
comment on column embedder.backfill_range.after_key is 'The checkpoint: keys up to and with this one are done; null for none yet.';
comment on column embedder.backfill_range.row_keys is 'Just these rows, which somebody had locked when their range was walked.';
comment on column embedder.backfill_range.rows_left is 'Estimate.';
