-- Constants that SQL and the worker share, each with its reason.

-- A worker writes its heartbeat every 2 s (HEARTBEAT_MS in src/worker/registration.ts). Five missed beats: it is gone.
-- Callable by: everybody.
create or replace function embedder.worker_timeout() returns interval
language sql immutable parallel safe
return interval '10 seconds';

-- Not 0 when a worker may be asleep. A sequence, since it is written in place: while somebody's snapshot is old, versions of the register's rows pile
-- up, which are written whenever a worker falls asleep or wakes, and each insert would read them all. So writers look at the register only
-- where this says so. No worker may be asleep all the same; and where one is and another one, waking, has not seen it, its next beat says so.
-- Above 1 it is the transaction that has woken whoever was asleep (embedder.wake in sql/queue/register.sql).
create sequence if not exists embedder.asleep minvalue 0 start 0;

-- Whether the transaction of this number has woken whoever is asleep. One that is still open may be so for long, and one that was rolled back
-- has notified nobody. A number that is not from this server's transactions, as of a dump, lies ahead of them or is forgotten.
-- Without settings of its own, so that it becomes part of the statement that calls it.
-- Callable by: everybody.
create or replace function embedder.are_woken(by_transaction bigint) returns boolean
language sql volatile
return case when by_transaction > 1 and by_transaction::text::xid8 < pg_snapshot_xmax(pg_current_snapshot())
  then coalesce(pg_xact_status(by_transaction::text::xid8) = 'committed', false) else false end;

-- The statement that wakes sleeping workers, for the end of a function that has queued jobs. As text, to stand in the trigger
-- functions themselves: a call of a function would cost a tenth of a single insert's time. Every name has its schema, since the
-- insert trigger runs with the user's search_path.
create or replace function embedder.wake_statement() returns text
language sql immutable set search_path = pg_catalog, pg_temp as $$
  select $f$
    if found and (select s.last_value operator(pg_catalog.<>) 0 and not embedder.are_woken(s.last_value) from embedder.asleep s) then
      perform embedder.wake();
    end if;$f$
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
