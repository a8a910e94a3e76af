-- The input of a pipeline: a column, or a template such as '{title}\n{body}'.

-- Cuts an input into its pieces, in order: a piece is either literal text or the name of a column.
-- In a template {{ and }} are braces, \n a line break, \t a tab, \\ a backslash.
-- Callable by: everybody.
create or replace function embedder.parse_input(source regclass, input text)
returns table (literal text, column_name text)
language plpgsql stable set search_path = pg_catalog, pg_temp as $$
begin
  if exists (select from pg_attribute where attrelid = source and attname = input and attnum > 0 and not attisdropped) then
    return query select null::text, input;
  elsif input is null or input !~ '[{}]' then
    raise exception 'column "%" of table % does not exist', input, source
      using errcode = 'undefined_column',
        hint = format(e'%sinput is a column or a template such as ''{title}\\n{body}''. Columns: %s.',
          embedder.did_you_mean(input, string_to_array(embedder.column_names(source), ', ')), embedder.column_names(source));
  elsif replace(replace(input, '{{', ''), '}}', '') !~ '[{}]' then
    raise exception 'the template % names no column', quote_literal(input)
      using errcode = 'invalid_parameter_value', hint = format('Write {column}. Columns: %s.', embedder.column_names(source));
  else
    return query select * from embedder.parse_template(source, input);
  end if;
end
$$;
comment on function embedder.parse_input is 'The pieces of a pipeline''s input: literals and columns. Raises undefined_column or invalid_parameter_value.';

-- Callable by: everybody.
create or replace function embedder.column_names(source regclass) returns text
language sql stable set search_path = pg_catalog, pg_temp as $$
  select string_agg(attname, ', ' order by attnum) from pg_attribute where attrelid = source and attnum > 0 and not attisdropped
$$;

-- Callable by: everybody.
create or replace function embedder.parse_template(source regclass, template text)
returns table (literal text, column_name text)
language plpgsql stable set search_path = pg_catalog, pg_temp as $$
declare
  piece text;
begin
  for piece in
    select m[1] from regexp_matches(template, e'(\\{\\{|\\}\\}|\\{[^{}]*\\}|[{}]|\\\\[nt\\\\]|\\\\|[^{}\\\\]+)', 'g') m
  loop
    if piece in ('{', '}') then
      raise exception 'the template % has a single "%"', quote_literal(template), piece
        using errcode = 'invalid_parameter_value', hint = 'Write {column} for a column, {{ and }} for braces.';
    elsif piece in ('{{', '}}') then
      return query select left(piece, 1), null::text;
    elsif piece like '{%' then
      piece := substr(piece, 2, length(piece) - 2);
      if not exists (
        select from pg_attribute where attrelid = source and attname = piece and attnum > 0 and not attisdropped
      ) then
        raise exception 'the template % names column "%", which table % does not have', quote_literal(template), piece, source
          using errcode = 'undefined_column', hint = format('%sColumns: %s.',
            embedder.did_you_mean(piece, string_to_array(embedder.column_names(source), ', ')), embedder.column_names(source));
      end if;
      return query select null::text, piece;
    else
      return query select case piece when e'\\n' then e'\n' when e'\\t' then e'\t' when e'\\\\' then e'\\' else piece end, null::text;
    end if;
  end loop;
end
$$;

-- SQL for a column as text. In a collation that is not deterministic regular expressions would not work, so it is left out.
-- Callable by: everybody.
create or replace function embedder.column_text(source regclass, column_name text, row_alias text) returns text
language sql stable set search_path = pg_catalog, pg_temp as $$
  select format('%s.%I::text%s', row_alias, column_name, (
    select ' collate pg_catalog."default"' from pg_attribute a join pg_collation c on c.oid = a.attcollation and not c.collisdeterministic
    where a.attrelid = source and a.attname = column_text.column_name))
$$;

-- SQL that joins texts. A function takes at most a hundred arguments: so each hundred has a concat, and these are joined by another one.
-- Callable by: everybody.
create or replace function embedder.concatenation(parts text[]) returns text
language plpgsql immutable strict set search_path = pg_catalog, pg_temp as $$
begin
  if cardinality(parts) > 100 then
    parts := array(select embedder.concatenation(parts[i + 1:i + 100]) from generate_series(0, cardinality(parts) - 1, 100) i);
    return embedder.concatenation(parts);
  end if;
  return format('pg_catalog.concat(%s)', array_to_string(parts, ', '));
end
$$;

