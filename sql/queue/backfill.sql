-- Backfills: rows that have no result get one. The key order is cut into ranges, each with its checkpoint, and a worker
-- that has nothing better to do takes rows out of a range as jobs that are leased to it already. So there is never a job
-- row for each source row, and live changes go first.

-- Rows of a range, as a rule; and the most ranges of a backfill: beyond that they become longer.
-- Callable by: everybody.
create or replace function embedder.rows_per_range() returns bigint
language sql immutable
return 10000;

-- Callable by: everybody.
create or replace function embedder.most_ranges() returns bigint
language sql immutable
return 4000;

-- Callable by: everybody.
create or replace function embedder.backfill(
  name text, condition text default null, force boolean default false, stale boolean default false) returns bigint
language plpgsql set search_path = pg_catalog, pg_temp as $$
declare
  p embedder.pipeline := embedder.own_pipeline(name);
begin
  -- Here, with the caller's rights: planning a statement can run code, such as the checks of a domain.
  if condition is not null then
    perform embedder.check_condition(p, condition);
  end if;
  return embedder.command(p.id, 'backfill', jsonb_build_object('condition', condition, 'force', force, 'stale', stale))::bigint;
end
$$;
comment on function embedder.backfill is
  'Queues the rows that have no result; with stale also those whose result was made of another text, and results whose row is gone; with force all. Of the rows of the source only those that fulfil the condition. Returns the ranges it has yet to walk. Safe to call again and again: one that is under way is not begun again.';

-- Whether a backfill finds all rows that another one would find.
create or replace function embedder.covers(run embedder.backfill_run, other embedder.backfill_run) returns boolean
language sql immutable set search_path = pg_catalog, pg_temp as $$
  select (run.condition is null or run.condition is not distinct from other.condition)
    and (run.force or not other.force and run.stale >= other.stale)
$$;

-- Whether a backfill looks for results, and for dead letters, whose row is gone. A condition can hold for existing rows only.
create or replace function embedder.seeks_orphans(run embedder.backfill_run) returns boolean
language sql immutable set search_path = pg_catalog, pg_temp as $$
  select (run.stale or run.force) and run.condition is null
$$;

-- again: begins another one even while one is under way, since what has changed may concern rows that it has walked past.
create or replace function embedder.start_backfill(
  p embedder.pipeline, condition text default null, force boolean default false, stale boolean default false, again boolean default false)
returns bigint
language plpgsql set search_path = pg_catalog, pg_temp as $$
declare
  run embedder.backfill_run;
  ranges bigint;
begin
  run.condition := start_backfill.condition;
  run.force := start_backfill.force;
  run.stale := start_backfill.stale;
  -- One call at a time: two would both find nothing under way.
  perform 1 from embedder.pipeline e where e.id = p.id for update;
  if not again then
    select count(*) into ranges from embedder.backfill_range f
    where f.run_id = (
      select r.id from embedder.backfill_run r
      where r.pipeline_id = p.id and r.error is null and embedder.covers(r, run) order by r.id limit 1);
    if ranges > 0 then return ranges; end if;
  end if;
  -- Backfills whose work this one does as well are ended. Their ranges go first: a worker locks in that order.
  perform 1 from embedder.backfill_range f join embedder.backfill_run r on r.id = f.run_id
  where r.pipeline_id = p.id and (r.error is not null or embedder.covers(run, r)) for update of f;
  delete from embedder.backfill_run r where r.pipeline_id = p.id and (r.error is not null or embedder.covers(run, r));
  if run.stale then perform embedder.recall_jobs(p.id); end if;
  if embedder.seeks_orphans(run) then
    -- Dead letters of keys that are too long: it cannot be told whether their rows are still there. The backfill finds those that are.
    delete from embedder.dead_letter d where d.pipeline_id = p.id and d.attempts = 0;
  end if;
  insert into embedder.backfill_run (pipeline_id, condition, force, stale) values (p.id, run.condition, run.force, run.stale)
  returning id into run.id;
  execute format('insert into embedder.backfill_range (run_id, pipeline_id, place, after_key, to_key, row_keys, rows_left) '
    'select $1, $2, c.place, c.after_key, c.to_key, c.row_keys, c.row_count from embedder.%I($3) c', format('pipeline_%s_ranges', p.id))
    using run.id, p.id, embedder.seeks_orphans(run);
  get diagnostics ranges = row_count;
  perform pg_notify('embedder_job', '');
  return ranges;
end
$$;

-- Callable by: everybody.
create or replace function embedder.check_condition(p embedder.pipeline, condition text) returns void
language plpgsql set search_path = pg_catalog, pg_temp as $$
declare
  reason text;
begin
  -- Declared and never run: so the condition has to be one condition, and nothing else.
  execute format(e'prepare embedder_condition as select from %s source where (%s\n)', p.source, condition);
  deallocate embedder_condition;
exception
  when insufficient_privilege then raise;
  when others then
    get stacked diagnostics reason = message_text;
    raise exception 'the condition % does not work on %: %', quote_literal(condition), p.source, reason
      using errcode = 'invalid_parameter_value', hint = 'It is a condition on a row of the source, as after "where", with every name outside pg_catalog qualified: for example created_at > ''2026-01-01''.';
