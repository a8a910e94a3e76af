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
  'Queues the rows that have no result; with stale also those whose result was made of another text, and results whose row is gone; with force all. Of the rows of the source only those that fulfil the condition. Returns the ranges it has yet to walk. Safe to call again and again: one that is under way is not begun anew.';

-- Whether a backfill finds all rows that another one would find.
create or replace function embedder.covers(run embedder.backfill_run, other embedder.backfill_run) returns boolean
language sql immutable set search_path = pg_catalog, pg_temp as $$
  select (run.condition is null or run.condition is not distinct from other.condition)
    and (run.force or not other.force and run.stale >= other.stale)
$$;

-- Whether a backfill looks for results, and for dead letters, whose row is gone. A condition is one on rows that are there.
create or replace function embedder.seeks_orphans(run embedder.backfill_run) returns boolean
language sql immutable set search_path = pg_catalog, pg_temp as $$
  select (run.stale or run.force) and run.condition is null
$$;

-- anew: also where one is under way. What has changed may concern rows that it has walked past.
create or replace function embedder.start_backfill(
  p embedder.pipeline, condition text default null, force boolean default false, stale boolean default false, anew boolean default false)
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
  if not anew then
    select count(*) into ranges from embedder.backfill_range f
    where f.run_id = (
      select r.id from embedder.backfill_run r
      where r.pipeline_id = p.id and r.error is null and embedder.covers(r, run) order by r.id limit 1);
    if ranges > 0 then return ranges; end if;
  end if;
  -- Those that this one does the work of give way. Their ranges first: in that order a worker locks them.
  perform 1 from embedder.backfill_range f join embedder.backfill_run r on r.id = f.run_id
  where r.pipeline_id = p.id and (r.error is not null or embedder.covers(run, r)) for update of f;
  delete from embedder.backfill_run r where r.pipeline_id = p.id and (r.error is not null or embedder.covers(run, r));
  if run.stale then perform embedder.recall_jobs(p.id); end if;
  if embedder.seeks_orphans(run) then
    -- Of keys that are too long: nothing says whether their rows are still there. Those that are are found again.
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
--   ranges(orphans)                                       cuts the key order
--   next(after, to, condition, force, max, only, stale)   the next keys of a range that need a job, in key order
--   lock(row_keys)                                        locks those of them that are free
create or replace function embedder.generate_backfill(p embedder.pipeline) returns void
language plpgsql set search_path = pg_catalog, pg_temp as $$
declare
  keys text := embedder.key_list(p.source, 'source');
  row_key text := embedder.key_expression(p.source, 'source');
