-- What becomes of the jobs of a worker that is gone.

-- Notes that a worker begins a batch, before anything of it is in its memory, and that others of its batches have ended.
-- Callable by: workers, with the rights of the schema's owner.
create or replace function embedder.begin_batch(worker int, batch int, pipeline int, row_keys text[], ended int[]) returns void
language plpgsql set search_path = pg_catalog, pg_temp as $$
begin
  perform set_config('synchronous_commit', 'off', true);
  delete from embedder.under_way u where u.worker_id = worker and u.batch = any (ended);
  insert into embedder.under_way values (worker, begin_batch.batch, pipeline, begin_batch.row_keys);
end
$$;
comment on function embedder.begin_batch is 'Notes what a worker is about to work on: should it die, that is suspect, and nothing else.';

-- Takes a worker off the register, and frees what it still holds. Returns how many of its jobs somebody else has locked,
-- where no other worker is there to free them later.
-- Callable by: workers, with the rights of the schema's owner.
create or replace function embedder.deregister(worker int) returns bigint
language plpgsql set search_path = pg_catalog, pg_temp as $$
begin
  delete from embedder.under_way where worker_id = worker;
  delete from embedder.worker_process where id = worker;
  perform embedder.free_jobs();
  return (select count(*) from embedder.job j where j.leased_by = worker and embedder.job_state(j) = 'leased'
    and not exists (select from embedder.worker_process w where w.beat_at >= now() - embedder.worker_timeout()));
end
$$;

-- Takes workers without a heartbeat off the register and frees what they held.
-- Callable by: workers, with the rights of the schema's owner.
create or replace function embedder.rescue_jobs() returns bigint
language plpgsql set search_path = pg_catalog, pg_temp as $$
declare
  dead int[];
  freed bigint := 0;
begin
  with gone as (
    delete from embedder.worker_process
    where id in (
      select id from embedder.worker_process
      where beat_at < now() - embedder.worker_timeout() for update skip locked)
    returning id
  ) select array_agg(id) into dead from gone;
  if dead is not null then
    freed := embedder.suspect_jobs(dead);
    delete from embedder.under_way where worker_id = any (dead);
  end if;
  return freed + embedder.free_jobs();
end
$$;
comment on function embedder.rescue_jobs is 'Frees the jobs of workers whose heartbeat is gone. Returns how many.';

-- Frees what dead workers had begun, as suspects: each worker's in two halves, which are worked on one at a time. A row that
-- was under way alone has died with its worker: that is a failed attempt.
create or replace function embedder.suspect_jobs(workers int[]) returns bigint
language plpgsql set search_path = pg_catalog, pg_temp set enable_seqscan = off set jit = off as $$
declare
  row record;
  freed bigint := 0;
begin
  for row in
    with begun as materialized (
      select j.ctid, j.pipeline_id, j.row_key, j.version, j.attempts, j.leased_by
      from (
        select distinct u.worker_id, u.pipeline_id, k.row_key
        from embedder.under_way u cross join unnest(u.row_keys) k(row_key) where u.worker_id = any (workers)
      ) u
      join embedder.job j on j.pipeline_id = u.pipeline_id and j.row_key = u.row_key and j.leased_by = u.worker_id
      for update of j skip locked
    ), placed as (
      select b.*, count(*) over w as begun_rows, row_number() over (w order by b.pipeline_id, b.row_key) as place
      from begun b window w as (partition by b.leased_by)
    )
    update embedder.job j set
      suspect = 2 * p.leased_by::bigint + (2 * p.place > p.begun_rows)::int,
      leased_by = case when p.begun_rows = 1 then j.leased_by end,
      due_at = now(), attempts = j.attempts - case when p.begun_rows = 1 or j.attempts = 0 then 0 else 1 end
    from placed p where j.ctid = p.ctid
    returning p.*, j.suspect
  loop
    freed := freed + 1;
    if row.begun_rows = 1 then
      perform embedder.fail_jobs(row.leased_by, row.pipeline_id, array[row.row_key], array[row.version],
        array[format('the worker that held this row died, %s times', row.attempts)], interval '2 seconds', interval '10 minutes');
      update embedder.job e set suspect = row.suspect where e.pipeline_id = row.pipeline_id and e.row_key = row.row_key;
    end if;
  end loop;
  return freed;
end
$$;

-- Frees the jobs whose worker is not on the register: those that a dead worker had claimed and not begun, those that somebody had
-- locked when their worker ended, those that were claimed under a number that was gone already. No attempt is counted. It reads along
-- the index job_due: only leases and backoffs end in the future.
drop function if exists embedder.free_jobs(int[]);

create or replace function embedder.free_jobs() returns bigint
language plpgsql set search_path = pg_catalog, pg_temp set enable_seqscan = off set jit = off as $$
declare
  gone int[] := array(
    select distinct j.leased_by
    from embedder.pipeline p cross join lateral (
      select j.leased_by from embedder.job j where j.pipeline_id = p.id and j.due_at > now() and j.leased_by is not null) j
    where not exists (select from embedder.worker_process w where w.id = j.leased_by));
  freed bigint := 0;
begin
  if gone <> '{}' then
    update embedder.job set leased_by = null, due_at = now(), attempts = greatest(attempts - 1, 0)
    where ctid in (
      select j.ctid from embedder.pipeline p cross join lateral (
        select j.ctid from embedder.job j where j.pipeline_id = p.id and j.due_at > now() and j.leased_by = any (gone)
        for update skip locked) j);
    get diagnostics freed = row_count;
  end if;
  return freed;
end
$$;

-- What other workers hold, and when each last gave a sign of life (null: it is not on the register any more).
-- Callable by: workers, with the rights of the schema's owner.
create or replace function embedder.leased_elsewhere(worker int) returns table (holder int, beat_at timestamptz, leased bigint)
language sql stable set search_path = pg_catalog, pg_temp as $$
  select j.leased_by, w.beat_at, count(*)
  from embedder.job j left join embedder.worker_process w on w.id = j.leased_by
  where j.leased_by <> worker and embedder.job_state(j) = 'leased' group by j.leased_by, w.beat_at
$$;
