-- The objects that there must be, compared with those that there are. At its end migrate writes down the objects of this schema (embedder.applied_object);
-- doctor and the next migrate compare. What is a pipeline's own is not among them: that is compared with its declaration
-- (sql/pipeline/declarations.sql). migrate runs this file before all others and each time, so nothing here names a type or
-- table of this schema but inside a body.

-- The roles that sql/rights/roles.sql makes and sql/rights/rights.sql gives rights to.
-- Callable by: everybody.
create or replace function embedder.our_roles() returns text[]
language sql immutable set search_path = pg_catalog, pg_temp
return array['embedder_admin', 'embedder_worker', 'embedder_reader'];

-- Callable by: everybody.
create or replace function embedder.missing_roles() returns setof text
language sql stable set search_path = pg_catalog, pg_temp as $$
  select r from unnest(embedder.our_roles()) r where to_regrole(r) is null
$$;

-- A signature or a type, with pgvector's types named without the schema of that.
-- Callable by: everybody.
create or replace function embedder.without_schema(named text, vector_schema text) returns text
language sql immutable set search_path = pg_catalog, pg_temp
return replace(replace(named, vector_schema || 'vector', 'vector'), vector_schema || 'sparsevec', 'sparsevec');

-- The objects of a schema, each with what makes it what it is. Grants to others than PUBLIC and our roles are the users'.
-- Callable by: everybody.
create or replace function embedder.catalog_objects(space text default 'embedder')
returns table (kind text, name text, definition text, of_version int)
-- What the catalog shows of a definition depends on these.
language sql stable set search_path = pg_catalog, pg_temp set quote_all_identifiers = off set standard_conforming_strings = on
  set intervalstyle = 'postgres' set datestyle = 'ISO, MDY' set timezone = 'UTC' as $$
  with spaces as (
    select n.oid, n.nspowner, current_setting('server_version_num')::int / 10000 as major,
      -- Wherever pgvector is.
      coalesce((select e.extnamespace::regnamespace || '.' from pg_extension e where e.extname = 'vector'), '') as vector
    from pg_namespace n where n.nspname = space
  ), relations as (
    select c.* from pg_class c, spaces s where c.relnamespace = s.oid and c.relname !~ e'^pipeline_\\d+_'
  ), functions as (
    select f.*, embedder.without_schema(regexp_replace(f.oid::regprocedure::text, e'^embedder\\.', ''), s.vector) as signature
    from pg_proc f, spaces s
    where f.pronamespace = s.oid and f.proname !~ e'^pipeline_\\d+_'
      or f.proname = 'enqueue_embed' and f.pronamespace = to_regnamespace('public') and f.prosrc ~ e'embedder\\.enqueue_embed'
  )
  select 'extension'::text, e.extname::text, format('in schema %I', n.nspname), null::int
  from pg_extension e join pg_namespace n on n.oid = e.extnamespace where e.extname = 'vector'
  union all
  select case c.relkind when 'v' then 'view' when 'c' then 'type' when 'S' then 'sequence' else 'table' end, c.relname,
    concat_ws(', ', case c.relpersistence when 'u' then 'unlogged' end, case when c.relrowsecurity then 'row level security' end,
      case when c.relowner <> s.nspowner then 'of another owner' end,
      (select 'public: ' || string_agg(a.privilege_type, ' ' order by a.privilege_type) from aclexplode(c.relacl) a where a.grantee = 0)), null
  from relations c, spaces s
  where c.relkind in ('r', 'v', 'c')
    -- Not those of identity columns.
    or c.relkind = 'S' and not exists (select from pg_depend d where d.classid = 'pg_class'::regclass and d.objid = c.oid and d.deptype = 'i')
  union all
  select 'query of view', c.relname, md5(pg_get_viewdef(c.oid)), s.major from relations c, spaces s where c.relkind = 'v'
  union all
  select 'column', format('%s.%s', c.relname, a.attname),
    concat_ws(' ', embedder.without_schema(format_type(a.atttypid, a.atttypmod), s.vector), case when a.attnotnull then 'not null' end,
      'default ' || replace(pg_get_expr(d.adbin, d.adrelid), space || '.', 'embedder.'), nullif(a.attidentity::text, ''),
      (select 'public: ' || string_agg(x.privilege_type, ' ' order by x.privilege_type) from aclexplode(a.attacl) x where x.grantee = 0)), null
  from relations c cross join spaces s
  join pg_attribute a on a.attrelid = c.oid and a.attnum > 0 and not a.attisdropped
  left join pg_attrdef d on d.adrelid = c.oid and d.adnum = a.attnum
  where c.relkind in ('r', 'v', 'c')
  union all
  -- Since PostgreSQL 18 not null is a constraint too; here it is listed with the column.
  select 'constraint', format('%s.%s', c.relname, k.conname), replace(pg_get_constraintdef(k.oid), space || '.', 'embedder.'), null
  from relations c join pg_constraint k on k.conrelid = c.oid and k.contype <> 'n'
  union all
  select 'index', format('%s.%s', c.relname, i.relname), replace(pg_get_indexdef(i.oid), space || '.', 'embedder.') || case when x.indisvalid then '' else ', invalid' end, null
  from relations c join pg_index x on x.indrelid = c.oid join pg_class i on i.oid = x.indexrelid
  where not exists (select from pg_constraint k where k.conindid = i.oid)
  union all
  select 'trigger', format('%s.%s', c.relname, t.tgname), format('%s, %s', t.tgenabled, md5(pg_get_triggerdef(t.oid))), s.major
  from relations c cross join spaces s join pg_trigger t on t.tgrelid = c.oid and not t.tgisinternal
  union all
  select 'policy', format('%s.%s', c.relname, p.polname),
    concat_ws(' ', p.polcmd, p.polpermissive, p.polroles::text, md5(concat(pg_get_expr(p.polqual, p.polrelid), pg_get_expr(p.polwithcheck, p.polrelid)))), s.major
  from relations c cross join spaces s join pg_policy p on p.polrelid = c.oid
  union all
  select 'function', f.signature,
    concat_ws(' ', embedder.without_schema(pg_get_function_result(f.oid), s.vector), f.prosecdef, f.provolatile, f.proconfig::text, md5(f.prosrc),
      case when f.proowner <> s.nspowner then 'of another owner' end,
      case when exists (select from aclexplode(coalesce(f.proacl, acldefault('f', f.proowner))) a where a.grantee = 0) then 'public' end), null
  from functions f, spaces s
  union all
  select 'body of function', f.signature, md5(pg_get_functiondef(f.oid)), s.major from functions f, spaces s where f.prosqlbody is not null
  union all
  select 'grant', format('%s on %s to %s', lower(g.privilege_type), g.on_what, g.grantee::regrole), '', null
  from (
    select a.grantee, a.privilege_type, 'schema embedder' as on_what from pg_namespace n join spaces s on s.oid = n.oid, aclexplode(n.nspacl) a
    union all select a.grantee, a.privilege_type, c.relname from relations c, aclexplode(c.relacl) a
    union all select a.grantee, a.privilege_type, f.signature from functions f, aclexplode(f.proacl) a) g
  where exists (select from pg_roles r where r.oid = g.grantee and r.rolname = any (embedder.our_roles()))
  union all
  select 'grant', 'usage on schema embedder to public', '', null
  from pg_namespace n join spaces s on s.oid = n.oid, aclexplode(n.nspacl) a where a.grantee = 0 and a.privilege_type = 'USAGE'
