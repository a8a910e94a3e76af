-- The row key as text: `id::text` for one column, the canonical text of a jsonb object for several.
-- Text keys claim, read and complete a third faster than jsonb ones (docs/decisions.md, Queue 5).

-- The columns of the primary key in their order, with the type and the equality operator of each one's index.
-- In PL/pgSQL, which keeps the plan of this join for the session: planning it takes a millisecond, and every search calls this.
-- Callable by: everybody.
create or replace function embedder.key_columns(source regclass)
returns table (place int, column_name text, type_name text, equals text, plain boolean, composite boolean, canonical text, collation_name text)
language plpgsql stable set search_path = pg_catalog, pg_temp as $$
#variable_conflict use_column
begin
  return query
  select k.place::int, a.attname::text, format_type(a.atttypid, a.atttypmod),
    format('operator(%I.%s)', n.nspname, o.oprname),
    -- These print the same whatever DateStyle, TimeZone, bytea_output and their like are set to.
    a.atttypid in ('int2'::regtype, 'int4'::regtype, 'int8'::regtype, 'text'::regtype, 'varchar'::regtype,
                   'bpchar'::regtype, 'uuid'::regtype),
    -- Of these a jsonb object has a value that casts back. Of others it has their text, or something else: JSON, arrays, composites,
    -- and types with a cast to JSON, such as hstore.
    b.base not in ('int2'::regtype, 'int4'::regtype, 'int8'::regtype, 'float4'::regtype, 'float8'::regtype, 'numeric'::regtype,
                   'bool'::regtype, 'date'::regtype, 'timestamp'::regtype, 'timestamptz'::regtype),
    -- Values that are equal without being the same have one text, where there is one for them: 1.5 and 1.50, 0 and -0, a day and
    -- 24 hours. Types without such a text (see one_text) can have several keys for one row.
    case b.base
      when 'numeric'::regtype then 'pg_catalog.trim_scale(%s)'
      when 'float4'::regtype then '(%s operator(pg_catalog.+) 0::pg_catalog.float4)'
      when 'float8'::regtype then '(%s operator(pg_catalog.+) 0::pg_catalog.float8)'
      when 'interval'::regtype then 'pg_catalog.justify_interval(%s)'
      else '%s' end,
    -- For a column that has another collation than its type.
    (select format('%I.%I', cn.nspname, co.collname) from pg_collation co join pg_namespace cn on cn.oid = co.collnamespace
      where co.oid = a.attcollation and a.attcollation <> t.typcollation)
  from pg_index i
  cross join lateral unnest(i.indkey::int2[], i.indclass::oid[]) with ordinality k(attnum, opclass, place)
  join pg_attribute a on a.attrelid = i.indrelid and a.attnum = k.attnum
  join pg_type t on t.oid = a.atttypid
  cross join lateral (
    with recursive bases as (
      select t.oid, t.typbasetype union all select y.oid, y.typbasetype from bases s join pg_type y on y.oid = s.typbasetype
    ) select s.oid as base from bases s where s.typbasetype = 0) b
  join pg_opclass c on c.oid = k.opclass and c.opcmethod = (select m.oid from pg_am m where m.amname = 'btree')
  join pg_amop m on m.amopfamily = c.opcfamily and m.amopstrategy = 3
    and m.amoplefttype = c.opcintype and m.amoprighttype = c.opcintype
  join pg_operator o on o.oid = m.amopopr
  join pg_namespace n on n.oid = o.oprnamespace
  where i.indrelid = source and i.indisprimary
  order by k.place;
end
$$;
comment on function embedder.key_columns is 'The primary key of a table, one row a column; no row where it has none.';

-- SQL for the row key of the row named row_alias.
-- Callable by: everybody.
create or replace function embedder.key_expression(source regclass, row_alias text) returns text
language sql stable set search_path = pg_catalog, pg_temp as $$
  select case count(*)
    when 0 then null
    when 1 then min(format('%s::pg_catalog.text%s', format(canonical, format('%s.%I', row_alias, column_name)),
      case when collation_name is not null then ' collate "C"' end))
    else format('jsonb_build_object(%s)::text', string_agg(
      format('%L, %s%s', column_name, format(canonical, format('%s.%I', row_alias, column_name)), case when composite then '::text' else '' end),
      ', ' order by place))
  end
  from embedder.key_columns(source)
