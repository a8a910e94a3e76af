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