$$;
comment on function embedder.catalog_objects is 'The objects of a schema, each with a description that changes when it does.';

-- What is not as migrate has left it, one line each.
-- Callable by: everybody.
create or replace function embedder.lost_objects() returns setof text
language sql stable set search_path = pg_catalog, pg_temp as $$
  with lost as (
    select a.*, o.name is null as missing, o.definition as present, split_part(a.name, '.', 1) as relation
    from embedder.applied_object a left join embedder.catalog_objects() o using (kind, name)
    where (o.name is null or o.definition <> a.definition and a.of_version is not distinct from o.of_version)
      -- The functions of this file were made before the comparison.
      and a.name !~ e'^(our_roles|missing_roles|catalog_objects|lost_objects|without_schema|record_objects|is_passing|mend_tables|mend_constraints|note_other_columns)\\('
  )
  select distinct format('role %s is missing', role) from embedder.applied_object a, substring(a.name from e' to (embedder_\\w+)$') role
  where a.kind = 'grant' and role is not null and to_regrole(role) is null
  union all
  (select case
    when a.missing then format('%s %s is missing', a.kind, a.name)
    when a.kind in ('extension', 'column', 'constraint', 'table') then
      format('%s %s was: %s; and is: %s', a.kind, a.name, a.definition, coalesce(nullif(a.present, ''), 'nothing of that'))
    else format('%s %s is not as migrate has left it', a.kind, a.name) end
  from lost a
  -- What has gone with a table is not listed separately.
  where not (a.kind = 'grant' and to_regrole(coalesce(substring(a.name from e' to (embedder_\\w+)$'), 'pg_monitor')) is null) and not exists (
    select from lost b where b.kind in ('table', 'view', 'type', 'function') and (b.missing or a.kind ~ ' of ') and (b.kind, b.name) <> (a.kind, a.name)
      and (b.name = a.relation or a.kind ~ ' of ' and a.name = b.name or a.kind = 'grant' and position(' on ' || b.name || ' to ' in a.name) > 0))
  order by array_position(array['extension', 'type', 'table', 'column', 'constraint', 'index', 'view', 'function'], a.kind) nulls last, a.name)
