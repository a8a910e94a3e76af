-- The input of a pipeline: a column, or a template such as '{title}\n{body}'.

-- Cuts an input into its pieces, in order: a piece is either literal text or the name of a column.
-- In a template {{ and }} are braces, \n a line break, \t a tab, \\ a backslash.
create or replace function embedder.parse_input(source regclass, input text)
returns table (literal text, column_name text)
language plpgsql stable set search_path = pg_catalog, pg_temp as $$
declare
  piece text;
  columns text;
begin
  select string_agg(attname, ', ' order by attnum) into columns
  from pg_attribute where attrelid = source and attnum > 0 and not attisdropped;

  if exists (select from pg_attribute where attrelid = source and attname = input and attnum > 0 and not attisdropped) then
    return query select null::text, input;
    return;
  end if;
  if input is null or input !~ '[{}]' then
    raise exception 'column "%" of table % does not exist', input, source
      using errcode = 'undefined_column',
        hint = format('input is a column or a template such as ''{title}\n{body}''. Columns: %s.', columns);
  elsif replace(replace(input, '{{', ''), '}}', '') !~ '[{}]' then
    raise exception 'the template % names no column', quote_literal(input)
      using errcode = 'invalid_parameter_value', hint = format('Write {column}. Columns: %s.', columns);
  end if;

  for piece in
    select m[1] from regexp_matches(input, '(\{\{|\}\}|\{[^{}]*\}|[{}]|\\[nt\\]|\\|[^{}\\]+)', 'g') m
  loop
    if piece in ('{', '}') then
      raise exception 'the template % has a single "%"', quote_literal(input), piece
        using errcode = 'invalid_parameter_value', hint = 'Write {column} for a column, {{ and }} for braces.';
    elsif piece in ('{{', '}}') then
      return query select left(piece, 1), null::text;
    elsif piece like '{%' then
      piece := substr(piece, 2, length(piece) - 2);
      if not exists (
        select from pg_attribute where attrelid = source and attname = piece and attnum > 0 and not attisdropped
      ) then
        raise exception 'the template % names column "%", which table % does not have', quote_literal(input), piece, source
          using errcode = 'undefined_column', hint = format('Columns: %s.', columns);
      end if;
      return query select null::text, piece;
    else
      return query select case piece when '\n' then e'\n' when '\t' then e'\t' when '\\' then '\' else piece end, null::text;
    end if;
  end loop;
end
$$;
comment on function embedder.parse_input is 'The pieces of a pipeline''s input: literals and columns. Raises undefined_column or invalid_parameter_value.';

-- The SQL expression that gives a row's input text; row_alias is the row's name in the query around it.
-- A template whose columns are all null or blank gives null: its literals alone say nothing.
create or replace function embedder.input_expression(source regclass, input text, row_alias text) returns text
language sql stable set search_path = pg_catalog, pg_temp as $$
  select case
    when count(*) = 1 and count(column_name) = 1 then min(part)
    else format(
      'case when concat(%s) ~ %L then concat(%s) end',
      string_agg(part, ', ') filter (where column_name is not null), '\S', string_agg(part, ', '))
  end
  from (
    select column_name,
      case when column_name is null then quote_literal(literal) else format('%s.%I::text', row_alias, column_name) end as part
    from embedder.parse_input(source, input)
  ) pieces
$$;
comment on function embedder.input_expression is 'SQL that computes the input text of one row.';
