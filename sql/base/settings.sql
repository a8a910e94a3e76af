-- Constants that SQL and the worker share, each with its reason.

-- A worker writes its heartbeat every 2 s (HEARTBEAT_MS in src/worker/registration.ts). Five missed beats: it is gone.
-- Callable by: everybody.
create or replace function embedder.worker_timeout() returns interval
language sql immutable parallel safe
return interval '10 seconds';

-- 1 when a worker may be asleep. A sequence, since it is written in place: while somebody's snapshot is old, versions of the register's rows pile
-- up, which are written whenever a worker falls asleep or wakes, and each insert would read them all. So writers look at the register only
-- where this says 1. No worker may be asleep all the same; and where one is and another one, waking, has not seen it, its next beat says so.
create sequence if not exists embedder.asleep minvalue 0 start 0;

-- The statement that wakes sleeping workers, for the end of a function that has queued jobs. Its channel is
-- embedder_job; the payload is empty for new jobs, 'pipeline' when a declaration changed, and 'request' when a query text
-- waits (sql/search/requests.sql). NOTIFY takes a database-wide lock at commit, so it is sent only when someone sleeps (docs/decisions.md, Queue 5). As text, to stand in
-- the trigger functions themselves: a call of a function would cost a tenth of a single insert's time. Every name has its
-- schema, since the insert trigger runs with the user's search_path. A transaction that has notified cannot be prepared: where the
-- server has prepared transactions no NOTIFY is sent, and workers look more often (src/worker/claim-loop.ts).
create or replace function embedder.wake_statement() returns text
language sql immutable set search_path = pg_catalog, pg_temp as $$
  select format($f$
    if found and (select s.last_value from embedder.asleep s) operator(pg_catalog.=) 1 and exists (
      select from embedder.worker_process
      where idle and listening
        and beat_at operator(pg_catalog.>) (pg_catalog.now() operator(pg_catalog.-) %L::pg_catalog.interval)
    ) and pg_catalog.current_setting('max_prepared_transactions') operator(pg_catalog.=) '0' then
      perform pg_catalog.pg_notify('embedder_job', '');
    end if;$f$, embedder.worker_timeout())
$$;

-- A type of pgvector with its schema, wherever the extension was installed; null where this pgvector has no such type.
-- Callable by: everybody.
create or replace function embedder.vector_type(kind text default 'vector') returns text
language plpgsql stable set search_path = pg_catalog, pg_temp as $$
begin
  return (
    select format('%I.%I', n.nspname, t.typname)
    from pg_extension e join pg_namespace n on n.oid = e.extnamespace
    join pg_type t on t.typnamespace = n.oid and t.typname = kind
    where e.extname = 'vector');
end
$$;
comment on function embedder.vector_type is 'The name of a type of pgvector''s, qualified with the schema it was installed in.';
