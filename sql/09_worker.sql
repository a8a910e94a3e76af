-- The register of running workers.

-- Writes a worker's heartbeat. False when it is no longer on the register (it was taken for dead), and must register anew.
create or replace function embedder.beat(worker int) returns boolean
language plpgsql set search_path = pg_catalog, pg_temp as $$
begin
  perform set_config('synchronous_commit', 'off', true);
  update embedder.worker_process set beat_at = now() where id = worker;
  return found;
end
$$;

create or replace function embedder.set_idle(worker int, is_idle boolean) returns void
language plpgsql set search_path = pg_catalog, pg_temp as $$
begin
  perform set_config('synchronous_commit', 'off', true);
  update embedder.worker_process set idle = is_idle, beat_at = now() where id = worker;
end
$$;

-- Takes workers without a heartbeat off the register and frees what they held. Their attempts stay counted: a row that
-- kills its worker must not do so for ever.
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
    freed := embedder.free_jobs(dead);
  end if;
  return freed;
end
$$;
comment on function embedder.rescue_jobs is 'Frees the jobs of workers whose heartbeat is gone. Returns how many.';

create or replace function embedder.free_jobs(workers int[]) returns bigint
language plpgsql set search_path = pg_catalog, pg_temp as $$
declare
  freed bigint;
begin
  update embedder.job set leased_by = null, due_at = now()
  where ctid in (select ctid from embedder.job where leased_by = any (workers) for update skip locked);
  get diagnostics freed = row_count;
  return freed;
end
$$;

-- Writes an error that concerns a whole pipeline, or clears it (null). The time stays that of the first one.
create or replace function embedder.set_pipeline_error(pipeline int, message text) returns void
language sql set search_path = pg_catalog, pg_temp as $$
  update embedder.pipeline p set error = message, error_at = case when message is not null then now() end
  where p.id = set_pipeline_error.pipeline and p.error is distinct from message
$$;

-- Marks pipelines whose first filling has ended.
create or replace function embedder.mark_filled() returns setof text
language plpgsql security definer set search_path = pg_catalog, pg_temp as $$
begin
  -- Two workers that end the last two ranges of a run at once each leave it to the other.
  delete from embedder.backfill_run r
  where r.error is null and not exists (select from embedder.backfill_range f where f.run_id = r.id);
  return query
    update embedder.pipeline p set filled_at = now()
    where filled_at is null and error is null
      and not exists (select from embedder.job j where j.pipeline_id = p.id)
      and not exists (select from embedder.backfill_run r where r.pipeline_id = p.id)
    returning name;
end
$$;

create or replace view embedder.worker as
select w.id, w.hostname, w.pid, w.version, w.listening, w.idle, w.started_at, w.beat_at,
  w.beat_at >= now() - embedder.worker_timeout() as alive
from embedder.worker_process w;
comment on view embedder.worker is 'Running workers; alive is false when the heartbeat is overdue.';