end
$$;

-- Takes the next rows out of the backfills of the given pipelines, in their order, as jobs leased to a worker. A single row
-- without a row_key says that there is more: ranges were walked in which no row needs a job, or rows put aside for a moment.
-- Callable by: workers, with the rights of the schema's owner.
create or replace function embedder.claim_backfill(worker int, pipeline_ids int[], max_jobs int, lease interval)
returns table (pipeline_id int, row_key text, version bigint, attempts smallint)
language plpgsql security definer set search_path = pg_catalog, pg_temp set lock_timeout = '100ms' as $$
declare
  of_pipeline int;
  step record;
  more boolean := false;
  begun timestamptz := clock_timestamp();
begin
  perform set_config('synchronous_commit', 'off', true);
  <<pipelines>>
  foreach of_pipeline in array pipeline_ids loop
    -- In a backfill that is done again most ranges have no row that needs a job. They are not all walked at once: jobs that
    -- become due meanwhile would have to wait.
    loop
      more := clock_timestamp() > begun + interval '50 ms';
      exit pipelines when more;
      begin
        step := embedder.walk_range(of_pipeline, worker, max_jobs, lease);
        exit when not step.walked;
      exception when lock_not_available or undefined_table or undefined_column or undefined_function then
        exit; -- Somebody is changing the tables; a worker follows them soon.
      end;
      return query
        select j.pipeline_id, j.row_key, j.version, j.attempts from unnest(step.claimed) j;
      if found then return; end if;
    end loop;
  end loop;
  if more or exists (
    select from embedder.backfill_range r join embedder.pipeline p on p.id = r.pipeline_id and not p.paused
    where r.pipeline_id = any (pipeline_ids) and r.not_before between now() and now() + interval '1 s')
  then
    return query select null::int, null::text, null::bigint, null::smallint;
  end if;
end
$$;
comment on function embedder.claim_backfill is 'Leases the next rows of backfills to a worker; one row of nulls: ask again soon.';

-- Jobs for rows of a backfill, leased to a worker; but for keys that may not fit into the queue (sql/generated/long_keys.sql).
create or replace function embedder.make_jobs(pipeline int, worker int, row_keys text[], lease interval) returns embedder.job[]
language plpgsql set search_path = pg_catalog, pg_temp as $$
declare
  made embedder.job[];
begin
  with made as (
    insert into embedder.job as j (pipeline_id, row_key, leased_by, due_at, attempts)
    select pipeline, k, worker, now() + lease, 1 from unnest(row_keys) k
    on conflict (pipeline_id, row_key) do nothing
    returning j
  ) select array_agg(m.j) into made from made m;
  return made;
exception when program_limit_exceeded then
  execute format('select embedder.%I($1, null)', format('pipeline_%s_enqueue_each', pipeline))
    using array(select k from unnest(row_keys) k where octet_length(k) > embedder.longest_key());
  return embedder.make_jobs(pipeline, worker, array(select k from unnest(row_keys) k where octet_length(k) <= embedder.longest_key()), lease);
end
$$;

-- Those of the given pipelines whose backfill has rows to walk, in their order; soon: not now, but in a moment.
-- Callable by: workers, with the rights of the schema's owner.
create or replace function embedder.backfills_due(pipeline_ids int[]) returns table (pipeline_id int, soon boolean)
language sql stable set search_path = pg_catalog, pg_temp as $$
  select p.id, r.soon
  from unnest(pipeline_ids) with ordinality p(id, place)
  join embedder.pipeline e on e.id = p.id and not e.paused
  cross join lateral (select
    case
      when exists (select from embedder.backfill_range r join embedder.backfill_run run on run.id = r.run_id and run.error is null
        where r.pipeline_id = p.id and coalesce(r.not_before <= now(), true)) then false
      when exists (select from embedder.backfill_range r join embedder.backfill_run run on run.id = r.run_id and run.error is null
        where r.pipeline_id = p.id and r.not_before <= now() + interval '1 second') then true
    end as soon) r
  where r.soon is not null order by p.place
$$;

-- Goes on in a range of a pipeline's backfills; the rows that it finds become jobs, leased to the worker. walked is
-- false when no range is left.
create or replace function embedder.walk_range(
  of_pipeline int, worker int, max_jobs int, lease interval, out walked boolean, out claimed embedder.job[])
language plpgsql set search_path = pg_catalog, pg_temp as $$
declare
  r record;
  queued text[];
  keys text[];
  free text[];
  reason text;
  state text;