-- The SQL expression that gives a row's input text; row_alias is the row's name in the query around it.
-- A template whose columns are all null or blank gives null: its literals alone say nothing.
-- Callable by: everybody.
create or replace function embedder.input_expression(source regclass, input text, row_alias text) returns text
language sql stable set search_path = pg_catalog, pg_temp as $$
  select case
    when count(*) = 1 and count(column_name) = 1 then min(part)
    else format(
      -- Qualified, since embedder.search puts it into statements that run under the caller's search_path.
      'case when %s operator(pg_catalog.~) %L then %s end',
      embedder.concatenation(array_agg(part) filter (where column_name is not null)), e'\\S', embedder.concatenation(array_agg(part)))
  end
  from (
    select column_name,
      case when column_name is null then quote_literal(literal) else embedder.column_text(source, column_name, row_alias) end as part
    from embedder.parse_input(source, input)
  ) pieces
$$;
comment on function embedder.input_expression is 'SQL that computes the input text of one row.';

-- The same for a row of a pipeline: null as well where the filter leaves the row out. The filter names columns without
-- the row's name, so no other table may stand beside row_alias in the query around it.
create or replace function embedder.input_of(p embedder.pipeline, row_alias text) returns text
language sql stable set search_path = pg_catalog, pg_temp as $$
  select case when p.filter is null then i else format('case when (%s) then %s end', p.filter, i) end
  from embedder.input_expression(p.source, p.input, row_alias) i
$$;

-- ' and (the filter)', or nothing for a pipeline without a filter.
create or replace function embedder.and_filter(p embedder.pipeline) returns text
language sql stable set search_path = pg_catalog, pg_temp
return coalesce(' and (' || p.filter || ')', '');

-- The template of a chunked pipeline that wraps each chunk, such as '{title}: {chunk}': its pieces before and after
-- {chunk}, which stands in it once.
-- Callable by: everybody.
create or replace function embedder.parse_wrapping(source regclass, template text, out before text, out after text)
language plpgsql stable set search_path = pg_catalog, pg_temp as $$
declare
  -- Doubled braces are text: {{chunk}} does not count.
  parts text[] := regexp_split_to_array(replace(replace(template, '{{', e'\x01'), '}}', e'\x02'), e'\\{chunk\\}');
begin
  if template is null then return; end if;
  if cardinality(parts) <> 2 then
    raise exception 'the chunk template % must name {chunk} once', quote_literal(template)
      using errcode = 'invalid_parameter_value', hint = 'For example "{title}: {chunk}".';
  end if;
  before := nullif(replace(replace(parts[1], e'\x01', '{{'), e'\x02', '}}'), '');
  after := nullif(replace(replace(parts[2], e'\x01', '{{'), e'\x02', '}}'), '');
  perform embedder.literal_or_template(source, before);
  perform embedder.literal_or_template(source, after);
end
$$;
comment on function embedder.parse_wrapping is 'What stands before and after {chunk} in a chunk template. Raises undefined_column or invalid_parameter_value.';

-- The SQL expression of a piece of a chunk template, which may be without a column.
-- Callable by: everybody.
create or replace function embedder.literal_or_template(source regclass, piece text, row_alias text default 'source') returns text
language sql stable set search_path = pg_catalog, pg_temp as $$
  select coalesce(embedder.concatenation(array_agg(
    case when column_name is null then quote_literal(literal) else embedder.column_text(source, column_name, row_alias) end)), '''''')
  from embedder.parse_template(source, piece)
$$;

-- SQL for what stands before and after each chunk of a row of a pipeline.
-- Callable by: everybody.
create or replace function embedder.chunk_wrapping(p embedder.pipeline, row_alias text) returns text[]
language sql stable set search_path = pg_catalog, pg_temp as $$
  select array[embedder.literal_or_template(p.source, w.before, row_alias), embedder.literal_or_template(p.source, w.after, row_alias)]
  from embedder.parse_wrapping(p.source, p.chunking ->> 'template') w
$$;

-- SQL for all that a row's vectors are made of: a change of the row matters when this changes.
create or replace function embedder.watched_expression(p embedder.pipeline, row_alias text) returns text
language sql stable set search_path = pg_catalog, pg_temp as $$
  select case when p.chunking ? 'template' then format('array[%s, %s, %s]::pg_catalog.text[]', i, w[1], w[2]) else format('(%s)::pg_catalog.text', i) end || ' collate "C"'
  from embedder.input_expression(p.source, p.input, row_alias) i, embedder.chunk_wrapping(p, row_alias) w
$$;

-- The columns of the source that a pipeline reads, with their numbers. A column that is renamed later keeps its number.
-- Callable by: everybody.
create or replace function embedder.used_columns(p embedder.pipeline, filter_columns text[]) returns jsonb
language sql stable set search_path = pg_catalog, pg_temp as $$
  select jsonb_object_agg(a.attname, a.attnum)
  from pg_attribute a
  where a.attrelid = p.source and a.attnum > 0 and not a.attisdropped and a.attname in (
    select column_name from embedder.parse_input(p.source, p.input)
    union select t.column_name from embedder.parse_wrapping(p.source, p.chunking ->> 'template') w,
      unnest(array[w.before, w.after]) piece, embedder.parse_template(p.source, piece) t
    union select column_name from embedder.key_columns(p.source)
    union select unnest(filter_columns)
    union select p.target_column where not p.sidecar)
