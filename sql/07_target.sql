-- The target of a pipeline: a sidecar table, or a column of the source.

-- The columns that a sidecar has beside the key, in order.
create or replace function embedder.sidecar_columns(dimensions int) returns table (column_name text, type_name text, rest text)
language sql stable set search_path = pg_catalog, pg_temp as $$
  values ('chunk', 'integer', ' not null default 0'), ('chunk_text', 'text', ''),
    ('embedding', format('%s(%s)', embedder.vector_type(), dimensions), ' not null'),
    ('model', 'text', ' not null'), ('embedded_at', 'timestamp with time zone', ' not null default now()')
$$;

-- Makes the sidecar, or takes over one that an earlier pipeline of the same shape has left.
create or replace function embedder.make_sidecar(p embedder.pipeline, target_table text) returns regclass
language plpgsql set search_path = pg_catalog, pg_temp as $$
declare
  source pg_class := (select c from pg_class c where c.oid = p.source);
  parts text[] := parse_ident(coalesce(target_table, quote_ident(left(p.name, 53) || '_embedding')));
  table_name text := format('%I.%I',
    case when cardinality(parts) > 1 then parts[1] else (select nspname from pg_namespace where oid = source.relnamespace) end,
    parts[cardinality(parts)]);
  wanted text[];
  actual text[];
begin
  if exists (
    select from embedder.key_columns(p.source) k join embedder.sidecar_columns(p.dimensions) s using (column_name)
  ) then
    raise exception 'the key of % has a column that a sidecar needs for itself', p.source
      using errcode = 'duplicate_column',
        hint = format('Its own columns: %s. Give target_column => ''embedding'' to write into the source.',
          (select string_agg(column_name, ', ') from embedder.sidecar_columns(p.dimensions)));
  end if;

  wanted := (select array_agg(format('%I %s', column_name, type_name)) from (
    select column_name, type_name from embedder.key_columns(p.source)
    union all select column_name, type_name from embedder.sidecar_columns(p.dimensions)) c);

  if to_regclass(table_name) is not null then
    if exists (select from embedder.pipeline e where e.target_table = to_regclass(table_name)) then
      raise exception 'table % is the target of pipeline "%"', table_name,
        (select min(e.name) from embedder.pipeline e where e.target_table = to_regclass(table_name))
        using errcode = 'duplicate_table', hint = 'Give another name => ... or target_table => ...';
    end if;
    actual := (
      select array_agg(format('%I %s', attname, format_type(atttypid, atttypmod)))
      from pg_attribute where attrelid = to_regclass(table_name) and attnum > 0 and not attisdropped);
    if not actual @> wanted then
      raise exception 'table % exists and is no sidecar of this shape', table_name
        using errcode = 'duplicate_table',
          hint = format('Drop it, or give another target_table. A sidecar has: %s.', array_to_string(wanted, ', '));
    end if;
    perform embedder.prune_sidecar(p.source, to_regclass(table_name));
    return to_regclass(table_name);
  end if;

  execute format('create table %s (%s, primary key (%s, chunk))', table_name,
    (select string_agg(definition, ', ') from (
      select format('%I %s not null', column_name, type_name) as definition from embedder.key_columns(p.source)
      union all
      select format('%I %s%s', column_name, type_name, rest) from embedder.sidecar_columns(p.dimensions)) d),
    (select string_agg(quote_ident(column_name), ', ' order by place) from embedder.key_columns(p.source)));
  execute format('alter table %s owner to %s', table_name, source.relowner::regrole);
  execute format('comment on table %s is %L', table_name,
    format('Written by pgembedder, pipeline %s: the embedding of each row of %s.', p.name, p.source));
  return to_regclass(table_name);
end
$$;

-- Deletes the rows of a sidecar whose source row was deleted while no trigger could see it.
create or replace function embedder.prune_sidecar(source regclass, sidecar regclass) returns void
language plpgsql set search_path = pg_catalog, pg_temp as $$
begin
  execute format('delete from %s t where not exists (select from %s source where %s)',
    sidecar, source, embedder.keys_equal(source, 'source', 't'));
end
$$;

-- Adds the target column to the source, or checks the one that is there.
create or replace function embedder.make_target_column(p embedder.pipeline) returns void
language plpgsql set search_path = pg_catalog, pg_temp as $$
declare
  wanted text := format('%s(%s)', embedder.vector_type(), p.dimensions);
  actual text := (
    select format_type(atttypid, atttypmod) from pg_attribute
    where attrelid = p.source and attname = p.target_column and attnum > 0 and not attisdropped);
begin
  if exists (select from embedder.parse_input(p.source, p.input) i where i.column_name = p.target_column) then
    raise exception 'pipeline "%" would read its own target, column "%"', p.name, p.target_column
      using errcode = 'invalid_parameter_value', hint = 'Give another target_column.';
  elsif exists (select from embedder.pipeline e where e.target_table = p.source and e.target_column = p.target_column) then
    raise exception 'column "%" of % is the target of another pipeline', p.target_column, p.source
      using errcode = 'duplicate_column', hint = 'Give another target_column.';
  elsif actual is null then
    execute format('alter table %s add column %I %s', p.source, p.target_column, wanted);
  elsif actual not in (wanted, embedder.vector_type()) then
    raise exception 'column "%" of % is %, and model "%" needs %', p.target_column, p.source, actual, p.model, wanted
      using errcode = 'datatype_mismatch', hint = 'Give another target_column; one that does not exist is added.';
  end if;
end
$$;
