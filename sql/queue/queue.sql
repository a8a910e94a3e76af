-- The queue: what puts jobs on it, and what the workers call.

-- The statement that puts row keys on the queue; due is a query for (row_key, fresh). A job that is there
-- already is made new: due now, with all its attempts, and with a version that no batch under way can match.
create or replace function embedder.enqueue_statement(p embedder.pipeline, due text) returns text
language sql immutable set search_path = pg_catalog, pg_temp as $$
  select format($f$
    insert into %s as j (row_key, fresh) %s
    on conflict (pipeline_id, row_key) do update
      set version = excluded.version, due_at = excluded.due_at, attempts = 0, leased_by = null, last_error = null,
        fresh = j.fresh or excluded.fresh;
    %s$f$, embedder.book(p, 'job'), due, embedder.wake_statement())
$$;

drop function if exists embedder.source_of(text);

-- Every role that may write the table may queue its rows (sql/pipeline/command.sql).
-- Callable by: everybody.
create or replace function embedder.enqueue_embed(pipeline text, row_key text) returns boolean
language sql set search_path = pg_catalog, pg_temp as $$
  select embedder.command(null, 'enqueue', jsonb_build_object('row_key', row_key), pipeline)::boolean
$$;

create or replace function embedder.enqueue_row(pipeline text, row_key text) returns boolean
language plpgsql set search_path = pg_catalog, pg_temp as $$
declare
  p embedder.pipeline;
  key text;
  waiting boolean := true;
  queued boolean := true;
  there jsonb;
begin
  -- Every generation of it.
  for p in select * from embedder.pipeline e where e.name = pipeline loop
    begin
      execute format('select embedder.%I($1)', format('pipeline_%s_row_key', p.id)) into key using row_key;
    exception when data_exception then
      key := null;
    end;
    if key is null then
      raise exception 'row key % does not fit the key of pipeline "%"', quote_nullable(row_key), p.name
        using errcode = 'invalid_parameter_value',
          hint = format('Its key: %s.%s',
            (select string_agg(format('%s %s', k.column_name, k.type_name), ', ' order by k.place) from embedder.key_columns(p.source) k),
            case when cardinality(p.key_columns) > 1 then ' Give a jsonb object with these fields.' else '' end);
    end if;
    waiting := waiting and exists (
      select from embedder.job j
      where j.pipeline_id = p.id and j.row_key = key and embedder.job_state(j) = 'due');
    execute format('select embedder.%I($1)', format('pipeline_%s_enqueue', p.id)) using array[key];
    -- Not if its key is too long (sql/generated/long_keys.sql).
    queued := queued and exists (select from embedder.job j where j.pipeline_id = p.id and j.row_key = key);
    -- Queued also when the row is gone: what is left of it in the target is removed.
    execute format('select embedder.%I($1)', format('pipeline_%s_ask', p.id)) into there using
      format('select to_jsonb(exists (select from %s source where %s))', p.source, embedder.key_matches(p.source, 'source', quote_literal(key)));
  end loop;
  return not waiting and queued and there = 'true';
end
$$;
comment on function embedder.enqueue_embed(text, text) is
  'Queues one row. True: it was put on the queue; false: it was already waiting there, is no row of the table, or has a key that is too long.';

-- Callable by: everybody.
create or replace function embedder.enqueue_embed(pipeline text, row_key anyelement) returns boolean
language sql set search_path = pg_catalog, pg_temp as $$
  -- Through jsonb, whose form of times and dates is the same in every session.
  select embedder.enqueue_embed(pipeline, to_jsonb(row_key) #>> '{}')
$$;
comment on function embedder.enqueue_embed(text, anyelement) is
  'Queues one row; a key of several columns as a jsonb object.';

-- Callable by: everybody.
create or replace function embedder.retry_failed(name text default null) returns bigint
language plpgsql set search_path = pg_catalog, pg_temp as $$
declare
  wanted text := case when name is not null then (embedder.own_pipeline(name)).name end;
begin
  return (
    select coalesce(sum(embedder.command(p.id, 'retry')::bigint), 0) from embedder.pipeline p
    where case when wanted is not null then p.name = wanted else embedder.may_manage(p.source) or not row_security_active('embedder.pipeline') end);
end
$$;
comment on function embedder.retry_failed is 'Puts the dead letters of a pipeline, or of all, back on the queue with all their attempts. Returns how many.';

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
  perform set_config('synchronous_commit', 'off', true);
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

-- Claims a group of suspects (sql/queue/worker.sql), for a worker that does nothing else meanwhile.
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

-- Makes each job that somebody holds, or has held for longer than a lease, a new one: what was read for it may have changed, and nobody has seen it. One that is locked
-- is passed by: it is being written, or asked for again.
create or replace function embedder.recall_jobs(pipeline int) returns void
language sql set search_path = pg_catalog, pg_temp as $$
  update embedder.job j set version = default, leased_by = null, due_at = now()
  where j.ctid in (
    select l.ctid from embedder.job l where l.pipeline_id = pipeline and l.leased_by is not null for update skip locked)
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

-- Books a failed attempt for each job. One with attempts left is due again after retry_base * 2^(attempts - 1), at most
-- retry_limit, of which a random half is taken off so that rows that failed together do not come back together.
-- One without becomes a dead letter.
-- Callable by: workers, with the rights of the schema's owner.
create or replace function embedder.fail_jobs(
  worker int, pipeline int, row_keys text[], versions bigint[], errors text[], retry_base interval, retry_limit interval)
returns table (row_key text, dead boolean)
language plpgsql set search_path = pg_catalog, pg_temp as $$
#variable_conflict use_column
declare
  allowed int := (select p.max_attempts from embedder.pipeline p where p.id = fail_jobs.pipeline);
begin
  return query
  with failed as materialized (
    select j.row_key, j.attempts, j.fresh, k.error
    from unnest(row_keys, versions, errors) k(row_key, version, error)
    join embedder.job j on j.pipeline_id = pipeline and j.row_key = k.row_key and j.version = k.version and j.leased_by = worker
    for update of j skip locked
  ), buried as (
    insert into embedder.dead_letter (pipeline_id, row_key, attempts, error)
    select pipeline, f.row_key, f.attempts, f.error from failed f where f.attempts >= allowed
    on conflict (pipeline_id, row_key) do update
      set attempts = excluded.attempts, error = excluded.error, failed_at = now()
  ), removed as (
    delete from embedder.job j using failed f
    where j.pipeline_id = pipeline and j.row_key = f.row_key and f.attempts >= allowed
  ), counted as (
    insert into embedder.tally (pipeline_id, source_rows)
    select pipeline, count(*) from failed f where f.attempts >= allowed and f.fresh having count(*) > 0
  ), retried as (
    update embedder.job j set
      leased_by = null, suspect = null, last_error = f.error,
      due_at = now() + least(retry_base * power(2, least(f.attempts - 1, 30)), retry_limit) * (0.5 + random() / 2)
    from failed f where j.pipeline_id = pipeline and j.row_key = f.row_key and f.attempts < allowed
  )
  select f.row_key, f.attempts >= allowed from failed f;
end
$$;
comment on function embedder.fail_jobs is 'Books failed attempts: retry with exponential backoff and jitter, or dead letter.';
