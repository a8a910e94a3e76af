-- Backfills: rows that have no result get one. The key order is cut into ranges, each with its checkpoint, and a worker
-- that has nothing better to do takes rows out of a range as jobs that are leased to it already. So there is never a job
-- row for each source row, and live changes go first.

-- Rows of a range, as a rule; and the most ranges of a backfill: beyond that they become longer.
create or replace function embedder.rows_per_range() returns bigint
language sql immutable
return 10000;
create or replace function embedder.most_ranges() returns bigint
language sql immutable
return 4000;

create or replace function embedder.backfill(name text, condition text default null, force boolean default false) returns bigint
language plpgsql set search_path = pg_catalog, pg_temp as $$
declare
  p embedder.pipeline := embedder.own_pipeline(name);
begin
  -- Here, with the caller's rights: to declare a statement runs code, such as the checks of a domain.
  if condition is not null then
    perform embedder.check_condition(p, condition);
  end if;
  return embedder.command(p.id, 'backfill', jsonb_build_object('condition', condition, 'force', force))::bigint;
end
$$;
comment on function embedder.backfill is
  'Queues the rows that have no result, or with force all; of those the ones that fulfil the condition. Returns the ranges it has yet to walk. Safe to call again and again: one that is under way is not begun anew.';

-- anew: also where one is under way. What has changed may concern rows that it has walked past.
drop function if exists embedder.start_backfill(embedder.pipeline, text, boolean);
create or replace function embedder.start_backfill(p embedder.pipeline, condition text, force boolean, anew boolean default false) returns bigint
language plpgsql set search_path = pg_catalog, pg_temp as $$
declare
  run embedder.backfill_run;
  ranges bigint;
begin
  -- One call at a time: two would both find nothing under way.
  perform 1 from embedder.pipeline e where e.id = p.id for update;
  select * into run from embedder.backfill_run r
  where r.pipeline_id = p.id and r.error is null and not start_backfill.anew
    and (r.condition is not distinct from start_backfill.condition or r.condition is null) and r.force >= start_backfill.force;
  if found then
    return (select count(*) from embedder.backfill_range r where r.run_id = run.id);
  end if;
  delete from embedder.backfill_run r where r.pipeline_id = p.id and r.error is not null;
  insert into embedder.backfill_run (pipeline_id, condition, force) values (p.id, start_backfill.condition, start_backfill.force)
  returning * into run;
  execute format('insert into embedder.backfill_range (run_id, pipeline_id, place, after_key, to_key, rows_left) '
    'select $1, $2, c.place, c.after_key, c.to_key, c.row_count from embedder.%I() c', format('pipeline_%s_ranges', p.id))
    using run.id, p.id;
  get diagnostics ranges = row_count;
  if ranges = 0 then
    delete from embedder.backfill_run r where r.id = run.id;
  else
    perform pg_notify('embedder_job', '');
  end if;
  return ranges;
end
$$;

create or replace function embedder.check_condition(p embedder.pipeline, condition text) returns void
language plpgsql set search_path = pg_catalog, pg_temp as $$
declare
  reason text;
begin
  -- Declared and never run: the statement must be one, and its condition a condition.
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

-- Functions of a pipeline's own:
--   ranges()                                          cuts the key order
--   next(after, to, condition, force, max, only)      the next rows of a range that need a job, in key order
--   lock(row_keys)                                    locks those of them that are free
create or replace function embedder.generate_backfill(p embedder.pipeline) returns void
language plpgsql set search_path = pg_catalog, pg_temp as $$
declare
  keys text := embedder.key_list(p.source, 'source');
  row_key text := embedder.key_expression(p.source, 'source');
