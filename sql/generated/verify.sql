-- What embedder.verify calls, made for each pipeline: its rows, its results and its part of the queue, compared in one statement, and so of one moment.

-- Ranges of backfills that are still to be walked, with all that can be said of their rows: those of a backfill with a condition are
-- left out, since who is not the table's owner must not compute it.
create or replace view embedder.unwalked as
select f.pipeline_id, f.after_key, f.to_key, f.row_keys, r.stale or r.force as seeks_stale
from embedder.backfill_range f join embedder.backfill_run r on r.id = f.run_id and r.pipeline_id = f.pipeline_id
where r.error is null and r.condition is null;
comment on view embedder.unwalked is 'Ranges of rows that a backfill has yet to look at.';

-- The faults of a sidecar, or of a target column, as queries that give row_key and fault.
create or replace function embedder.result_faults(p embedder.pipeline) returns text
language sql stable set search_path = pg_catalog, pg_temp as $$
  select embedder.fill(case when p.sidecar then $f$
      select r.row_key, r.fault from (
        select {{row_key}} as row_key, {{keys}}, {{hash}} as _hash,
          case when t.chunk is null then 'missing' when t.source_hash is distinct from {{hash}} or t.model is distinct from {{model}} then 'stale' end as fault
        from {{source}} source left join {{target}} t on t.chunk = 0 and {{same_row}} where true{{filter}}) r
      where r.fault = 'missing' and not exists (select from {{empty}} e where e.row_key = r.row_key and e.source_hash = r._hash) and {{settled}}
        or r.fault = 'stale' and {{settled_stale}}
      union all
      select r.row_key, 'orphan' from (
        select {{target_row_key}} as row_key, {{target_keys}} from {{target}} t
        where t.chunk = 0 and not exists (select from {{source}} source where {{same_row}}{{filter}})) r
      where {{settled_stale}}
      union all
      select r.row_key, case when r.results > r.chunks then 'doubled' else 'missing' end from (
        select {{row_key}} as row_key, {{keys}}, count(*) as results, count(distinct t.chunk) as chunks, max(t.chunk) + 1 as wanted
        from {{source}} source join {{target}} t on {{same_row}} where true{{filter}}
        group by {{keys}} having count(*) > count(distinct t.chunk) or count(distinct t.chunk) <> max(t.chunk) + 1) r
      where {{settled}}$f$
    else $f$
      select r.row_key, r.fault from (
        select {{row_key}} as row_key, {{keys}}, {{hash}} as _hash,
          case when ({{filter_alone}}) is not true then case when {{has}} then 'orphan' end
            when not {{has}} then 'missing' when source.{{hash_column}} is distinct from {{hash}} then 'stale' end as fault
        from {{source}} source) r
      where r.fault = 'missing' and not exists (select from {{empty}} e where e.row_key = r.row_key and e.source_hash = r._hash) and {{settled}}
        or r.fault in ('stale', 'orphan') and {{settled_stale}}$f$ end, jsonb_build_object(
    'row_key', embedder.key_expression(p.source, 'source'),
    'keys', embedder.key_list(p.source, 'source'),
    'hash', embedder.hash_expression(p, 'source'),
    'hash_column', quote_ident(embedder.hash_column(p)),
    'has', case when p.sidecar then '' else embedder.has_result(p, 'source') end,
    'model', quote_literal(p.model),
    'source', p.source,
    'target', embedder.target_of(p),
    'same_row', embedder.keys_equal(p.source, 'source', 't'),
    'filter', embedder.and_filter(p),
    'filter_alone', coalesce(p.filter, 'true'),
    'empty', embedder.book(p, 'empty_row'),
    'target_row_key', embedder.key_expression(p.source, 't'),
    'target_keys', embedder.key_list(p.source, 't'),
    'settled', embedder.is_settled(p, 'r.row_key', embedder.key_list(p.source, 'r'), false),
    'settled_stale', embedder.is_settled(p, 'r.row_key', embedder.key_list(p.source, 'r'), true)))
$$;

-- SQL for $1 results, at random, that are of the present text of their row: what the model was given, and what came of it.
create or replace function embedder.sample_query(p embedder.pipeline) returns text
language sql stable set search_path = pg_catalog, pg_temp as $$
  select embedder.fill(case when p.sidecar then $f$
    select {{row_key}}, t.chunk, {{input}}, t.{{result}}::text from {{source}} source
    join {{target}} head on head.chunk = 0 and {{same_head}} and head.source_hash = {{hash}}
    join {{target}} t on {{same_row}}
    where true{{filter}} order by random() limit $1$f$
    else $f$
    select {{row_key}}, 0, {{input}}, source.{{result}}::text from {{source}} source
    where source.{{hash_column}} = {{hash}} and {{has}}{{filter}} order by random() limit $1$f$ end, jsonb_build_object(
    'row_key', embedder.key_expression(p.source, 'source'),
    'input', case when p.chunking is null then embedder.input_of(p, 'source') else format('%s || t.chunk_text || %s', around[1], around[2]) end,
    'result', quote_ident(embedder.result_marker(p)),
    'source', p.source,
    'target', embedder.target_of(p),
    'same_head', embedder.keys_equal(p.source, 'source', 'head'),
    'same_row', embedder.keys_equal(p.source, 'source', 't'),
    'hash', embedder.hash_expression(p, 'source'),
    'hash_column', quote_ident(embedder.hash_column(p)),
    'has', embedder.has_result(p, 'source'),
    'filter', embedder.and_filter(p)))
  from embedder.chunk_wrapping(p, 'source') around
$$;

create or replace function embedder.generate_verify(p embedder.pipeline) returns void
language plpgsql set search_path = pg_catalog, pg_temp as $$
begin
  -- Planned each time, for tables of the size that they have then. Memory for hashing a million rows.
  perform embedder.create_function(p, 'verify', '() returns table (row_key text, fault text)',
    'stable ' || embedder.key_settings(p.source) || ' set jit = off set work_mem = ''128MB''',
    format(e'\nbegin%1$s\n  return query execute %2$L;%1$s\nend', embedder.check_tables(p),
      embedder.result_faults(p) || E'\n      union all' || embedder.queue_faults(p)));
  perform embedder.create_function(p, 'sample', '(wanted int) returns table (row_key text, chunk int, input text, result text)',
    'stable ' || embedder.key_settings(p.source) || ' set jit = off', embedder.fill($f$
begin{{check}}
  return query execute {{query}} using $1;{{check}}
end$f$, jsonb_build_object('check', embedder.check_tables(p), 'query', quote_literal(embedder.sample_query(p)))));
end
$$;
