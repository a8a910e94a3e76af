-- Constants that SQL and the worker share, each with its reason.

-- A worker writes its heartbeat every 2 s (HEARTBEAT_MS in src/worker/heartbeat.ts). Five missed beats: it is gone.
create or replace function embedder.worker_timeout() returns interval
language sql immutable parallel safe
return interval '10 seconds';

-- The channel on which workers are woken. The payload is empty for new jobs and 'pipeline' when a declaration changed.
create or replace function embedder.wake_workers() returns void
language plpgsql security definer set search_path = pg_catalog, pg_temp as $$
begin
  -- NOTIFY takes a database-wide lock at commit, so it is sent only when someone sleeps (docs/decisions.md, 5).
  if exists (
    select from embedder.worker_process
    where idle and listening and beat_at > now() - embedder.worker_timeout()
  ) then
    perform pg_notify('embedder_job', '');
  end if;
end
$$;
comment on function embedder.wake_workers is 'Wakes sleeping workers by NOTIFY; does nothing while all are busy.';

-- The type of pgvector with its schema, wherever the extension was installed.
create or replace function embedder.vector_type() returns text
language sql stable set search_path = pg_catalog, pg_temp as $$
  select format('%I.vector', n.nspname)
  from pg_extension e join pg_namespace n on n.oid = e.extnamespace
  where e.extname = 'vector'
$$;
comment on function embedder.vector_type is 'The name of pgvector''s type, qualified with the schema it was installed in.';
