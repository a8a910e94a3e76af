-- What a backfill of one pipeline calls, made for it as in sql/generated/triggers.sql:
--   ranges(orphans)                cuts the source into ranges of keys
--   next(after_key, to_key, ...)   the next row keys of a range that need a job
--   lock(row_keys)                 those of them that nobody has locked

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
    -- Not rows that are known to have no text, nor rows with a dead letter.
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
-- the range, in one order, up to max_rows of them. Or, of given keys, those that need a job.
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
