-- Search in several pipelines of one table at once, such as one of dense and one of sparse vectors: the ranks of all are fused.

-- Callable by: everybody.
create or replace function embedder.check_fused(pipelines text[], weights double precision[], rrf_k int) returns void
language plpgsql stable set search_path = pg_catalog, pg_temp as $$
declare
  wanted text;
  first embedder.pipeline;
begin
  if coalesce(cardinality(pipelines), 0) not between 1 and 20 then
    raise exception 'fused_search takes 1 to 20 pipelines' using errcode = 'invalid_parameter_value',
      hint = 'For example array[''articles'', ''terms''].';
  elsif cardinality(pipelines) > (select count(distinct p) from unnest(pipelines) p) then
    raise exception 'a pipeline is named twice, or is null' using errcode = 'invalid_parameter_value', hint = 'weights says how much each counts.';
  elsif weights is not null and (cardinality(weights) <> cardinality(pipelines) or not coalesce(
    (select bool_and(w >= 0 and w < 'infinity') and sum(w) > 0 from unnest(weights) w), false) or array_position(weights, null) is not null)
  then
    raise exception 'weights is %, and there are % pipelines', weights, cardinality(pipelines) using errcode = 'invalid_parameter_value',
      hint = 'Give a number from 0 for each pipeline, at least one of them above it.';
  elsif not coalesce(rrf_k >= 0, false) then
    raise exception 'rrf_k is %, and must be 0 or more', rrf_k using errcode = 'invalid_parameter_value';
  end if;
  first := embedder.find_searchable(pipelines[1]);
  foreach wanted in array pipelines loop
    if (embedder.find_searchable(wanted)).source <> first.source then
      raise exception 'pipelines "%" and "%" are of different tables', first.name, wanted using errcode = 'invalid_parameter_value',
        hint = 'Name pipelines of one table: their rows are told by its key.';
    end if;
  end loop;
end
$$;

-- By reciprocal rank fusion, as hybrid_search; each list is read to the same depth. A row stands in the list of a pipeline with its best
-- chunk. Without a search_path of its own, as search: the filter's names are found where its writer's are.
-- Callable by: everybody.
create or replace function embedder.fused_search(
  pipelines text[], query text, k int default 10, weights double precision[] default null, rrf_k int default 60, filter text default null,
  rerank text default null, candidates int default null)
returns table (row_key text, key jsonb, score double precision, similarities double precision[], ranks int[], input text)
language plpgsql stable as $$
#variable_conflict use_column
begin
  perform embedder.check_k($3);
  perform embedder.check_fused($1, $4, $5);
  if $7 is not null then
    return query
      with hit as materialized (
        select s.*, pg_catalog.row_number() over () as _place
        from embedder.fused_search($1, $2, embedder.ranked_candidates($3, $8), $4, $5, $6) s
      )
      select h.row_key, h.key, h.score, h.similarities, h.ranks, h.input
      from embedder.rerank($2, (select pg_catalog.array_agg(h.input order by h._place) from hit h), $7) r
      join hit h on h._place operator(pg_catalog.=) r.place
      order by r.score desc nulls last, h._place limit $3;
    return;
  end if;
  return query
    with hit as materialized (
      select p.place as list, s.row_key, s.key, s.similarity, s.input, s.place
      from pg_catalog.unnest($1) with ordinality p(name, place)
      cross join lateral embedder.search(p.name, $2, embedder.fusion_depth($3), $6) with ordinality s(row_key, key, chunk, similarity, input, place)
    ), best as materialized (
      select distinct on (h.list, h.row_key) h.* from hit h order by h.list, h.row_key, h.place
    ), ranked as materialized (
      select b.*, (pg_catalog.row_number() over (partition by b.list order by b.place))::int as rank from best b
    ), fused as materialized (
      select r.row_key, pg_catalog.sum(coalesce($4[r.list], 1) operator(pg_catalog./) ($5 operator(pg_catalog.+) r.rank)::double precision) as score
      from ranked r group by r.row_key order by 2 desc, r.row_key limit $3
    )
    select f.row_key, (pg_catalog.array_agg(r.key order by r.rank))[1], f.score,
      pg_catalog.array_agg(r.similarity order by p.place), pg_catalog.array_agg(r.rank order by p.place),
      -- Of the list in which it stands highest.
      (pg_catalog.array_agg(r.input order by r.rank, p.place))[1]
    from fused f
    cross join pg_catalog.generate_series(1, pg_catalog.cardinality($1)) p(place)
    left join ranked r on r.row_key operator(pg_catalog.=) f.row_key and r.list operator(pg_catalog.=) p.place
    group by f.row_key, f.score order by f.score desc, f.row_key;
end
$$;
comment on function embedder.fused_search is
  'The k rows of a table that fit a text best by several pipelines of it, fused by reciprocal rank; similarities and ranks are in the order of the pipelines, null where a row is not in the list of one.';