begin
  walked := false;
  select f.run_id, f.place, f.after_key, f.to_key, f.row_keys, run.condition, run.force, run.stale into r
  from embedder.backfill_range f join embedder.backfill_run run on run.id = f.run_id and run.pipeline_id = f.pipeline_id
  where f.pipeline_id = of_pipeline and run.error is null and coalesce(f.not_before <= now(), true)
    and exists (select from embedder.pipeline p where p.id = of_pipeline and not p.paused)
  order by f.run_id, f.place limit 1 for update of f skip locked;
  if not found then return; end if;

  begin
    -- Jobs as they were before the rows are looked at, by the snapshot of this statement, which is older than that of those in the function:
    -- a job that is done in between was for a row that had no result then.
    execute format('select coalesce(array_agg(n.row_key order by n.place), ''{}''), coalesce(array_agg(n.row_key) filter (where exists ('
      'select from embedder.job j where j.pipeline_id = $8 and j.row_key = n.row_key offset 0)), ''{}'') '
      'from embedder.%I($1, $2, $3, $4, $5, $6, $7) with ordinality n(row_key, place)', format('pipeline_%s_next', of_pipeline))
      into keys, queued using r.after_key, r.to_key, r.condition, r.force, max_jobs, r.row_keys, r.stale, of_pipeline;
    -- Locked, so that nobody deletes a row meanwhile: its trigger would not see the job, and a result would stay behind. And
    -- nobody who has changed the row is waited for: a user's transaction may be open for hours.
    execute format('select array(select embedder.%I($1))', format('pipeline_%s_lock', of_pipeline)) into free using keys;
  exception
    when transaction_rollback or lock_not_available or insufficient_resources or query_canceled or operator_intervention then raise;
    when others then
      get stacked diagnostics reason = message_text, state = returned_sqlstate;
      -- Made for the tables as they were, such as those of another owner: a worker follows them soon.
      if exists (select from embedder.pipeline p where p.id = of_pipeline and p.fingerprint is distinct from embedder.fingerprint_of(p)) then
        return;
      end if;
      -- An unknown name comes from the condition, or from tables that are just being changed. Anything else is the fault of
      -- the condition, the filter or the rows, which may raise what they like: it stops this backfill, and not the worker.
      if state in ('42P01', '42703', '42883') and r.condition is null then raise; end if;
      update embedder.backfill_run run set error = reason where run.id = r.run_id;
      walked := true;
      return;
  end;

  if cardinality(free) < cardinality(keys) then
    -- A worker that writes another column of the row is done soon.
    perform embedder.put_aside(r.run_id, array(select k from unnest(keys) k where k not in (select unnest(free))),
      case when r.row_keys is null then interval '200 ms' else interval '5 s' end);
  end if;
  begin
    claimed := embedder.make_jobs(of_pipeline, worker, array(select k from unnest(free) k where k not in (select unnest(queued))), lease);
  exception when lock_not_available then
    -- A result without a row, while an open transaction inserts this row. In halves, until its key is alone.
    perform embedder.put_aside(r.run_id, part, interval '5 s')
    from (values (free[:cardinality(free) / 2]), (free[cardinality(free) / 2 + 1:])) v(part);
  end;
  if r.row_keys is not null or cardinality(keys) < max_jobs then
    delete from embedder.backfill_range f where f.run_id = r.run_id and f.place = r.place;
    -- A backfill that looks for unseen changes is ended by embedder.end_backfills.
    delete from embedder.backfill_run run
    where run.id = r.run_id and not run.stale and not exists (select from embedder.backfill_range f where f.run_id = r.run_id);
  else
    update embedder.backfill_range f
    set after_key = keys[cardinality(keys)], rows_left = greatest(0, f.rows_left - cardinality(keys))
    where f.run_id = r.run_id and f.place = r.place;
  end if;
  walked := true;
end
$$;

-- Rows of a backfill that cannot be worked on now.
create or replace function embedder.put_aside(run_id bigint, row_keys text[], delay interval) returns void
language plpgsql set search_path = pg_catalog, pg_temp as $$
begin
  if cardinality(row_keys) = 0 then return; end if;
  -- One at a time: two workers would both take the next place.
  perform 1 from embedder.backfill_run r where r.id = put_aside.run_id for no key update;
  insert into embedder.backfill_range (run_id, pipeline_id, place, row_keys, not_before, rows_left)
  select r.id, r.pipeline_id, 1 + coalesce((select max(f.place) from embedder.backfill_range f where f.run_id = r.id), 0),
    put_aside.row_keys, now() + delay, cardinality(put_aside.row_keys)
  from embedder.backfill_run r where r.id = put_aside.run_id;
end
$$;

-- Ends backfills that have looked for rows which came and went unseen: the counts are made right. Called by workers.
-- Callable by: workers, with the rights of the schema's owner.
create or replace function embedder.end_backfills() returns void
language plpgsql security definer set search_path = pg_catalog, pg_temp as $$
declare
  run embedder.backfill_run;
begin
  for run in
    select r.* from embedder.backfill_run r join embedder.pipeline p on p.id = r.pipeline_id
    where r.stale and r.error is null and not exists (select from embedder.backfill_range f where f.run_id = r.id)
    for update skip locked
  loop
    update embedder.pipeline e set uncounted_since = clock_timestamp() where e.id = run.pipeline_id;
    delete from embedder.backfill_run r where r.id = run.id;
  end loop;
end
$$;
comment on function embedder.end_backfills is 'Has the rows counted of pipelines whose stale backfill has ended.';
