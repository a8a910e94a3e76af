-- The counts of a pipeline: what changes them is written down row by row, and folded into one row by workers.

-- The statement that counts a change of the number of vectors in a target column, which anybody may write.
create or replace function embedder.tally_vectors(p embedder.pipeline, change text) returns text
language sql stable set search_path = pg_catalog, pg_temp as $$
  select format($f$
    insert into %s (embedded_rows)
    select t.change from (select %s) t(change) where t.change operator(pg_catalog.<>) 0;$f$, embedder.book(p, 'tally'), change)
$$;

-- The statement that asks a worker to count again.
create or replace function embedder.recount_statement(p embedder.pipeline) returns text
language sql immutable set search_path = pg_catalog, pg_temp as $$
  select format(e'\n    insert into %s (recount) values (true);', embedder.book(p, 'tally'))
$$;

-- What a trigger could not do, as workers have taken it over from the tally, or as it stands there.
-- Callable by: everybody.
create or replace function embedder.missed_by(p embedder.pipeline) returns text
language plpgsql stable set search_path = pg_catalog, pg_temp as $$
begin
  return coalesce(p.trigger_error, (select t.missed from embedder.tally t where t.pipeline_id = p.id and t.missed is not null limit 1));
end
$$;

-- Reads source and target whole, and corrects the counts. It locks neither: a writer's row and what counts it come in one
-- transaction, so in any one snapshot the tally is off by the same number.
create or replace function embedder.correct_tally(pipeline int) returns void
language plpgsql set search_path = pg_catalog, pg_temp as $$
begin
  -- One at a time: two would both add what is missing.
  perform pg_advisory_xact_lock(730637212, pipeline);
  execute format('select embedder.%I()', format('pipeline_%s_recount', pipeline));
  update embedder.pipeline e set uncounted_since = null where e.id = pipeline;
end
$$;

-- The pipelines that a worker is to count.
-- Callable by: workers, with the rights of the schema's owner.
create or replace function embedder.uncounted_pipelines() returns setof int
language sql stable security definer set search_path = pg_catalog, pg_temp as $$
  select p.id from embedder.pipeline p
  where p.uncounted_since is not null and p.fingerprint is not null
    and not exists (select from embedder.job j where j.pipeline_id = p.id and j.fresh and j.asked_at < p.uncounted_since)
$$;

-- Counts one of them. Nothing waits for it, and it does not wait either: while another session counts it, it is left for later.
-- Callable by: workers, with the rights of the schema's owner.
create or replace function embedder.count_pipeline(pipeline int) returns void
language plpgsql security definer set search_path = pg_catalog, pg_temp as $$
begin
  if not pg_try_advisory_xact_lock(730637212, pipeline) then return; end if;
  execute format('select embedder.%I()', format('pipeline_%s_recount', pipeline));
  update embedder.pipeline e set uncounted_since = null where e.id = (select p.id from embedder.pipeline p where p.id = pipeline for update skip locked);
end
$$;
comment on function embedder.count_pipeline is 'Counts source and target of a pipeline that was declared or changed. Called by workers.';

-- Callable by: everybody.
create or replace function embedder.recount(name text) returns void
language sql set search_path = pg_catalog, pg_temp as $$
  select embedder.command(p.id, 'recount') from embedder.pipeline p where p.name = (embedder.own_pipeline(recount.name)).name
$$;
comment on function embedder.recount is 'Counts source and target of a pipeline again, for embedder.status: after its sidecar was written by hand, or with its triggers switched off.';

-- A sum of counts as a bigint, whatever an owner has written there: an overflow would keep every pipeline from its counts.
-- Callable by: everybody.
create or replace function embedder.bounded(total numeric) returns bigint
language sql immutable set search_path = pg_catalog, pg_temp
return case when total not between -1e15 and 1e15 then sign(total) * 1e15 else total end::bigint;

-- Sums up what workers and triggers have added to the tally, except in the last minute, from which the rate is computed. Pipelines
-- for which a recount was asked are counted, or left to the session that counts them already.
-- Callable by: workers, with the rights of the schema's owner.
create or replace function embedder.fold_tally() returns void
language plpgsql set search_path = pg_catalog, pg_temp set lock_timeout = '1s' as $$
#variable_conflict use_column
declare
  p embedder.pipeline;
begin
  for p in select * from embedder.pipeline e where e.id in (select t.pipeline_id from embedder.tally t where t.recount) loop
    begin
      delete from embedder.tally t where t.pipeline_id = p.id and t.recount;
      update embedder.pipeline e set uncounted_since = clock_timestamp() where e.id = p.id;
      if embedder.is_counted_at_once(p) then perform embedder.count_pipeline(p.id); end if;
    exception when others then
      null; -- Its tables are just being changed, or cannot be read: one pipeline's counts, and at the next time again.
    end;
  end loop;
  with old as (
    delete from embedder.tally where ctid in (
      select t.ctid from embedder.tally t where t.at < now() - interval '90 seconds' and not t.recount and t.missed is null for update skip locked)
    returning pipeline_id, source_rows, embedded_rows, done
  )
  insert into embedder.tally (pipeline_id, at, source_rows, embedded_rows, done)
  select pipeline_id, '-infinity', embedder.bounded(sum(source_rows)), embedder.bounded(sum(embedded_rows)), embedder.bounded(sum(done)) from old group by pipeline_id;
end
$$;

-- Takes it from jobs that they stand for a row which is not counted yet. Some thousand: nobody writes the source meanwhile, and the rest is
-- counted by reading everything.
create or replace function embedder.uncount_jobs(pipeline int) returns void
language sql set search_path = pg_catalog, pg_temp as $$
  update embedder.job set fresh = false
  where ctid = any (array(select j.ctid from embedder.job j where j.pipeline_id = pipeline and j.fresh limit 2000))
$$;
