-- Search in a pipeline by meaning. With the caller's rights on source and target, so that row level security holds; the
-- filter is the caller's own SQL.

-- A pipeline that can be searched: the live generation of one with vectors.
-- Callable by: everybody.
create or replace function embedder.find_searchable(name text) returns embedder.pipeline
language plpgsql stable set search_path = pg_catalog, pg_temp as $$
declare
  p embedder.pipeline := embedder.find_pipeline(name);
begin
  if embedder.result_of(p.task) <> 'vector' then
    raise exception 'pipeline "%" is for %, and has no vectors', p.name, p.task using errcode = 'object_not_in_prerequisite_state',
      hint = format('Name a pipeline whose task is %s.', embedder.one_of(array(select t.name from embedder.tasks() t where t.result = 'vector')));
  end if;
  return p;
end
$$;

-- SQL for the key of the row named row_alias as a jsonb object, with the types that jsonb has.
-- Callable by: everybody.
create or replace function embedder.key_object(source regclass, row_alias text) returns text
language sql stable set search_path = pg_catalog, pg_temp as $$
  select format('pg_catalog.jsonb_build_object(%s)', string_agg(format('%L, %s.%I', column_name, row_alias, column_name), ', ' order by place))
  from embedder.key_columns(source)
$$;

-- SQL for the rows of the source that pass the filter. Inside it the table goes by its own name, and the filter sees its
-- columns alone. It ends in a line break, since the filter may end in a comment.
-- Callable by: everybody.
create or replace function embedder.filtered_source(p embedder.pipeline, filter text) returns text
language sql stable set search_path = pg_catalog, pg_temp as $$
  select case when filter is null then p.source::text else format(e'(select * from %s where (%s\n))', p.source, filter) end
$$;

-- SQL for the rows of the target whose row of the source passes the filter and may be seen. Where all do, the target
-- stands alone, and an order by and a limit on it are served by its index.
-- Callable by: everybody.
create or replace function embedder.filtered_target(p embedder.pipeline, filter text) returns text
language sql stable set search_path = pg_catalog, pg_temp as $$
  select case
    when not p.sidecar then embedder.filtered_source(p, filter) || ' target'
    when filter is null and not row_security_active(p.source) then p.target_table || ' target'
    else format('%s target join %s source on %s', p.target_table, embedder.filtered_source(p, filter),
      embedder.keys_equal(p.source, 'source', 'target'))
  end
$$;

-- pgvector's operator for the distance of two vectors of a pipeline, as its operator class has it: the cosine distance, the negative
-- inner product, the Euclidean distance, the sum of the differences.
-- Callable by: everybody.
create or replace function embedder.distance_operator(p embedder.pipeline) returns text
language sql stable set search_path = pg_catalog, pg_temp as $$
  select case substring(embedder.operator_class(p) from '_([a-z0-9]+)_ops$') when 'ip' then '<#>' when 'l2' then '<->' when 'l1' then '<+>' else '<=>' end
$$;

-- SQL for the similarity of a distance: 1 - the cosine distance, else the negative distance, which is the inner product where
-- pgvector gives the negative of that.
-- Callable by: everybody.
create or replace function embedder.similarity_expression(p embedder.pipeline, distance text) returns text
language sql stable set search_path = pg_catalog, pg_temp as $$
  select format('%s::double precision - (%s)', case embedder.distance_operator(p) when '<=>' then 1 else 0 end, distance)
$$;

-- The distance of sparse vectors that have no term in common; null where there is no such distance. A cosine distance from a vector without
-- any term is NaN, which is above each number.
-- Callable by: everybody.
create or replace function embedder.unrelated_distance(p embedder.pipeline) returns int
language sql stable set search_path = pg_catalog, pg_temp as $$
  select case when embedder.is_sparse(p.options) then case embedder.distance_operator(p) when '<#>' then 0 when '<=>' then 1 end end
$$;

-- SQL for the distance from $1 of the target's row named row_alias.
-- Callable by: everybody.
create or replace function embedder.distance_expression(p embedder.pipeline, row_alias text) returns text
language sql stable set search_path = pg_catalog, pg_temp as $$
  -- The parameter is a vector, and the column may be a halfvec.
  select format('%s.%I operator(%I.%s) $1::%s', row_alias, a.attname, n.nspname, embedder.distance_operator(p), format_type(a.atttypid, a.atttypmod))
  from pg_attribute a, pg_extension e join pg_namespace n on n.oid = e.extnamespace
  where a.attrelid = p.target_table and a.attname = p.target_column and e.extname = 'vector'
$$;

