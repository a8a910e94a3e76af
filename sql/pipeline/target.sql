-- The target of a pipeline: a sidecar table, or columns of the source.

-- Callable by: everybody.
create or replace function embedder.vector_kind(p embedder.pipeline) returns text
language sql immutable set search_path = pg_catalog, pg_temp
return coalesce(p.options ->> 'vector_type', 'vector');

-- Whether these options ask for sparse vectors.
-- Callable by: everybody.
create or replace function embedder.is_sparse(options jsonb) returns boolean
language sql immutable parallel safe
return coalesce(options operator(pg_catalog.->>) 'vector_type' operator(pg_catalog.=) 'sparsevec', false);

-- The columns that hold a result, in order. In a row without a result the last one is null.
-- Callable by: everybody.
create or replace function embedder.result_columns(p embedder.pipeline) returns embedder.result_column[]
language sql stable set search_path = pg_catalog, pg_temp as $$
  select array_agg((
      c.place,
      case when p.sidecar then c.name when c.place = 1 then p.target_column else embedder.made_name(p.target_column, '_' || c.name) end,
      case c.type when 'vector' then format('%s(%s)', embedder.vector_type(embedder.vector_kind(p)), p.dimensions) else c.type end,
      -- A worker gives sparse vectors as text: beside the time that their model takes nobody sees it.
      case when c.type <> 'vector' then c.type when embedder.is_sparse(p.options) then 'text' else embedder.vector_type() end)::embedder.result_column
    order by c.place)
  from embedder.tasks() t, unnest(t.columns, t.types) with ordinality c(name, type, place) where t.name = p.task
$$;

-- The result column that says whether a row has a result: the others may be null with one.
-- Callable by: everybody.
create or replace function embedder.result_marker(p embedder.pipeline) returns text
language sql stable set search_path = pg_catalog, pg_temp as $$
  select c.column_name from unnest(embedder.result_columns(p)) c order by c.place desc limit 1
$$;

-- The columns that a sidecar has beside the key, in order.
-- Callable by: everybody.
create or replace function embedder.sidecar_columns(p embedder.pipeline) returns table (column_name text, type_name text, rest text)
language sql stable set search_path = pg_catalog, pg_temp as $$
  select 'chunk', 'integer', ' not null default 0'
  union all select 'chunk_text', 'text', ''
  union all select v.name, v.type, '' from (values ('chunk_start', 'integer'), ('chunk_end', 'integer'), ('heading', 'text'), ('input_hash', 'uuid')) v(name, type)
    where p.chunking is not null
  union all select c.column_name, c.type_name, case when c.column_name = embedder.result_marker(p) then ' not null' else '' end
    from unnest(embedder.result_columns(p)) c
  union all select 'model', 'text', ' not null'
  union all select embedder.hash_column(p), 'uuid', ''
  union all select 'embedded_at', 'timestamp with time zone', ' not null default now()'
$$;

-- Schema and name of the sidecar that a declaration asks for.
-- Callable by: everybody.
create or replace function embedder.sidecar_place(p embedder.pipeline) returns text[]
language sql stable set search_path = pg_catalog, pg_temp as $$
  select case when cardinality(parts) > 1 then parts
    else array[(select n.nspname::text from pg_class c join pg_namespace n on n.oid = c.relnamespace where c.oid = p.source)] || parts end
  from parse_ident(coalesce(p.target_name, quote_ident(embedder.sidecar_name(p)))) parts
$$;

-- Whether the target of a declaration is there before it is made; and whether a pipeline has written it: then its
-- results may be of old texts. A column that something else has filled is taken as right, if the caller says so.
-- Callable by: everybody.
create or replace function embedder.find_target(p embedder.pipeline, out there boolean, out of_pipeline boolean)
language plpgsql stable set search_path = pg_catalog, pg_temp as $$
declare
  place text[];
