-- The register of running workers.

-- Writes a worker's heartbeat. False when it is no longer on the register (it was taken for dead) and must register again.
-- Callable by: workers, with the rights of the schema's owner.
create or replace function embedder.beat(worker int) returns boolean
language plpgsql set search_path = pg_catalog, pg_temp as $$
declare
  asleep boolean;
begin
  perform set_config('synchronous_commit', 'off', true);
  update embedder.worker_process set beat_at = now() where id = worker returning idle into asleep;
  if asleep and (select s.last_value from embedder.asleep s) <> 1 then perform setval('embedder.asleep', 1); end if;
  return found;
end
$$;

-- Wakes the workers that are asleep, for a transaction that has queued jobs. Its channel is embedder_job; the payload is empty for new jobs,
-- 'pipeline' when a declaration changed, and 'request' when a query text waits (sql/search/requests.sql). NOTIFY takes a database-wide lock at
-- commit (docs/decisions.md, Queue 5), so it is sent only when someone sleeps, and by one transaction: until a worker has looked for jobs, those that
-- come after the commit of this one need not.
-- A transaction that has notified cannot be prepared: where the server has prepared transactions no NOTIFY is sent, and workers look more
-- often (src/worker/claim-loop.ts).
-- Callable by: everybody.
create or replace function embedder.wake() returns void
language plpgsql security definer set search_path = pg_catalog, pg_temp as $$
begin
  if current_setting('max_prepared_transactions') <> '0'
    or not exists (
      select from embedder.worker_process where idle and listening and beat_at > now() - embedder.worker_timeout())
  then
    return;
  end if;
  perform setval('embedder.asleep', pg_current_xact_id()::text::bigint);
  perform pg_notify('embedder_job', '');
end
$$;

-- Has the next writer notify again: whoever looks for jobs now does not see those of a transaction that is under way.
create or replace function embedder.expect_notice() returns void
language plpgsql set search_path = pg_catalog, pg_temp as $$
begin
  if (select s.last_value from embedder.asleep s) > 1 then perform setval('embedder.asleep', 1); end if;
end
$$;

-- Notes what keeps a worker from claiming; null: nothing.
-- Callable by: workers, with the rights of the schema's owner.
create or replace function embedder.note_worker(worker int, note text) returns void
language sql set search_path = pg_catalog, pg_temp as $$
  update embedder.worker_process w set note = note_worker.note where w.id = worker
$$;

-- Callable by: workers, with the rights of the schema's owner.
create or replace function embedder.set_idle(worker int, is_idle boolean) returns void
language plpgsql set search_path = pg_catalog, pg_temp as $$
begin
  perform set_config('synchronous_commit', 'off', true);
  update embedder.worker_process set idle = is_idle, beat_at = now() where id = worker;
  perform setval('embedder.asleep', (is_idle or exists (
    select from embedder.worker_process w where w.id <> worker and w.idle and w.listening and w.beat_at >= now() - embedder.worker_timeout()))::int);
end
$$;

-- Has an idle worker count as alive without a heartbeat, until one of these pipelines has a job due, and at most for most_seconds. Returns for
-- how many seconds; null, and nothing has changed, where that is less than least_seconds. What others hold is due when its lease ends.
-- Callable by: workers, with the rights of the schema's owner.
create or replace function embedder.go_quiet(worker int, pipeline_ids int[], least_seconds double precision, most_seconds double precision)
returns double precision
language plpgsql set search_path = pg_catalog, pg_temp set enable_seqscan = off set enable_sort = off set jit = off as $$
declare
  first_due timestamptz := (
    select min(job.due_at) from unnest(pipeline_ids) id
    cross join lateral (select d.due_at from embedder.job d where d.pipeline_id = id order by d.due_at limit 1) job);
  seconds double precision := least(most_seconds, extract(epoch from first_due - clock_timestamp()));
begin
  if seconds < least_seconds then return null; end if;
  update embedder.worker_process set beat_at = now() + make_interval(secs => seconds) where id = worker and idle;
  return case when found then seconds end;
end
$$;

create or replace view embedder.worker as
select w.id, w.hostname, w.pid, w.version, w.listening, w.idle, w.started_at, w.beat_at,
  w.beat_at >= now() - embedder.worker_timeout() as alive, w.note
from embedder.worker_process w;
comment on column embedder.worker.note is 'What keeps the worker from claiming; null when nothing does.';
comment on view embedder.worker is 'Running workers; alive is false when the heartbeat is overdue.';