$$;
comment on function embedder.key_expression is 'SQL that computes the row key (text) of one row.';

-- Whether each key has one text: keys of other types may be equal and yet print differently ('A' and 'a' of citext).
-- Callable by: everybody.
create or replace function embedder.one_text(source regclass) returns boolean
language sql stable set search_path = pg_catalog, pg_temp as $$
  select coalesce(bool_and((k.plain or a.atttypid in ('bool'::regtype, 'date'::regtype, 'timestamp'::regtype, 'timestamptz'::regtype, 'bytea'::regtype))
    and coalesce((select c.collisdeterministic from pg_collation c where c.oid = a.attcollation), true)), true)
  from embedder.key_columns(source) k join pg_attribute a on a.attrelid = source and a.attname = k.column_name
$$;

-- SQL for the typed value of each key column, taken out of a row key: 'id::bigint'.
-- Callable by: everybody.
create or replace function embedder.key_values(source regclass, row_key text) returns text
language sql stable set search_path = pg_catalog, pg_temp as $$
  select string_agg(value, ', ' order by place)
  from (
    select place, case when count(*) over () = 1
      then format('(%s)::%s', row_key, type_name)
      else format('((%s)::jsonb ->> %L)::%s', row_key, column_name, type_name) end || coalesce(' collate ' || collation_name, '') as value
    from embedder.key_columns(source)
  ) v
$$;
comment on function embedder.key_values is 'SQL for the typed key columns of a row key, in the order of the primary key.';

-- SQL that is true where the row named row_alias has the given row key; it can use the primary key's index.
-- Callable by: everybody.
create or replace function embedder.key_matches(source regclass, row_alias text, row_key text) returns text
language sql stable set search_path = pg_catalog, pg_temp as $$
  select string_agg(condition, ' and ' order by place)
  from (
    select place, case when count(*) over () = 1
      then format('%s.%I %s (%s)::%s', row_alias, column_name, equals, row_key, type_name)
      else format('%s.%I %s ((%s)::jsonb ->> %L)::%s', row_alias, column_name, equals, row_key, column_name, type_name)
      end || coalesce(' collate ' || collation_name, '') as condition
    from embedder.key_columns(source)
  ) v
$$;
comment on function embedder.key_matches is 'SQL for "this row has this row key", typed so that the index serves it.';

-- SQL that is true where two rows that both carry the key columns have the same key.
-- Callable by: everybody.
create or replace function embedder.keys_equal(source regclass, one text, other text) returns text
language sql stable set search_path = pg_catalog, pg_temp as $$
  select string_agg(format('%s.%I %s %s.%I', one, column_name, equals, other, column_name), ' and ' order by place)
  from embedder.key_columns(source)
$$;
comment on function embedder.keys_equal is 'SQL for "these two rows have the same key".';

-- What a function must be created with so that row keys print the same in every session.
-- Callable by: everybody.
create or replace function embedder.key_settings(source regclass) returns text
language sql stable set search_path = pg_catalog, pg_temp as $$
  select case when bool_and(plain) then '' else
    'set datestyle = ''ISO, YMD'' set timezone = ''UTC'' set intervalstyle = ''postgres'' '
    'set bytea_output = ''hex'' set extra_float_digits = 1 set lc_monetary = ''C'' '
  end
  from embedder.key_columns(source)
$$;
comment on function embedder.key_settings is 'SET clauses that fix the text form of a key''s types; empty where it cannot vary.';

-- Whether a key can be there twice for a moment inside a transaction: that of a deferrable constraint.
create or replace function embedder.may_double(source regclass) returns boolean
language sql stable set search_path = pg_catalog, pg_temp as $$
  select not i.indimmediate from pg_index i where i.indrelid = source and i.indisprimary
$$;