$$;
comment on function embedder.lost_objects is 'What of this schema is missing, or not as migrate has left it.';

create or replace function embedder.record_objects() returns void
language sql set search_path = pg_catalog, pg_temp as $$
  delete from embedder.applied_object;
  insert into embedder.applied_object select * from embedder.catalog_objects() where name not like 'applied_object%';
$$;

-- Whether the rows of a table are worthless after a moment.
create or replace function embedder.is_passing(table_name text) returns boolean
language sql immutable set search_path = pg_catalog, pg_temp
return table_name in ('request', 'answer', 'query_vector', 'under_way');

-- Takes from a schema that all migrations were just run in what this one lacks: types, tables, columns.
create or replace function embedder.mend_tables(fresh text) returns void
language plpgsql set search_path = pg_catalog, pg_temp as $$
declare
  r record;
begin
  create temporary table embedder_wanted on commit drop as select * from embedder.catalog_objects(fresh);
  for r in
    select c.relname, c.relkind from pg_class c
    where c.relnamespace = fresh::regnamespace and c.relkind in ('r', 'c')
      and not exists (select from pg_class o where o.relnamespace = 'embedder'::regnamespace and o.relname = c.relname)
    order by c.relkind
  loop
    execute format('alter %s %I.%I set schema embedder', case r.relkind when 'r' then 'table' else 'type' end, fresh, r.relname);
  end loop;
  -- Foreign keys of tables that have moved point to tables that have not; embedder.mend_constraints makes them again.
  for r in
    select k.conname, k.conrelid::regclass as relation from pg_constraint k join pg_class c on c.oid = k.conrelid join pg_class f on f.oid = k.confrelid
    where c.relnamespace <> f.relnamespace and fresh::regnamespace in (c.relnamespace, f.relnamespace)
  loop
    execute format('alter table %s drop constraint %I', r.relation, r.conname);
  end loop;
  for r in
    select o.oid::regclass as relation, c.relname, a.attname, format_type(a.atttypid, a.atttypmod) as type_name, a.attnotnull, a.attidentity,
      replace(pg_get_expr(d.adbin, d.adrelid), fresh || '.', 'embedder.') as default_value,
      (select format('%I.%I', n.nspname, l.collname) from pg_collation l join pg_namespace n on n.oid = l.collnamespace
        where l.oid = a.attcollation and l.collname <> 'default') as collation,
      present.attnum is not null as there, present.attnotnull is distinct from a.attnotnull as other_null,
      replace(pg_get_expr(pd.adbin, pd.adrelid), fresh || '.', 'embedder.') as present_default
    from pg_class c
    join pg_class o on o.relnamespace = 'embedder'::regnamespace and o.relname = c.relname and o.relkind = 'r'
    join pg_attribute a on a.attrelid = c.oid and a.attnum > 0 and not a.attisdropped
    left join pg_attrdef d on d.adrelid = c.oid and d.adnum = a.attnum
    left join pg_attribute present on present.attrelid = o.oid and present.attname = a.attname and not present.attisdropped
    left join pg_attrdef pd on pd.adrelid = o.oid and pd.adnum = present.attnum
    where c.relnamespace = fresh::regnamespace and c.relkind = 'r'
    order by c.relname, a.attnum
  loop
    if not r.there then
      if embedder.is_passing(r.relname) then execute format('truncate %s', r.relation); end if;
      -- In steps: where a function takes rows of the table, PostgreSQL refuses a new column that comes with a default.
      execute format('alter table %s add column %I %s%s%s', r.relation, r.attname, r.type_name, ' collate ' || r.collation,
        case r.attidentity when 'a' then ' generated always as identity' end);
      if r.default_value is not null then
        execute format('alter table %s alter column %I set default %s', r.relation, r.attname, r.default_value);
        execute format('update %s set %I = default', r.relation, r.attname);
      end if;
      if r.attnotnull then execute format('alter table %s alter column %I set not null', r.relation, r.attname); end if;
    else
      if r.default_value is distinct from r.present_default then
        execute format('alter table %s alter column %I %s', r.relation, r.attname, coalesce('set default ' || r.default_value, 'drop default'));
      end if;
      if r.other_null then
        execute format('alter table %s alter column %I %s not null', r.relation, r.attname, case when r.attnotnull then 'set' else 'drop' end);
      end if;
    end if;
  end loop;