begin
  -- The planner's count is what it was at the last ANALYZE: without one, or for a small table, the cuts are counted out
  -- along the index. A large table is cut by a sample of its blocks: the ranges are then of about the same length.
  perform embedder.create_function(p, 'ranges', '() returns table (place int, after_key text, to_key text, row_count bigint)',
    embedder.key_settings(p.source) || ' set jit = off',
    format($f$
declare
  estimate bigint := (select sum(greatest(c.reltuples, 0)) from pg_class c where c.oid = any (embedder.members_of(%1$L)) and c.relkind = 'r');
  step bigint := greatest(embedder.rows_per_range(), estimate / embedder.most_ranges());
  cuts text[];
begin
  if estimate > 20 * step then
    cuts := array(select c.row_key from (
      select %2$s as row_key, row_number() over (order by %3$s) as place
      from %4$s source tablesample system (least(100, 100.0 * greatest(20000, 20 * estimate / step) / estimate)) repeatable (1)) c
      where c.place %% greatest(1, greatest(20000, 20 * estimate / step) * step / estimate) = 0 order by c.place);
  else
    cuts := array(select c.row_key from (
      select %2$s as row_key, row_number() over (order by %3$s) as place from %4$s source) c
      where c.place %% step = 0 order by c.place);
  end if;
  return query select c.place::int, lag(c.cut) over (order by c.place), c.cut, case when c.cut is null then least(step, greatest(estimate, 1)) else step end
    from unnest(cuts || null::text) with ordinality c(cut, place);
end$f$, p.source::text, row_key, keys, p.source));

  perform embedder.create_function(p, 'next',
    '(after_key text, to_key text, condition text, force boolean, max_rows int, only_keys text[] default null) returns setof text',
    embedder.key_settings(p.source) || ' set jit = off set lock_timeout = ''50ms''',
    format($f$
begin%6$s
  return query execute %1$L
    || case when $1 is null then '' else %2$L end || case when $2 is null then '' else %3$L end
    || case when $6 is null then '' else %7$L end
    || case when $3 is null then '' else format(e' and (%%s\n)', $3) end
    || case when $4 then '' else %4$L end
    || %5$L using $1, $2, $5, $6;
end$f$,
      format('select %s from %s source where true%s', row_key, p.source, embedder.and_filter(p)),
      format(' and (%s) > (%s)', keys, embedder.key_values(p.source, '$1')),
      format(' and (%s) <= (%s)', keys, embedder.key_values(p.source, '$2')),
      -- A sidecar may be one that a pipeline of another model has left.
      -- Not those that wait for a person, and none without text: they would come up at every backfill.
      format(' and %s and not exists (select from embedder.pipeline_%s_dead_letter d where d.row_key = %s) and %s ~ %L',
        case when p.sidecar then format('not exists (select from %s t where %s and t.model = %L)',
            p.target_table, embedder.keys_equal(p.source, 't', 'source'), p.model)
          else format('source.%I is null', embedder.result_marker(p)) end,
        p.id, row_key, embedder.input_expression(p.source, p.input, 'source'), '\S'),
      format(' order by %s limit $3', keys), embedder.check_names(p),
      format(' and %s = any ($4)', row_key)));

  -- Of these rows, those that nobody has locked; they stay locked to the end of the transaction.
  perform embedder.create_function(p, 'lock', '(row_keys text[]) returns setof text', embedder.key_settings(p.source) || embedder.lookup_settings(),
    format($f$
begin
  return query
    select k.row_key from unnest($1) k(row_key)
    cross join lateral (select from %s source where %s offset 0 for update of source skip locked) row;
end$f$, p.source, embedder.key_matches(p.source, 'source', 'k.row_key')));
end
$$;

-- Takes the next rows out of the backfills of the given pipelines, in their order, as jobs leased to a worker. A single row
-- without a row_key says that there is more: ranges were walked in which no row needs a job, or rows put aside for a moment.
create or replace function embedder.claim_backfill(worker int, pipeline_ids int[], max_jobs int, lease interval)
returns table (pipeline_id int, row_key text, version bigint, attempts smallint)
language plpgsql security definer set search_path = pg_catalog, pg_temp set lock_timeout = '100ms' as $$
declare
  of_pipeline int;
  walked int;
  step record;
  more boolean := false;
