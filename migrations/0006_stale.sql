-- Backfills that compare what a result was made of with what its row says now.

alter table embedder.backfill_run add column stale boolean not null default false;
comment on column embedder.backfill_run.force is 'All rows, and all that follows from stale.';
comment on column embedder.backfill_run.stale is 'Also rows whose result was made of another text, and results whose row is gone.';

drop function if exists embedder.backfill(text, text, boolean);
drop function if exists embedder.schedule_backfill(text, text, text);
drop function if exists embedder.start_backfill(embedder.pipeline, text, boolean, boolean);
-- Made again at the end of the migration, with another result or other parameters.
do $$
declare
  f regprocedure;
begin
  for f in select oid from pg_proc where pronamespace = 'embedder'::regnamespace and proname ~ '^pipeline_\d+_(read|next|ranges)$' loop
    execute format('drop function %s', f);
  end loop;
end
$$;

alter table embedder.pipeline add column marks text;
comment on column embedder.pipeline.marks is 'Of the tables, as far as it changes with changes that fire no trigger (embedder.marks_of), when all rows were last to be looked at.';

-- A crash of the server empties it, and unlogged tables of users with it.
create unlogged table embedder.since_crash (
  the_only boolean primary key default true check (the_only),
  id uuid not null default gen_random_uuid()
);
comment on table embedder.since_crash is 'One row, of another id after each crash of the server.';

create table embedder.empty_row (
  pipeline_id int not null,
  row_key text collate "C" not null,
  source_hash uuid not null,
  primary key (pipeline_id, row_key)
);
comment on table embedder.empty_row is 'Rows of the source that a worker has looked at and that have no text: they need no result.';
comment on column embedder.empty_row.source_hash is 'Of what it saw.';
