-- A job's version is a random number, made anew each time the job is asked for. A transaction's id, which it was, is given
-- out a second time after a crash or a failover that undoes the first one.

-- Made again in sql/, with other arguments or results.
do $$
declare
  f regprocedure;
begin
  for f in select oid from pg_proc
    where pronamespace = 'embedder'::regnamespace
      and ('xid8'::regtype = any (proallargtypes) or 'xid8[]'::regtype = any (proargtypes::oid[]) or proname in ('walk_range', 'trigger_failed', 'enqueue_jobs', 'enqueue_statement'))
  loop
    execute format('drop function %s', f);
  end loop;
end
$$;

-- Below 2^53, so that a client may read it as a number; and with the clock in it, for the case that a session has set the seed.
-- Jobs that are there get 0, by a default of the table that writes none of its rows; one that is asked for again gets another.
alter table embedder.job drop column version;
alter table embedder.job add column version bigint not null default 0;
alter table embedder.job alter column version
  set default (random() * 4503599627370495)::bigint # (date_part('epoch', clock_timestamp()) * 1000000)::bigint;
comment on column embedder.job.version is 'A random number, made anew whenever the job is asked for. A batch is written only where it is still the one that was claimed.';