begin
  perform set_config('synchronous_commit', 'off', true);
  foreach of_pipeline in array pipeline_ids loop
    -- Ranges that are walked to their end without a row that needs a job are many in a backfill that is done again.
    for i in 1..20 loop
      walked := i;
      begin
        step := embedder.walk_range(of_pipeline, worker, max_jobs, lease);
        exit when not step.walked;
      exception when lock_not_available or undefined_table or undefined_column or undefined_function then
        exit; -- Somebody is changing the tables; a worker follows them soon.
      end;
      return query
        select j.pipeline_id, j.row_key, j.version, j.attempts from unnest(step.claimed) j;
      if found then return; end if;
      more := more or walked = 20;
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

-- Walks on in a range of a pipeline's backfills; what it finds becomes jobs, leased to the worker. walked is
-- false where there is none.
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
  select f.run_id, f.place, f.after_key, f.to_key, f.row_keys, run.condition, run.force into r
  from embedder.backfill_range f join embedder.backfill_run run on run.id = f.run_id and run.pipeline_id = f.pipeline_id
  where f.pipeline_id = of_pipeline and run.error is null and coalesce(f.not_before <= now(), true)
    and exists (select from embedder.pipeline p where p.id = of_pipeline and not p.paused)
  order by f.run_id, f.place limit 1 for update of f skip locked;
  if not found then return; end if;

  -- Seen before the rows are looked at: a job that is done in between was for a row that had no result then.
  queued := array(select j.row_key from embedder.job j where j.pipeline_id = of_pipeline);
  begin
    execute format('select array(select embedder.%I($1, $2, $3, $4, $5, $6))', format('pipeline_%s_next', of_pipeline))
      into keys using r.after_key, r.to_key, r.condition, r.force, max_jobs, r.row_keys;
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
      -- A name that is not there is one in the condition, or the tables are just being changed. Anything else is the fault of
      -- the condition, the filter or the rows, which may raise what they like: it stops this backfill, and not the worker.
      if state in ('42P01', '42703', '42883') and r.condition is null then raise; end if;
      update embedder.backfill_run run set error = reason where run.id = r.run_id;
      walked := true;
      return;
  end;

  if cardinality(free) < cardinality(keys) then
    -- One at a time: two workers would both take the next place.
    perform 1 from embedder.backfill_run run where run.id = r.run_id for no key update;
    insert into embedder.backfill_range (run_id, pipeline_id, place, row_keys, not_before, rows_left)
    select r.run_id, of_pipeline, (select max(f.place) + 1 from embedder.backfill_range f where f.run_id = r.run_id),
      -- A worker that writes another column of the row is done soon.
      array_agg(k), now() + case when r.row_keys is null then interval '200 ms' else interval '5 s' end, count(*)
    from unnest(keys) k where k not in (select unnest(free));
  end if;
  if cardinality(keys) < max_jobs then
    delete from embedder.backfill_range f where f.run_id = r.run_id and f.place = r.place;
    delete from embedder.backfill_run run
    where run.id = r.run_id and not exists (select from embedder.backfill_range f where f.run_id = r.run_id);
  else
    update embedder.backfill_range f
    set after_key = keys[cardinality(keys)], rows_left = greatest(0, f.rows_left - cardinality(keys))
    where f.run_id = r.run_id and f.place = r.place;
  end if;
  with made as (
    insert into embedder.job as j (pipeline_id, row_key, leased_by, due_at, attempts)
    select of_pipeline, k, worker, now() + lease, 1 from unnest(free) k where k not in (select unnest(queued))
    on conflict (pipeline_id, row_key) do nothing
    returning j
  ) select array_agg(made.j) into claimed from made;
  walked := true;
end
$$;