-- SQL for the k chunks nearest to $1, the nearest first: key columns, _chunk, _chunk_text, _distance. The underscores keep
-- them apart from key columns of any name. Of sparse vectors only those that have a term in common with it: they are the nearest, so
-- the others are left out behind the limit, and the index serves what is before it.
-- Callable by: everybody.
create or replace function embedder.nearest_statement(p embedder.pipeline, k int, filter text) returns text
language sql stable set search_path = pg_catalog, pg_temp as $$
  select format(case when embedder.unrelated_distance(p) is null then '%s' else 'select * from (%s) near where near._distance operator(pg_catalog.<) %s' end,
    format('select %s, %s, %s as _distance from %s%s order by %3$s limit %6$s',
    embedder.key_list(p.source, 'target'),
    case when p.sidecar then 'target.chunk as _chunk, target.chunk_text as _chunk_text' else '0 as _chunk, null::text as _chunk_text' end,
    embedder.distance_expression(p, 'target'), embedder.filtered_target(p, filter),
    case when not p.sidecar then format(' where target.%I is not null', p.target_column) else '' end, k), embedder.unrelated_distance(p))
$$;

-- Callable by: everybody.
create or replace function embedder.search_statement(pipeline text, k int default 10, filter text default null) returns text
language plpgsql stable set search_path = pg_catalog, pg_temp as $$
declare
  p embedder.pipeline := embedder.find_searchable(pipeline);
begin
  perform embedder.check_k(k);
  return format($f$select %s as row_key, %s as key, nearest._chunk as chunk, %s as similarity,
  coalesce(nearest._chunk_text, %s) as input
from (%s) nearest
join %s source on %s
order by nearest._distance + 0::double precision$f$,
    embedder.key_expression(p.source, 'source'), embedder.key_object(p.source, 'source'),
    embedder.similarity_expression(p, 'nearest._distance'),
    embedder.input_expression(p.source, p.input, 'source'), embedder.nearest_statement(p, k, filter),
    p.source, embedder.keys_equal(p.source, 'source', 'nearest'));
end
$$;
comment on function embedder.search_statement is
  'The statement that embedder.search runs; $1 is the query''s vector. For explain, and to build upon.';

-- Callable by: everybody.
create or replace function embedder.check_k(k int) returns void
language plpgsql immutable set search_path = pg_catalog, pg_temp as $$
begin
  if k is null or k not between 1 and 1000000 then
    raise exception 'k is %, and must be from 1 to 1,000,000', k using errcode = 'invalid_parameter_value';
  end if;
end
$$;

-- The settings for a search for k chunks. What the caller has set higher stays.
-- An index scan gives at most hnsw.ef_search rows, and of those a filter, row level security and dead rows take theirs:
-- pgvector 0.8 goes on with the scan until there are k (or hnsw.max_scan_tuples are seen). Before 0.8 a filter sees only the
-- ef_search nearest, and a search with one that few rows pass gives fewer than k. The relaxed order is put right by the
-- statement's own. An ivfflat index is looked through in the square root of its lists, by pgvector's advice.
-- Callable by: everybody.
create or replace function embedder.search_settings(p embedder.pipeline, k int) returns jsonb
language plpgsql stable set search_path = pg_catalog, pg_temp as $$
declare
  lists int := (
    select max(o.option_value::int)
    from pg_index x join pg_class c on c.oid = x.indexrelid join pg_am m on m.oid = c.relam
    cross join lateral pg_options_to_table(c.reloptions) o
    where x.indrelid = p.target_table and x.indisvalid and m.amname = 'ivfflat' and o.option_name = 'lists');
begin
  -- pgvector has its settings only when its library is there.
  execute format('select %L::%s', '[1]', embedder.vector_type());
  return jsonb_object_agg(name, value) from (values
    ('hnsw.ef_search', greatest(current_setting('hnsw.ef_search')::int, least(k, 1000))::text),
    ('hnsw.iterative_scan', coalesce(nullif(current_setting('hnsw.iterative_scan', true), 'off'), 'relaxed_order')),
    ('ivfflat.iterative_scan', coalesce(nullif(current_setting('ivfflat.iterative_scan', true), 'off'), 'relaxed_order')),
    ('ivfflat.probes', greatest(current_setting('ivfflat.probes')::int, ceil(sqrt(lists)))::text)
  ) settings(name, value)
  where current_setting(name, true) is not null;
end
$$;

-- Makes settings for this transaction; gives back what they were, to be restored in the same way.
-- Callable by: everybody.
create or replace function embedder.exchange_settings(settings jsonb) returns jsonb
language plpgsql set search_path = pg_catalog, pg_temp as $$
declare
  before jsonb := '{}';
  setting record;
begin
  for setting in select key, value from jsonb_each_text(settings) loop
    before := before || jsonb_build_object(setting.key, current_setting(setting.key));
    perform set_config(setting.key, setting.value, true);
  end loop;
  return before;
end
$$;

