-- The index on a target. A worker builds it after the first filling, outside any transaction of a user's.

-- The vector indexes on a pipeline's target. One that an interrupted build left behind is not valid.
create or replace function embedder.target_indexes(p embedder.pipeline) returns table (index regclass, valid boolean)
language sql stable set search_path = pg_catalog, pg_temp as $$
  select x.indexrelid::regclass, x.indisvalid
  from pg_index x
  join pg_class c on c.oid = x.indexrelid
  join pg_am m on m.oid = c.relam and m.amname in ('hnsw', 'ivfflat')
  join pg_attribute a on a.attrelid = x.indrelid and a.attnum = x.indkey[0]
  where x.indrelid = p.target_table and a.attname = p.target_column
$$;

create or replace function embedder.has_rows(target regclass, column_name text) returns boolean
language plpgsql stable set search_path = pg_catalog, pg_temp as $$
declare
  found_one boolean;
begin
  execute format('select exists (select from %s where %I is not null)', target, column_name) into found_one;
  return found_one;
end
$$;

-- For each filled pipeline without its index: the statements that make it, in order. An index that somebody has made
-- by hand serves as well. To be run under one lock, since an index that is being built looks like one left behind.
create or replace function embedder.missing_indexes() returns table (pipeline text, statements text[])
language sql stable set search_path = pg_catalog, pg_temp as $$
  select p.name,
    array(select format('drop index concurrently if exists %s', i.index) from embedder.target_indexes(p) i)
    || format('create index concurrently %I on %s using %s (%I %I.vector_cosine_ops)%s',
      format('%s_%s_%s', left(c.relname, 40), p.id, p.index), p.target_table, p.index, p.target_column, n.nspname,
      -- Lists by pgvector's advice: rows / 1,000 up to a million rows, the square root beyond.
      case p.index when 'ivfflat' then format(' with (lists = %s)',
        greatest(1, case when c.reltuples < 1e6 then c.reltuples / 1000 else sqrt(c.reltuples) end)::int) else '' end)
  from embedder.pipeline p
  join pg_class c on c.oid = p.target_table
  join pg_extension e on e.extname = 'vector'
  join pg_namespace n on n.oid = e.extnamespace
  where p.index <> 'none' and p.filled_at is not null and p.error is null
    and not exists (select from embedder.target_indexes(p) i where i.valid)
    and embedder.has_rows(p.target_table, p.target_column)
$$;
comment on function embedder.missing_indexes is 'The statements that build the indexes that filled pipelines still lack.';