end
$$;

-- Columns that are not as the migrations make them. They are reported and not changed, since rows and views depend on them. Writes
-- down what they must be.
create or replace function embedder.note_other_columns() returns setof text
language plpgsql set search_path = pg_catalog, pg_temp as $$
begin
  return query with other as (
    select f.name, f.definition, regexp_replace(o.definition, ' public: .*', '') as present
    from pg_temp.embedder_wanted f join embedder.catalog_objects() o using (kind, name)
    where f.kind = 'column' and f.definition <> regexp_replace(o.definition, ' public: .*', '')
      and exists (select from pg_class c where c.relnamespace = 'embedder'::regnamespace and c.relkind = 'r' and c.relname = split_part(f.name, '.', 1))
  ), noted as (
    update embedder.applied_object a set definition = other.definition from other where a.kind = 'column' and a.name = other.name
  )
  select format('column %s is %s, and must be %s', other.name, other.present, other.definition) from other;
end
$$;

-- The same for constraints and indexes: the last, when the rows are there.
create or replace function embedder.mend_constraints() returns void
language plpgsql set search_path = pg_catalog, pg_temp as $$
declare
  r record;
begin
  for r in
    select f.kind, split_part(f.name, '.', 1) as relation, split_part(f.name, '.', 2) as name, f.definition
    from pg_temp.embedder_wanted f left join embedder.catalog_objects() o using (kind, name)
    where o.name is null and f.kind in ('constraint', 'index')
    -- Foreign keys need the keys that they name.
    order by f.kind, f.definition like 'FOREIGN KEY%'
  loop
    if r.kind = 'index' then
      execute r.definition;
    else
      if r.relation = 'backfill_run' and r.definition like 'FOREIGN KEY%' then
        delete from embedder.backfill_run b where not exists (select from embedder.pipeline p where p.id = b.pipeline_id);
      elsif r.relation = 'backfill_range' and r.definition like 'FOREIGN KEY%' then
        delete from embedder.backfill_range b where not exists (select from embedder.backfill_run p where p.id = b.run_id);
      end if;
      execute format('alter table embedder.%I add constraint %I %s', r.relation, r.name, r.definition);
    end if;
  end loop;
end
$$;