-- Raises the error of a search again, as a sentence about what the caller gave and not about the statement made of it.
-- Without a search_path of its own, as search.
-- Callable by: everybody.
create or replace function embedder.search_failed(pipeline text, filter text, state text, message text) returns void
language plpgsql stable as $$
declare
  p embedder.pipeline := embedder.find_searchable(pipeline);
  relation pg_catalog.regclass;
  one record;
begin
  if state operator(pg_catalog.=) '42501' then
    foreach relation in array array[p.source, p.target_table] loop
      perform embedder.may_read(relation);
    end loop;
  end if;
  if filter is not null and state operator(pg_catalog.<>) '42501' then
    begin
      -- By a cursor, as in search: one statement and no more.
      for one in execute pg_catalog.format(e'select from %s where (%s\n) limit 0', p.source, filter) loop end loop;
    exception when others then
      raise exception 'the filter % does not work on %: %', pg_catalog.quote_literal(filter), p.source, sqlerrm using errcode = state,
        hint = 'It is a condition on one row of the table, as after "where", with your rights: for example published and lang = ''en''.';
    end;
  end if;
  raise exception '%', message using errcode = state;
end
$$;

-- Callable by: everybody.
create or replace function embedder.may_read(relation regclass) returns void
language plpgsql stable set search_path = pg_catalog, pg_temp as $$
declare
  schema name := (select n.nspname from pg_class c join pg_namespace n on n.oid = c.relnamespace where c.oid = relation);
  wanted text := case when not has_schema_privilege(schema, 'usage') then format('usage on schema %I', schema)
    when not has_table_privilege(relation, 'select') then format('select on %s', relation) end;
begin
  if wanted is not null then
    raise exception 'role % may not read %', current_user, relation using errcode = 'insufficient_privilege',
      hint = format('grant %s to %I; or all that a search needs: select * from embedder.grant_search(%L);', wanted, current_user, current_user);
  end if;
end
$$;

-- search has no search_path of its own: the filter's names are found where its writer's are. All other names are
-- qualified. It reads by a cursor (for ... in execute), which takes one statement and no more, and being stable it may
-- not change data, whatever the filter says.
-- Callable by: everybody (search).
do $do$
declare
  head text := 'search(pipeline text, query %s, k int default 10, filter text default null) '
    'returns table (row_key text, key jsonb, chunk int, similarity double precision, input text)';
  type text;
begin
  foreach type in array array_remove(array[embedder.vector_type(), embedder.vector_type('sparsevec')], null) loop
    perform embedder.create_function(format(head, type), 'stable', $f$
declare
  before jsonb;
  statement text;
begin
  if $2 is null then return; end if;
  statement := embedder.search_statement($1, $3, $4);
  before := embedder.exchange_settings(embedder.search_settings(embedder.find_searchable($1), $3));
  begin
    for row_key, key, chunk, similarity, input in execute statement using $2 loop
      return next;
    end loop;
  exception when others then
    perform embedder.search_failed($1, $4, sqlstate, sqlerrm);
  end;
  perform embedder.exchange_settings(before);
end$f$);
    execute format('alter function embedder.search(text, %s, int, text) reset search_path', type);
    execute format('comment on function embedder.search(text, %s, int, text) is %L', type,
      'The k chunks of a pipeline nearest to a vector, the nearest first; filter is an SQL condition on the row of the source.');
  end loop;

  perform embedder.retire_function('search(text, text, int, text)');
  perform embedder.create_function(replace(format(head, 'text'), ') returns', ', rerank text default null, candidates int default null) returns'), 'stable', $f$
begin
  if $5 is null then
    if embedder.is_sparse((embedder.find_searchable($1)).options) then
      return query select s.* from embedder.search($1, embedder.embed_sparse_for($1, $2), $3, $4) s;
    else
      return query select s.* from embedder.search($1, embedder.embed_for($1, $2), $3, $4) s;
    end if;
    return;
  end if;
  return query
    with hit as materialized (
      select s.*, pg_catalog.row_number() over () as _place from embedder.search($1, $2, embedder.ranked_candidates($3, $6), $4) s
    )
    select h.row_key, h.key, h.chunk, h.similarity, h.input
    from embedder.rerank($2, (select pg_catalog.array_agg(h.input order by h._place) from hit h), $5) r
    join hit h on h._place operator(pg_catalog.=) r.place
    order by r.score desc nulls last, h._place limit $3;
end$f$);
  execute 'alter function embedder.search(text, text, int, text, text, int) reset search_path';
end
$do$;
comment on function embedder.search(text, text, int, text, text, int) is
  'The k chunks of a pipeline nearest in meaning to a text, the nearest first; filter is an SQL condition on the row of the source. With rerank, a model that ranks texts, the best of the candidates nearest.';