begin
  -- Of a small table the cuts are counted out along the index. Any other one is cut by a sample of its blocks, so that the
  -- declaration does not read it: the ranges are of about the same length. How many rows it has is by its present size, and by how
  -- many of them were in a block at the last ANALYZE; where there was none, are in a hundred blocks.
  -- Results beyond the last row are in the last range, which has no end. Dead letters are looked at by themselves.
  perform embedder.create_function(p, 'ranges',
    '(orphans boolean) returns table (place int, after_key text, to_key text, row_keys text[], row_count bigint)',
    embedder.key_settings(p.source) || ' set jit = off',
    embedder.fill($f$
declare
  blocks bigint;
  estimate bigint;
  step bigint;
  sampled bigint;
  cuts text[];
begin
  select coalesce(sum(s.blocks), 0), case when bool_and(c.relpages > 0 and c.reltuples >= 0 or s.blocks = 0) then coalesce(sum(c.reltuples / nullif(c.relpages, 0) * s.blocks), 0) end
  into blocks, estimate
  from pg_class c cross join lateral (select pg_relation_size(c.oid) / current_setting('block_size')::int as blocks) s
  where c.oid = any (embedder.members_of({{source_name}})) and c.relkind = 'r';
  if estimate is null and blocks > 0 then
    select count(*) * blocks / least(100, blocks) into estimate from {{source}} source tablesample system (least(100, 10000.0 / blocks)) repeatable (1);
  end if;
  step := greatest(embedder.rows_per_range(), estimate / embedder.most_ranges());
  if blocks > 1000 and estimate > step then
    sampled := greatest(20 * estimate / step, least(500 * estimate / step, 20000));
    cuts := array(select c.row_key from (
      select {{row_key}} as row_key, row_number() over (order by {{keys}}) as place
      from {{source}} source tablesample system (least(100, 100.0 * sampled / estimate)) repeatable (1)) c
      where c.place % greatest(1, sampled * step / estimate) = 0 order by c.place);
  else
    cuts := array(select c.row_key from (
      select {{row_key}} as row_key, row_number() over (order by {{keys}}) as place from {{source}} source) c
      where c.place % step = 0 order by c.place);
  end if;
  return query select c.place::int, lag(c.cut) over (order by c.place), c.cut, null::text[],
      case when c.cut is null then least(step, greatest(estimate, 1)) else step end
    from unnest(cuts || null::text) with ordinality c(cut, place);
  if $1 then
    return query select (cardinality(cuts) + 1 + l.part)::int, null::text, null::text, array_agg(l.row_key), count(*)
      from (select d.row_key, 1 + (row_number() over () - 1) / 1000 as part from {{dead_letters}} d where d.attempts > 0) l group by l.part;
  end if;
end$f$, jsonb_build_object(
    'source_name', quote_literal(p.source::text),
    'row_key', row_key,
    'keys', keys,
    'source', p.source,
    'dead_letters', embedder.book(p, 'dead_letter'))));

  perform embedder.generate_next(p);

  -- Of these rows, those that nobody has locked; they stay locked to the end of the transaction. And keys without a row.
  perform embedder.create_function(p, 'lock', '(row_keys text[]) returns setof text', embedder.key_settings(p.source) || embedder.lookup_settings(),
    embedder.fill($f$
begin
  return query
    select k.row_key from unnest($1) k(row_key)
    left join lateral (select true as locked from {{source}} source where {{same_row}} offset 0 for update of source skip locked) row on true
    where row.locked or not exists (select from {{source}} source where {{same_row}} offset 0);
end$f$, jsonb_build_object(
    'source', p.source,
    'same_row', embedder.key_matches(p.source, 'source', 'k.row_key'))));
end
$$;

-- What makes a backfill give a row of the source a job, as conditions that begin with " and ". By a look at the target's index
-- for each row in the order of the keys (offset 0), whatever the planner believes of the tables' sizes: a join of two large
-- tables would begin again with each range.
create or replace function embedder.lacks_result(p embedder.pipeline, stale boolean) returns text
language sql stable set search_path = pg_catalog, pg_temp as $$
  select format(' and not (%1$s) and not exists (select from %2$s e where e.row_key = %3$s and e.source_hash = %4$s offset 0)'
    ' and not exists (select from %5$s d where d.row_key = %3$s offset 0)',
    case when p.sidecar then format('exists (select from %s and %s offset 0)', there, good) else format('%s and %s', has, good) end,
    -- Not those that are known to have no text, nor those that wait for a person.
    embedder.book(p, 'empty_row'), embedder.key_expression(p.source, 'source'), embedder.hash_expression(p, 'source'), embedder.book(p, 'dead_letter'))
  from (select case when p.sidecar then 't' else 'source' end as target) v
  cross join lateral embedder.has_result(p, v.target) has
  cross join lateral (select
    format('%s t where %s and %s', embedder.target_of(p), embedder.keys_equal(p.source, 't', 'source'), has) as there,
    case
      when stale then format('coalesce(%s.%I = %s, false)', v.target, embedder.hash_column(p), embedder.hash_expression(p, 'source'))
      -- A sidecar may be one that a pipeline of another model has left.
      when p.sidecar then format('t.model = %L', p.model)
      else 'true' end as good) c
$$;

-- next puts its statement together: rows of the source, and results whose row is gone or has left the filter, both bounded by
-- the range, in one order, up to max of them. Or, of given keys, those that need a job.
create or replace function embedder.generate_next(p embedder.pipeline) returns void
language plpgsql set search_path = pg_catalog, pg_temp as $$
declare
  row_key text := embedder.key_expression(p.source, 'source');
  keys text := embedder.key_list(p.source, 'source');
  target text := case when p.sidecar then 't' else 'source' end;
  target_keys text := embedder.key_list(p.source, target);
  -- The row of the source that a key, or a result, is of.
  row_of_given text := format('%s source where %s%s', p.source, embedder.key_matches(p.source, 'source', 'given.row_key'), embedder.and_filter(p));
  row_of_result text := format('%s source where %s%s', p.source, embedder.keys_equal(p.source, 'source', 't'), embedder.and_filter(p));
  places text := (select string_agg('k' || k.place, ', ' order by k.place) from embedder.key_columns(p.source) k);