begin
  if p.sidecar then
    place := embedder.sidecar_place(p);
    there := exists (select from pg_class c join pg_namespace n on n.oid = c.relnamespace where n.nspname = place[1] and c.relname = place[2]);
    of_pipeline := there;
  else
    there := embedder.column_type(p.source, p.target_column) is not null;
    of_pipeline := there and embedder.column_type(p.source, embedder.hash_column(p)) is not null;
  end if;
end
$$;

-- Makes the sidecar, or takes over one that an earlier pipeline of the same shape has left. Only where the owner of the
-- source could do so as well: this runs with the rights of the schema's owner.
create or replace function embedder.make_sidecar(p embedder.pipeline) returns regclass
language plpgsql set search_path = pg_catalog, pg_temp as $$
declare
  source pg_class := (select c from pg_class c where c.oid = p.source);
  place text[] := embedder.sidecar_place(p);
  schema_name text := place[1];
  table_name text := format('%I.%I', schema_name, place[2]);
  target regclass := to_regclass(table_name);
  wanted text[];
  actual text[];
begin
  perform embedder.check_length('table', place[2]);
  if exists (
    select from embedder.key_columns(p.source) k join embedder.sidecar_columns(p) s using (column_name)
  ) then
    raise exception 'the key of % has a column that a sidecar needs for itself', p.source
      using errcode = 'duplicate_column',
        hint = format('Its own columns: %s. Give target_column => ''embedding'' to write into the source.',
          (select string_agg(column_name, ', ') from embedder.sidecar_columns(p)));
  elsif to_regnamespace(quote_ident(schema_name)) is null then
    raise exception 'schema "%" does not exist', schema_name using errcode = 'invalid_schema_name';
  elsif not has_schema_privilege(source.relowner, schema_name, 'create') then
    raise exception 'role % may not make a table in schema %', source.relowner::regrole, schema_name
      using errcode = 'insufficient_privilege', hint = format('grant create on schema %I to %s; or give target_column.', schema_name, source.relowner::regrole);
  end if;

  wanted := (select array_agg(format('%I %s', column_name, type_name)) from (
    select column_name, type_name from embedder.key_columns(p.source)
    union all select s.column_name, s.type_name from embedder.sidecar_columns(p) s where s.column_name <> embedder.hash_column(p)) c);

  if target is not null then
    if exists (select from embedder.pipeline e where e.target_table = target) then
      raise exception 'table % is the target of pipeline "%"', table_name,
        (select min(e.name) from embedder.pipeline e where e.target_table = target)
        using errcode = 'duplicate_table', hint = 'Give another name => ... or target_table => ...';
    elsif (select c.relowner from pg_class c where c.oid = target) <> source.relowner then
      raise exception 'table % belongs to somebody else than %', table_name, p.source
        using errcode = 'insufficient_privilege', hint = 'Give another target_table.';
    elsif embedder.is_hidden(target) then
      raise exception '%', embedder.hidden(target) using errcode = 'object_not_in_prerequisite_state',
        hint = format('alter table %s no force row level security;', table_name);
    end if;
    actual := (
      select array_agg(format('%I %s', attname, format_type(atttypid, atttypmod)))
      from pg_attribute where attrelid = target and attnum > 0 and not attisdropped);
    if not actual @> wanted then
      raise exception 'table % exists and is no sidecar of this shape', table_name
        using errcode = 'duplicate_table',
          hint = format('Drop it, or give another target_table. A sidecar has: %s.', array_to_string(wanted, ', '));
    end if;
    return target;
  end if;

  execute format('create table %s (%s, primary key (%s, chunk))', table_name,
    (select string_agg(definition, ', ') from (
      select format('%I %s%s not null', column_name, type_name, ' collate ' || collation_name) as definition from embedder.key_columns(p.source)
      union all
      select format('%I %s%s', column_name, type_name, rest) from embedder.sidecar_columns(p)) d),
    embedder.key_list(p.source));
  execute format('alter table %s owner to %s', table_name, source.relowner::regrole);
  execute format('comment on table %s is %L', table_name,
    format('Written by pgembedder, pipeline %s: the %s of each row of %s.', p.name,
      embedder.noun_of(p.task), p.source));
  return to_regclass(table_name);
