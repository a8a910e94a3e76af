-- The ranking of texts by a query, inside a statement: a running worker answers it, as it does embedder.embed (sql/search/embed.sql).

-- How many texts are ranked in one call: a model that ranks reads each of them with the query, which takes as long as embedding them.
-- Callable by: everybody.
create or replace function embedder.max_ranked() returns int
language sql immutable parallel safe
return 1000;

-- The model that ranks where none is named: the one that is set, or the only one that is known. The catalog's are, wherever they are.
create or replace function embedder.ranking_model() returns text
language plpgsql stable set search_path = pg_catalog, pg_temp as $$
declare
  chosen text := nullif(current_setting('embedder.rerank_model', true), '');
  known text[] := array(select m.name from embedder.model m where m.task = embedder.ranking_task() order by m.name);
begin
  if chosen is not null or cardinality(known) = 1 then return coalesce(chosen, known[1]); end if;
  raise exception 'no model that ranks texts is named, and none is set' using errcode = 'undefined_object',
    hint = format('Name one that a worker has, as model => %L; or set it: alter database %I set embedder.rerank_model = ...; %s',
      coalesce(known[1], 'ORG/NAME'), current_database(), 'Known are ' || nullif(array_to_string(known, ', '), '') || '.');
end
$$;

-- The owner's rights, as embed. Texts without content are not sent, and the others as far as the model may read them.
-- Callable by: everybody (rerank).
create or replace function embedder.rerank(query text, texts text[], model text default null)
returns table (place int, score real)
language plpgsql stable parallel restricted cost 100000 security definer set search_path = pg_catalog, pg_temp as $$
#variable_conflict use_column
declare
  chosen text;
  sent jsonb;
  answer real[];
begin
  if texts is null then return; end if;
  if cardinality(texts) > embedder.max_ranked() then
    raise exception 'there are % texts to rank, and may be %', cardinality(texts), embedder.max_ranked()
      using errcode = 'program_limit_exceeded', hint = 'Search first, and rank what was found.';
  end if;
  chosen := coalesce(rerank.model, embedder.ranking_model());
  perform embedder.check_query(chosen, rerank.query);
  select jsonb_agg(left(t.text, embedder.query_limit(chosen)) order by t.place) into sent
  from unnest(texts) with ordinality t(text, place) where t.text ~ e'\\S';
  if rerank.query ~ e'\\S' and sent is not null then
    if pg_is_in_recovery() then
      raise exception 'this is a standby, where no texts are ranked' using errcode = 'read_only_sql_transaction', hint = 'Ask the primary.';
    end if;
    answer := embedder.embed_by_worker(chosen, jsonb_build_object('texts', sent), rerank.query)::real[];
  end if;
  return query
    select t.place::int, answer[case when t.text ~ e'\\S' then count(*) filter (where t.text ~ e'\\S') over (order by t.place) end]
    from unnest(texts) with ordinality t(text, place)
    order by 2 desc nulls last, 1;
end
$$;
comment on function embedder.rerank is
  'The texts by their places in the array, from 1, in the order of how well they answer the query, by a running worker. The score is null for a text without content, or that the model could not read.';

-- How many hits of a search are ranked for k results.
-- Callable by: everybody.
create or replace function embedder.ranked_candidates(k int, wanted int) returns int
language plpgsql immutable parallel safe set search_path = pg_catalog, pg_temp as $$
begin
  if wanted < k or wanted > embedder.max_ranked() then
    raise exception 'candidates is %, and must be from k (%) to %', wanted, k, embedder.max_ranked() using errcode = 'invalid_parameter_value';
  end if;
  return coalesce(wanted, greatest(k, least(greatest(4 * least(k, 1000), 40), embedder.max_ranked())));
end
$$;
