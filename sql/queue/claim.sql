-- How a worker takes jobs, keeps them and gives them back.

-- Claims up to max_jobs jobs for a worker, pipeline by pipeline in the given order, oldest due first. With look_back only those that have been due for
-- no longer than it says for each pipeline: while somebody's snapshot is old, the index keeps the jobs that are done, and to look for the oldest
-- one reads them all.
drop function if exists embedder.claim_jobs(int, int[], int, interval);

-- Callable by: workers, with the rights of the schema's owner.
create or replace function embedder.claim_jobs(worker int, pipeline_ids int[], max_jobs int, lease interval, look_back interval[] default null)
returns table (pipeline_id int, row_key text, version bigint, attempts smallint)
language plpgsql
set search_path = pg_catalog, pg_temp
-- Always by the index job_due, with one plan for all calls.
set plan_cache_mode = force_generic_plan set enable_seqscan = off set enable_bitmapscan = off set enable_sort = off
set enable_hashjoin = off set enable_mergejoin = off set jit = off
as $$
#variable_conflict use_column
declare
  wanted int := max_jobs;
  claimed int;
  id int;
  since timestamptz;
begin
  perform set_config('synchronous_commit', 'off', true), embedder.expect_notice();
  -- Many pipelines have nothing due, and a look at all in one statement takes a tenth of an update for each.
  for id, since in
    select p.id, p.since from (
      select u.id, u.place, coalesce(now() - look_back[u.place], '-infinity') as since from unnest(pipeline_ids) with ordinality u(id, place)) p
    where exists (select from embedder.job d where d.pipeline_id = p.id and d.due_at between p.since and now() and d.suspect is null offset 0)
    order by p.place
  loop
    exit when wanted <= 0;
    return query
      update embedder.job j
      -- Where a lease has run out, its attempt is not counted again.
      set leased_by = worker, due_at = now() + lease, attempts = greatest(0, least(j.attempts, 30000)) + (j.leased_by is null)::int
      from (
        select d.ctid from embedder.job d
        where d.pipeline_id = id and d.due_at between since and now() and d.suspect is null
          and exists (select from embedder.pipeline p where p.id = d.pipeline_id and not p.paused)
        order by d.due_at limit wanted
        for update of d skip locked
      ) due
      where j.ctid = due.ctid
      returning j.pipeline_id, j.row_key, j.version, j.attempts;
    get diagnostics claimed = row_count;
    wanted := wanted - claimed;
  end loop;
end
$$;
comment on function embedder.claim_jobs is 'Leases due jobs to a worker and counts the attempt.';

-- Claims a group of suspects (sql/queue/rescue.sql), for a worker that does nothing else meanwhile.
-- Callable by: workers, with the rights of the schema's owner.
create or replace function embedder.claim_suspects(worker int, pipeline_ids int[], lease interval)
returns table (pipeline_id int, row_key text, version bigint, attempts smallint)
language plpgsql set search_path = pg_catalog, pg_temp as $$
#variable_conflict use_column
declare
  suspects bigint := (
    select d.suspect from embedder.job d join embedder.pipeline p on p.id = d.pipeline_id and not p.paused
    where d.suspect is not null and d.due_at <= now() and d.pipeline_id = any (pipeline_ids)
    order by d.due_at, d.suspect limit 1);
begin
  return query
    update embedder.job j
    set leased_by = worker, due_at = now() + lease, attempts = greatest(0, least(j.attempts, 30000)) + (j.leased_by is null)::int
    from (
      select d.ctid from embedder.job d
      where d.suspect = suspects and d.due_at <= now() and d.pipeline_id = any (pipeline_ids)
      for update of d skip locked
    ) due
    where j.ctid = due.ctid
    returning j.pipeline_id, j.row_key, j.version, j.attempts;
end
$$;

-- Callable by: workers, with the rights of the schema's owner.
create or replace function embedder.suspects_wait() returns boolean
language sql stable set search_path = pg_catalog, pg_temp as $$
  select exists (select from embedder.job where suspect is not null and due_at <= now())
$$;
comment on function embedder.claim_suspects is 'Leases a group of rows to a worker, one of which may have killed the one before.';

-- Those of the given jobs that the worker still holds: neither done, nor changed, nor taken over.
-- Callable by: workers, with the rights of the schema's owner.
create or replace function embedder.held_jobs(worker int, pipeline int, row_keys text[], versions bigint[])
returns setof text
language sql stable set search_path = pg_catalog, pg_temp as $$
  select j.row_key
  from unnest(row_keys, versions) k(row_key, version)
  join embedder.job j on j.pipeline_id = pipeline and j.row_key = k.row_key and j.version = k.version
  where j.leased_by = worker
$$;

-- The jobs among the given ones that the worker still holds, locked for what comes next. One that somebody else has
-- locked is left out: it is about to change, and neither a worker nor a user's transaction must wait for the other.
create or replace function embedder.lock_held(worker int, pipeline int, row_keys text[], versions bigint[])
returns setof text
language sql set search_path = pg_catalog, pg_temp as $$
  select j.row_key
  from unnest(row_keys, versions) k(row_key, version)
  join embedder.job j on j.pipeline_id = pipeline and j.row_key = k.row_key and j.version = k.version
  where j.leased_by = worker
  for update of j skip locked
$$;

-- Callable by: workers, with the rights of the schema's owner.
create or replace function embedder.renew_leases(worker int, pipeline int, row_keys text[], versions bigint[], lease interval)
returns void
language sql set search_path = pg_catalog, pg_temp as $$
  update embedder.job j set due_at = now() + lease
  where j.pipeline_id = pipeline
    and j.row_key = any (array(select embedder.lock_held(worker, pipeline, row_keys, versions)))
$$;
comment on function embedder.renew_leases is 'Prolongs the leases of jobs that a worker is still busy with.';

-- Makes each job that somebody holds, or has held for longer than a lease, a new one: what was read for it may have changed, and nobody has
-- seen it. One that is locked is waited for, or passed by: it is being written, or asked for again.
create or replace function embedder.recall_jobs(pipeline int, waiting boolean default false) returns void
language plpgsql set search_path = pg_catalog, pg_temp as $$
begin
  if waiting then
    perform 1 from embedder.job j where j.pipeline_id = pipeline and j.leased_by is not null for update;
  end if;
  update embedder.job j set version = default, leased_by = null, due_at = now()
  where j.ctid in (
    select l.ctid from embedder.job l where l.pipeline_id = pipeline and l.leased_by is not null for update skip locked);
end
$$;

-- Gives jobs back without counting the attempt; they are due again after the delay.
-- Callable by: workers, with the rights of the schema's owner.
create or replace function embedder.release_jobs(worker int, pipeline int, row_keys text[], versions bigint[], delay interval)
returns void
language sql set search_path = pg_catalog, pg_temp as $$
  update embedder.job j set leased_by = null, due_at = now() + delay, attempts = greatest(j.attempts - 1, 0)
  where j.pipeline_id = pipeline
    and j.row_key = any (array(select embedder.lock_held(worker, pipeline, row_keys, versions)))
$$;
comment on function embedder.release_jobs is 'Gives leased jobs back to the queue without counting the attempt.';