$$;

-- The condition of an index, as text that means the same whatever a session's settings are; but for backslashes, intervals and money, for
-- which the functions that hold it have settings of their own (embedder.filter_settings).
-- Callable by: everybody.
create or replace function embedder.predicate_of(index regclass) returns text
language sql stable set search_path = pg_catalog, pg_temp set standard_conforming_strings = on set quote_all_identifiers = off
  set datestyle = 'ISO, YMD' set timezone = 'UTC' set intervalstyle = 'postgres' set bytea_output = 'hex' set extra_float_digits = 1
  set lc_monetary = 'C' as $$
  select pg_get_expr(i.indpred, i.indrelid) from pg_index i where i.indexrelid = index
$$;

-- What functions that hold the filter must be created with.
create or replace function embedder.filter_settings(p embedder.pipeline) returns text
language sql immutable set search_path = pg_catalog, pg_temp as $$
  select case when p.filter ~ e'\\\\|::(interval|money)'
    then ' set standard_conforming_strings = on set intervalstyle = ''postgres'' set lc_monetary = ''C'' ' else '' end
$$;

-- What functions that compare texts of the input must be created with: a session may have floats written with fewer digits, so that
-- another value has the same text.
create or replace function embedder.input_settings(p embedder.pipeline) returns text
language sql stable set search_path = pg_catalog, pg_temp as $$
  with recursive types as (
    select a.atttypid as oid from pg_attribute a where a.attrelid = p.source and a.attname = any (embedder.input_columns(p)) and not a.attisdropped
    union select t.typbasetype from types y join pg_type t on t.oid = y.oid and t.typtype = 'd'
  )
  select case when exists (
    select from types y join pg_type t on t.oid = y.oid
    where t.typtype not in ('d', 'e') and t.typname <> 'citext' and t.oid <> all (array['text', 'varchar', 'bpchar', 'name', 'int2', 'int4', 'int8', 'bool', 'uuid', 'numeric',
      'date', 'time', 'timetz', 'timestamp', 'timestamptz', 'interval', 'json', 'jsonb', 'xml', 'bytea']::regtype[]))
    then ' set extra_float_digits = 1 ' else '' end
$$;

-- Checks a filter and gives it back with every name in it qualified, so that it means the same under any search_path;
-- and the columns that it names. As the predicate of an index on an empty copy of the table: PostgreSQL then refuses by
-- itself what a trigger could not keep in step, such as subqueries, aggregates and functions whose result changes by
-- itself. path is the search_path of whoever wrote the filter, whose DateStyle its literals are read with as well. renamed maps the present names of columns to those that
-- the filter has for them; it comes back with the present ones.
-- Callable by: everybody.
create or replace function embedder.check_filter(
  source regclass, filter text, path text, renamed jsonb default '{}', out checked text, out columns text[])
language plpgsql set search_path = pg_catalog, pg_temp set standard_conforming_strings = on as $$
declare
  reason text;
  c record;
begin
  if filter is null or filter !~ e'\\S' then return; end if;
  begin
    execute format('create temporary table embedder_filter on commit drop as select * from %s limit 0', source);
    for c in select key as now, value as before from jsonb_each_text(renamed) loop
      execute format('alter table pg_temp.embedder_filter rename column %I to %I', c.now, c.before);
    end loop;
    perform set_config('search_path', path, true);
    execute format(e'create index embedder_filter_index on pg_temp.embedder_filter ((1)) where (%s\n)', filter);
    perform set_config('search_path', 'pg_catalog, pg_temp', true);
    for c in select key as now, value as before from jsonb_each_text(renamed) loop
      execute format('alter table pg_temp.embedder_filter rename column %I to %I', c.before, c.now);
    end loop;
    checked := embedder.predicate_of('pg_temp.embedder_filter_index');
    columns := array(
      select distinct a.attname::text from pg_depend d
      join pg_attribute a on a.attrelid = d.refobjid and a.attnum = d.refobjsubid
      where d.objid = 'pg_temp.embedder_filter_index'::regclass and d.refobjid = 'pg_temp.embedder_filter'::regclass);
    drop table pg_temp.embedder_filter;
  exception
    when insufficient_privilege or query_canceled then raise;
    when others then
      get stacked diagnostics reason = message_text;
      raise exception 'the filter % does not work on %: %', quote_literal(filter), source, reason
        using errcode = 'invalid_parameter_value',
          hint = 'It is a condition on one row by its own columns, as after "where", that gives the same answer at any time: for example published and lang = ''en''.';
  end;
end
$$;
comment on function embedder.check_filter is 'A filter with every name qualified, and its columns. Raises invalid_parameter_value.';