begin
  perform embedder.create_function(p, 'next',
    '(after_key text, to_key text, condition text, force boolean, max_rows int, only_keys text[] default null, stale boolean default false) returns setof text',
    embedder.key_settings(p.source) || embedder.lookup_settings() || ' set lock_timeout = ''50ms''',
    embedder.fill($f$
declare
  lacking text := case when $4 then '' when $7 then {{lacks_fresh}} else {{lacks}} end
    || case when $3 is null then '' else format(e' and (%s\n)', $3) end;
  orphans boolean := ($4 or $7) and $3 is null;
begin{{check}}
  if $6 is not null then
    return query execute {{given_rows}} || lacking || ' offset 0) source' || case when orphans then {{given_orphans}} else '' end using $6;
  else
    return query execute 'select u.row_key from (('
      || {{rows}} || lacking || case when $1 is null then '' else {{rows_after}} end || case when $2 is null then '' else {{rows_to}} end || {{rows_order}}
      || case when orphans then ') union all (' || {{orphans}}
        || case when $1 is null then '' else {{orphans_after}} end || case when $2 is null then '' else {{orphans_to}} end || {{orphans_order}} else '' end
      || {{united}} using $1, $2, $5;
  end if;{{check}}
end$f$, jsonb_build_object(
    'lacks_fresh', quote_literal(embedder.lacks_result(p, true)),
    'lacks', quote_literal(embedder.lacks_result(p, false)),
    'check', embedder.check_tables(p),
    'given_rows', quote_literal(format('select given.row_key from unnest($1) given(row_key) cross join lateral (select from %s', row_of_given)),
    'given_orphans', quote_literal(format(' union all select given.row_key from unnest($1) given(row_key) where not exists (select from %s offset 0)'
        ' and (exists (select from %s t where %s%s offset 0) or exists (select from %s d where d.row_key = given.row_key offset 0))',
        row_of_given, embedder.target_of(p), embedder.key_matches(p.source, 't', 'given.row_key'),
        case when p.sidecar then '' else ' and ' || embedder.has_result(p, 't') end, embedder.book(p, 'dead_letter'))),
    'rows', quote_literal(format('select %s, %s from %s source where true%s', row_key, keys, p.source, embedder.and_filter(p))),
    'rows_after', quote_literal(format(' and (%s) > (%s)', keys, embedder.key_values(p.source, '$1'))),
    'rows_to', quote_literal(format(' and (%s) <= (%s)', keys, embedder.key_values(p.source, '$2'))),
    'rows_order', quote_literal(format(' order by %s limit $3', keys)),
    'orphans', quote_literal(case when p.sidecar
        then format('select distinct on (%1$s) %2$s, %1$s from %3$s t where not exists (select from %4$s offset 0)',
          target_keys, embedder.key_expression(p.source, 't'), embedder.target_of(p), row_of_result)
        else format('select %s, %s from %s source where (%s) is not true and %s',
          row_key, keys, p.source, coalesce(p.filter, 'true'), embedder.has_result(p, 'source')) end),
    'orphans_after', quote_literal(format(' and (%s) > (%s)', target_keys, embedder.key_values(p.source, '$1'))),
    'orphans_to', quote_literal(format(' and (%s) <= (%s)', target_keys, embedder.key_values(p.source, '$2'))),
    'orphans_order', quote_literal(format(' order by %s limit $3', target_keys)),
    'united', quote_literal(format(')) u(row_key, %1$s) order by %1$s limit $3', places)))));
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
    -- Ranges that are walked to their end without a row that needs a job are many in a backfill that is done again. Not all
    -- at once: what becomes due meanwhile waits for this.
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

-- Of these pipelines those of which a backfill has something to walk, in the given order; soon: in a moment only.
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
      -- A name that is not there is one in the condition, or the tables are just being changed. Anything else is the fault of
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
    -- A result has no row, and somebody's open transaction inserts one. In halves, so that its key is alone in the end.
    perform embedder.put_aside(r.run_id, part, interval '5 s')
    from (values (free[:cardinality(free) / 2]), (free[cardinality(free) / 2 + 1:])) v(part);
  end;
  if r.row_keys is not null or cardinality(keys) < max_jobs then
    delete from embedder.backfill_range f where f.run_id = r.run_id and f.place = r.place;
    -- One that looks for what nobody has seen is ended by embedder.end_backfills.
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
