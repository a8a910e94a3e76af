-- The hash of all that a result was made of, kept beside it: so a result whose text has changed while no trigger saw it is
-- found without embedding anything (sql/queue/backfill.sql). A result of an earlier version or of something else does not have one.

-- Its column's name beside a target column.
-- Callable by: everybody.
create or replace function embedder.hash_name(target_column text) returns text
language sql immutable set search_path = pg_catalog, pg_temp as $$
  select embedder.made_name('source_hash_of_' || target_column, '')
$$;

-- The column that holds it: of a sidecar (where there are chunks, of chunk 0), or beside the target column.
-- Callable by: everybody.
create or replace function embedder.hash_column(p embedder.pipeline) returns text
language sql immutable set search_path = pg_catalog, pg_temp as $$
  select case when p.sidecar then 'source_hash' else embedder.hash_name(p.target_column) end
$$;

-- All columns of a target that a pipeline writes in the source, or beside the key in a sidecar.
-- Callable by: everybody.
create or replace function embedder.written_columns(p embedder.pipeline) returns table (column_name text)
language sql stable set search_path = pg_catalog, pg_temp as $$
  select c.column_name from unnest(embedder.result_columns(p)) c union all select embedder.hash_column(p)
$$;

-- SQL for the hash of a row named row_alias: of its text and of how it is worked on. The filter is no part of it, nor are
-- names of columns.
create or replace function embedder.hash_expression(p embedder.pipeline, row_alias text) returns text
language sql stable set search_path = pg_catalog, pg_temp as $$
  select format('md5(%L || coalesce((%s)::text, %L))::uuid',
    md5(jsonb_build_array(p.task, p.model, p.options, p.chunking - 'template')::text),
    embedder.watched_expression(p, row_alias), '')
$$;

-- The statement that adds the column to a target of an earlier version or of something else; null where it is there. Adding a column
-- that may be null writes no row.
create or replace function embedder.hash_column_statement(p embedder.pipeline) returns text
language plpgsql stable set search_path = pg_catalog, pg_temp as $$
declare
  target regclass := case when p.sidecar then p.target_table else p.source end;
  actual text := embedder.column_type(target, embedder.hash_column(p));
begin
  if actual <> 'uuid' then
    raise exception 'column "%" of % is %, and a pipeline needs uuid there', embedder.hash_column(p), target, actual
      using errcode = 'datatype_mismatch', hint = 'Rename it, or give the pipeline another target.';
  end if;
  return case when actual is null then format('alter table %s add column %I uuid', target, embedder.hash_column(p)) end;
end
$$;

-- True: it was not there.
create or replace function embedder.add_hash_column(p embedder.pipeline) returns boolean
language plpgsql set search_path = pg_catalog, pg_temp as $$
declare
  statement text := embedder.hash_column_statement(p);
begin
  if statement is not null then perform embedder.briefly(array[p.target_table], array[statement]); end if;
  return statement is not null;
end
$$;