end
$$;

drop function if exists embedder.prune_statement(embedder.pipeline, regclass), embedder.prune_statement(embedder.pipeline);

-- The statements that add the target columns to the source; those that are there already are looked at.
create or replace function embedder.target_column_statements(p embedder.pipeline) returns text[]
language plpgsql set search_path = pg_catalog, pg_temp as $$
declare
  c embedder.result_column;
  actual text;
  statements text[] := '{}';
begin
  perform embedder.check_length('column', p.target_column);
  foreach c in array embedder.result_columns(p) loop
    actual := embedder.column_type(p.source, c.column_name);
    if exists (select from embedder.parse_input(p.source, p.input) i where i.column_name = c.column_name) then
      raise exception 'pipeline "%" would read its own target, column "%"', p.name, c.column_name
        using errcode = 'invalid_parameter_value', hint = 'Give another target_column.';
    elsif exists (
      select from embedder.pipeline e, unnest(embedder.result_columns(e)) o
      where e.target_table = p.source and o.column_name = c.column_name and e.id is distinct from p.id
    ) then
      raise exception 'column "%" of % is the target of another pipeline', c.column_name, p.source
        using errcode = 'duplicate_column', hint = 'Give another target_column.';
    elsif exists (select from pg_attribute a where a.attrelid = p.source and a.attname = c.column_name and a.attgenerated <> '' and not a.attisdropped) then
      raise exception 'column "%" of % is a generated one, and nothing can be written to it', c.column_name, p.source
        using errcode = 'invalid_parameter_value', hint = 'Give another target_column; one that does not exist is added.';
    elsif actual is null then
      statements := statements || format('alter table %s add column %I %s', p.source, c.column_name, c.type_name);
    elsif not embedder.fits(actual, c) then
      raise exception 'column "%" of % is %, and model "%" needs %', c.column_name, p.source, actual, p.model, c.type_name
        using errcode = 'datatype_mismatch', hint = 'Give another target_column; one that does not exist is added.';
    end if;
  end loop;
  return statements || array_remove(array[embedder.hash_column_statement(p)], null);
end
$$;

-- Callable by: everybody.
create or replace function embedder.column_type(relation regclass, column_name text) returns text
language sql stable set search_path = pg_catalog, pg_temp as $$
  select format_type(atttypid, atttypmod) from pg_attribute
  where attrelid = relation and attname = column_name and attnum > 0 and not attisdropped
$$;

-- Whether a column of this type takes the result: vector without a length takes any vector.
create or replace function embedder.fits(actual text, wanted embedder.result_column) returns boolean
language sql immutable set search_path = pg_catalog, pg_temp
return actual in (wanted.type_name, regexp_replace(wanted.type_name, e'\\(\\d+\\)$', ''));

-- Row level security of the source holds for its sidecar too: who sees the source row sees its row there.
create or replace function embedder.protect_sidecar(p embedder.pipeline) returns void
language plpgsql set search_path = pg_catalog, pg_temp as $$
declare
  wanted boolean := (select relrowsecurity from pg_class where oid = p.source);
  target pg_class := (select c from pg_class c where c.oid = p.target_table);
  there boolean := exists (select from pg_policy where polrelid = p.target_table and polname = 'pgembedder_source');
begin
  if not p.sidecar or wanted = there and (target.relrowsecurity or not wanted) then return; end if;
  if there then execute format('drop policy pgembedder_source on %s', p.target_table); end if;
  if wanted then
    execute format('create policy pgembedder_source on %s for select using (exists (select from %s source where %s))',
      p.target_table, p.source, embedder.keys_equal(p.source, 'source', quote_ident(target.relname)));
  end if;
  execute format('alter table %s %s row level security', p.target_table, case when wanted then 'enable' else 'disable' end);
end
$$;
