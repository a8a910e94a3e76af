-- Search by meaning and by words at once: the ranks of both are fused.

-- SQL for the words of a row or, where the pipeline cuts texts into chunks, of a chunk. prefix stands before each column.
-- The columns of a template are joined in a way that an index can hold, which concat is not.
-- Callable by: everybody.
create or replace function embedder.full_text_expression(p embedder.pipeline, prefix text, language regconfig) returns text
language sql stable set search_path = pg_catalog, pg_temp as $$
  select format('pg_catalog.to_tsvector(%L::pg_catalog.regconfig, %s)', language,
    case when embedder.is_chunked(p) then prefix || 'chunk_text' else (
      select string_agg(
        case when i.column_name is null then quote_literal(i.literal)
          when pieces = 1 then format('%s%I::text', prefix, i.column_name)
          else format('coalesce(%s%I::text, '''')', prefix, i.column_name) end, ' || ' order by place)
      from (
        select *, count(*) over () as pieces
        from embedder.parse_input(p.source, p.input) with ordinality i(literal, column_name, place)
      ) i) end)
$$;

-- Callable by: everybody.
create or replace function embedder.is_chunked(p embedder.pipeline) returns boolean
language sql stable set search_path = pg_catalog, pg_temp as $$
  select p.chunking is not null
$$;

-- Callable by: everybody.
create or replace function embedder.full_text_index(pipeline text, language regconfig default 'english') returns text
language plpgsql stable set search_path = pg_catalog, pg_temp as $$
declare
  p embedder.pipeline := embedder.find_searchable(pipeline);
begin
  return format('create index concurrently on %s using gin (%s)',
    case when embedder.is_chunked(p) then p.target_table else p.source end, embedder.full_text_expression(p, '', language));
end
$$;
comment on function embedder.full_text_index is
  'The statement that makes the index which serves the words of embedder.hybrid_search in this language.';

-- A query that asks for fewer of the words: of those that must be there, any `enough` together. Phrases and words that must not be
-- there stay as they are; so does a query with an "or" of its own, and one that has no more words.
-- Callable by: everybody.
create or replace function embedder.some_words(words tsquery, enough int) returns tsquery
language plpgsql immutable parallel safe set search_path = pg_catalog, pg_temp as $$
declare
  terms text[] := regexp_split_to_array(words::text, ' & ');
  wanted text[] := array(select t from unnest(terms) t where t not like '!%');
  unwanted text[] := array(select '& ' || t from unnest(terms) t where t like '!%');
begin
  if words::text ~ '[|(]' or cardinality(wanted) <= enough then
    return words;
  elsif enough = 2 then
    -- Of a long text the first dozen, since each is paired with each.
    wanted := array(select format('%s & %s', a.term, b.term)
      from unnest(wanted[:12]) with ordinality a(term, place) join unnest(wanted[:12]) with ordinality b(term, place) on a.place < b.place);
  end if;
  return format('(%s) %s', array_to_string(wanted, ' | '), array_to_string(unwanted, ' '))::tsquery;
end
$$;

-- SQL for the rows or chunks with the words of $2, the best first: key columns, _chunk, _weight. Those with all words come
-- first; where these are fewer than k, those with two of them; and only where no row has two, up to 5,000 with any of them. So the
-- index has to find, and the search to rank, few rows even in a large table (docs/decisions.md, Rights 3).
-- Callable by: everybody.
create or replace function embedder.words_statement(p embedder.pipeline, k int, language regconfig, filter text) returns text
language plpgsql stable set search_path = pg_catalog, pg_temp as $$
declare
  of text := case when embedder.is_chunked(p) then 'target' else 'source' end;
  words text := embedder.full_text_expression(p, of || '.', language);
  wanted text := format('pg_catalog.websearch_to_tsquery(%L::pg_catalog.regconfig, $2)', language);
  rows text := case of when 'target' then embedder.filtered_target(p, filter) else embedder.filtered_source(p, filter) || ' source' end;
  keys text := embedder.key_list(p.source, of);
  chunk text := case of when 'target' then 'target.chunk' else '0' end;
begin
  return embedder.fill($f$with every as materialized (
    select {{keys}}, {{chunk}} as _chunk, 2 operator(pg_catalog.+) pg_catalog.ts_rank_cd({{words}}, {{wanted}}, 32) as _weight from {{rows}}
    where {{words}} operator(pg_catalog.@@) {{wanted}} order by _weight desc, {{keys}}, _chunk limit {{k}}
  ), two as materialized (
    select {{keys}}, {{chunk}} as _chunk, 1 operator(pg_catalog.+) pg_catalog.ts_rank({{words}}, embedder.some_words({{wanted}}, 1), 32) as _weight from {{rows}}
    where (select pg_catalog.count(*) from every) operator(pg_catalog.<) {{k}} and {{words}} operator(pg_catalog.@@) embedder.some_words({{wanted}}, 2)
    order by _weight desc, {{keys}}, _chunk limit {{k}}
  ), one as (
    select {{bare_keys}}, _chunk, pg_catalog.ts_rank(_words, embedder.some_words({{wanted}}, 1), 32) as _weight from (
      select {{keys}}, {{chunk}} as _chunk, {{words}} as _words from {{rows}}
      where not exists (select from every) and not exists (select from two) and {{words}} operator(pg_catalog.@@) embedder.some_words({{wanted}}, 1)
      limit 5000) candidate
    order by _weight desc, {{bare_keys}}, _chunk limit {{k}}
  )
  select {{bare_keys}}, _chunk, pg_catalog.max(_weight) as _weight from (table every union all table two union all table one) hit
  group by {{bare_keys}}, _chunk order by _weight desc, {{bare_keys}}, _chunk limit {{k}}$f$, jsonb_build_object(
    'keys', keys,
    'chunk', chunk,
    'words', words,
    'wanted', wanted,
    'rows', rows,
    'k', k,
    'bare_keys', embedder.key_list(p.source)));
end
$$;

-- Callable by: everybody.
create or replace function embedder.check_fusion(full_text_weight double precision, vector_weight double precision, rrf_k int)
returns void
language plpgsql immutable set search_path = pg_catalog, pg_temp as $$
begin
  if not coalesce(full_text_weight >= 0 and vector_weight >= 0 and full_text_weight + vector_weight > 0
    and full_text_weight + vector_weight < 'infinity', false) then
    raise exception 'full_text_weight is % and vector_weight is %', full_text_weight, vector_weight
      using errcode = 'invalid_parameter_value', hint = 'Give numbers from 0, at least one of them above it.';
  elsif not coalesce(rrf_k >= 0, false) then
    raise exception 'rrf_k is %, and must be 0 or more', rrf_k using errcode = 'invalid_parameter_value';
  end if;
end
$$;

-- How deep both lists are read for k results: what is far down in one may be first in the other.
-- Callable by: everybody.
create or replace function embedder.fusion_depth(k int) returns int
language sql immutable parallel safe
return greatest(4 * least(k, 100000), 60);

-- Reciprocal rank fusion: a result's score is the sum over both lists of weight / (rrf_k + its rank there). It needs no
-- common scale of similarity and word rank. rrf_k = 60 is the value of its authors: G. V. Cormack, C. L. A. Clarke and
-- S. Buettcher, Reciprocal Rank Fusion outperforms Condorcet and individual Rank Learning Methods, SIGIR 2009.
-- Callable by: everybody.
create or replace function embedder.hybrid_statement(
  pipeline text, k int default 10, full_text_weight double precision default 1, vector_weight double precision default 1,
  rrf_k int default 60, language regconfig default 'english', filter text default null) returns text
language plpgsql stable set search_path = pg_catalog, pg_temp as $$
declare
  p embedder.pipeline := embedder.find_searchable(pipeline);
  depth int := embedder.fusion_depth(k);
  -- The target's row of a result; it has none yet where only the words were found.
  target text := case when p.sidecar then format(' left join %s target on target.chunk = fused._chunk and %s',
    p.target_table, embedder.keys_equal(p.source, 'target', 'fused')) else '' end;
  distance text := embedder.distance_expression(p, case when p.sidecar then 'target' else 'source' end);
begin
  perform embedder.check_k(k);
  perform embedder.check_fusion(full_text_weight, vector_weight, rrf_k);
  return embedder.fill($f$with by_meaning as materialized (
  select {{keys}}, hit._chunk, row_number() over (order by hit._distance + 0::double precision) as _rank from ({{nearest}}) hit
), by_words as materialized (
  select {{keys}}, hit._chunk, row_number() over (order by hit._weight desc, {{keys}}, hit._chunk) as _rank from ({{words}}) hit
), fused as (
  select {{keys}}, hit._chunk, pg_catalog.sum(hit._score) as _score, min(hit._vector_rank) as _vector_rank,
    min(hit._full_text_rank) as _full_text_rank
  from (
    select {{keys}}, hit._chunk, {{vector_weight}}::double precision / ({{rrf_k}} + hit._rank) as _score, hit._rank as _vector_rank,
      null::bigint as _full_text_rank from by_meaning hit
    union all
    select {{keys}}, hit._chunk, {{full_text_weight}}::double precision / ({{rrf_k}} + hit._rank), null, hit._rank from by_words hit
  ) hit
  group by {{keys}}, hit._chunk order by _score desc, {{keys}}, hit._chunk limit {{k}}
)
select {{row_key}} as row_key, {{key}} as key, fused._chunk as chunk, fused._score as score, {{similarity}} as similarity,
  fused._vector_rank::int as vector_rank, fused._full_text_rank::int as full_text_rank, {{input}} as input
from fused join {{source}} source on {{same_row}}{{target}}
order by fused._score desc, {{fused_keys}}, fused._chunk$f$, jsonb_build_object(
    'keys', embedder.key_list(p.source, 'hit'),
    'nearest', embedder.nearest_statement(p, depth, filter),
    'words', embedder.words_statement(p, depth, language, filter),
    'vector_weight', quote_literal(vector_weight),
    'full_text_weight', quote_literal(full_text_weight),
    'rrf_k', rrf_k,
    'k', k,
    'row_key', embedder.key_expression(p.source, 'source'),
    'key', embedder.key_object(p.source, 'source'),
    'similarity', embedder.similarity_expression(p, distance),
    'input', case when p.sidecar then format('coalesce(target.chunk_text, %s)', embedder.input_expression(p.source, p.input, 'source'))
      else embedder.input_expression(p.source, p.input, 'source') end,
    'source', p.source,
    'same_row', embedder.keys_equal(p.source, 'source', 'fused'),
    'target', target,
    'fused_keys', embedder.key_list(p.source, 'fused')));
end
$$;
comment on function embedder.hybrid_statement is
  'The statement that embedder.hybrid_search runs; $1 is the query''s vector, $2 its text. For explain, and to build upon.';

-- Without a search_path of their own, and by a cursor, for the reasons given at embedder.search.
-- Callable by: everybody (hybrid_search).
do $do$
declare
  head text := 'hybrid_search(pipeline text, query text, %s k int default 10, full_text_weight double precision default 1, '
    'vector_weight double precision default 1, rrf_k int default 60, language regconfig default ''english'', filter text default null) '
    'returns table (row_key text, key jsonb, chunk int, score double precision, similarity double precision, vector_rank int, '
    'full_text_rank int, input text)';
  others text := 'int, double precision, double precision, int, regconfig, text';
  type text;
begin
  foreach type in array array_remove(array[embedder.vector_type(), embedder.vector_type('sparsevec')], null) loop
    perform embedder.create_function(format(head, 'query_vector ' || type || ','), 'stable', $f$
declare
  before jsonb;
  statement text;
begin
  if $2 is null or $3 is null then return; end if;
  statement := embedder.hybrid_statement($1, $4, $5, $6, $7, $8, $9);
  before := embedder.exchange_settings(embedder.search_settings(embedder.find_searchable($1), embedder.fusion_depth($4)));
  begin
    for row_key, key, chunk, score, similarity, vector_rank, full_text_rank, input in execute statement using $3, $2 loop
      return next;
    end loop;
  exception when others then
    perform embedder.search_failed($1, $9, sqlstate, sqlerrm);
  end;
  perform embedder.exchange_settings(before);
end$f$);
    execute format('alter function embedder.hybrid_search(text, text, %s, %s) reset search_path', type, others);
    execute format('comment on function embedder.hybrid_search(text, text, %s, %s) is %L', type, others,
      'As embedder.hybrid_search by text, with a vector that is there already.');
  end loop;

  perform embedder.retire_function(format('hybrid_search(text, text, %s)', others));
  perform embedder.create_function(replace(format(head, ''), ') returns', ', rerank text default null, candidates int default null) returns'), 'stable', $f$
begin
  if $9 is null then
    if embedder.is_sparse((embedder.find_searchable($1)).options) then
      return query select s.* from embedder.hybrid_search($1, $2, embedder.embed_sparse_for($1, $2), $3, $4, $5, $6, $7, $8) s;
    else
      return query select s.* from embedder.hybrid_search($1, $2, embedder.embed_for($1, $2), $3, $4, $5, $6, $7, $8) s;
    end if;
    return;
  end if;
  return query
    with hit as materialized (
      select s.*, pg_catalog.row_number() over () as _place
      from embedder.hybrid_search($1, $2, embedder.ranked_candidates($3, $10), $4, $5, $6, $7, $8) s
    )
    select h.row_key, h.key, h.chunk, h.score, h.similarity, h.vector_rank, h.full_text_rank, h.input
    from embedder.rerank($2, (select pg_catalog.array_agg(h.input order by h._place) from hit h), $9) r
    join hit h on h._place operator(pg_catalog.=) r.place
    order by r.score desc nulls last, h._place limit $3;
end$f$);
  execute format('alter function embedder.hybrid_search(text, text, %s, text, int) reset search_path', others);
end
$do$;
comment on function embedder.hybrid_search(text, text, int, double precision, double precision, int, regconfig, text, text, int) is
  'The k chunks of a pipeline that fit a text best by meaning and by words, fused by reciprocal rank; filter is an SQL condition on the row of the source.';
