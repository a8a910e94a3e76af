-- The view <name>_with_embedding (<name>_with_label): each row of the source with the result of the live generation.
-- It reads a function of the pipeline's own, pipeline_<id>_rows_<hash>, whose body PostgreSQL keeps as text and puts into the
-- query: so indexes serve it, the rights and the row level security of whoever reads it hold on every version, and no
-- column of the source is tied to it. A plain view would keep the table's owner from changing a column's type.

-- The owner of a pipeline's functions: who owned the source when they were made.
-- Callable by: everybody.
create or replace function embedder.functions_owner(p embedder.pipeline) returns oid
language sql stable set search_path = pg_catalog, pg_temp as $$
  select f.proowner from pg_proc f where f.pronamespace = 'embedder'::regnamespace and f.proname = format('pipeline_%s_act', p.id)
$$;

-- The view of a pipeline: the one that stands on its function, wherever somebody has moved it; else, at a cutover, the one
-- on the function of the generation before it. Null when the pipeline has no view. Anybody may make a view on that function, and the
-- source's owner several: this one belongs to that owner, and still has the name or the comment that it was given here.
-- Callable by: everybody.
create or replace function embedder.view_of(p embedder.pipeline) returns regclass
language sql stable set search_path = pg_catalog, pg_temp as $$
  select v.oid::regclass
  from (
    select p.id
    union select e.id from embedder.pipeline e
      where e.name = p.name and e.source = p.source and embedder.view_name(e) = embedder.view_name(p)) generation
  join pg_proc f on f.pronamespace = 'embedder'::regnamespace and f.proname ~ format('^pipeline_%s_rows_', generation.id)
  join pg_depend d on d.refclassid = 'pg_proc'::regclass and d.refobjid = f.oid and d.classid = 'pg_rewrite'::regclass
  join pg_rewrite r on r.oid = d.objid
  join pg_class v on v.oid = r.ev_class and v.relkind = 'v'
  where v.relowner in (embedder.functions_owner(p), (select s.relowner from pg_class s where s.oid = p.source))
    and (v.relname = embedder.view_name(p) or obj_description(v.oid, 'pg_class') like 'Made by pgembedder%')
  order by generation.id = p.id desc, v.relname = embedder.view_name(p) desc, v.oid limit 1
$$;

-- The name of a sidecar's column in the view: as it is, or with target_ before it as often as the source has that name.
create or replace function embedder.shown_name(source regclass, column_name text) returns text
language sql stable set search_path = pg_catalog, pg_temp as $$
  with recursive tried(name) as (
    select column_name
    union all select 'target_' || t.name from tried t where embedder.column_type(source, t.name) is not null
  ) select t.name from tried t where embedder.column_type(source, t.name) is null
$$;

-- Why a pipeline cannot have its view; null where it can.
-- Callable by: everybody.
create or replace function embedder.view_problem(p embedder.pipeline) returns text
language sql stable set search_path = pg_catalog, pg_temp as $$
  select case
    when not p.live or embedder.view_of(p) is not null then null
    when not has_schema_privilege(c.relowner, c.relnamespace, 'create')
      then format('role %s may not make a view in schema %s', c.relowner::regrole, c.relnamespace::regnamespace)
    when exists (select from pg_class v where v.relnamespace = c.relnamespace and v.relname = embedder.view_name(p))
      then format('%s.%I is there already, and was not made for it', c.relnamespace::regnamespace, embedder.view_name(p))
  end
  from pg_class c where c.oid = p.source
$$;
comment on function embedder.view_problem is 'Why a pipeline has no view; null where it has one.';

-- Makes the function and the view, or makes them again when the columns of source or target have changed. A name that is
-- taken, or a schema in which the owner may make nothing, leaves the pipeline without a view: that is said here and by doctor.
create or replace function embedder.make_view(p embedder.pipeline) returns void
language plpgsql set search_path = pg_catalog, pg_temp as $$
declare
  source pg_class := (select c from pg_class c where c.oid = p.source);
  owner regrole := source.relowner;
  present regclass := embedder.view_of(p);
  schema_name text := (select nspname from pg_namespace where oid = source.relnamespace);
  name text := coalesce(present::text, format('%I.%I', schema_name, embedder.view_name(p)));
  rows_function text;
  columns text;
  selected text;
  body text;
  definition text;
  old_function regprocedure;
  problem text := case when present is null then embedder.view_problem(p) end;
begin
  if problem is not null then
    raise notice 'pipeline "%" has no view %: %', p.name, name, problem;
  end if;
  if not p.live or problem is not null then return; end if;
  -- Columns that the view has already stay where they are, and new ones come last: so what stands on the view can stay.
  -- The target column of another generation is not a column of the user's.
  select string_agg(format('%I %s', c.shown_name, c.type_name), ', ' order by v.attnum, c.place),
    string_agg(format('%s.%I', c.relation, c.column_name), ', ' order by v.attnum, c.place)
  into columns, selected
  from (
    select a.attnum as place, a.attname as column_name, format_type(a.atttypid, null) as type_name, 'source' as relation, a.attname::text as shown_name
    from pg_attribute a where a.attrelid = p.source and a.attnum > 0 and not a.attisdropped
      and a.attname not in (select o.column_name from embedder.pipeline e, unnest(embedder.result_columns(e)) o
        where e.name = p.name and e.id <> p.id and not e.sidecar)
      and a.attname not in (select embedder.hash_column(e) from embedder.pipeline e where e.source = p.source and not e.sidecar)
    union all
    select 10000 + a.attnum, a.attname, format_type(a.atttypid, null), 'target', embedder.shown_name(p.source, a.attname)
    from pg_attribute a
    where a.attrelid = p.target_table and p.sidecar and a.attnum > 0 and not a.attisdropped and a.attname not in ('input_hash', embedder.hash_column(p))
      and a.attname not in (select k.column_name from embedder.key_columns(p.source) k)) c
  left join pg_attribute v on v.attrelid = present and v.attname = c.shown_name and v.attnum > 0 and not v.attisdropped;
  body := case when p.sidecar
    then format('select %s from %s source join %s target on %s', selected, p.source, p.target_table, embedder.keys_equal(p.source, 'source', 'target'))
    else format('select %s from %s source where source.%I is not null', selected, p.source,
      embedder.result_marker(p)) end;
  rows_function := format('pipeline_%s_rows_%s', p.id, left(md5(columns || body), 6));
  if to_regprocedure(format('embedder.%I()', rows_function)) is not null and present is not null then
    return;
  end if;
  execute format('create or replace function embedder.%I() returns table (%s) language sql stable as %L', rows_function, columns, body);
  -- Also where PUBLIC is given no function by default.
  execute format('grant execute on function embedder.%I() to public', rows_function);
  definition := format('view %s as select * from embedder.%I()', name, rows_function);
  begin
    execute 'create or replace ' || definition;
  exception when invalid_table_definition then
    perform embedder.remake_view(present, definition);
  end;
  execute format('alter view %s owner to %s', name, owner);
  execute format('comment on view %s is %L', name, format('Made by pgembedder: the rows of %s with the live result of pipeline %s.', p.source, p.name));
  for old_function in
    select f.oid from pg_proc f
    where f.pronamespace = 'embedder'::regnamespace and f.proname ~ format('^pipeline_%s_rows_', p.id) and f.proname <> rows_function
  loop
    execute format('drop function %s', old_function);
  end loop;
end
$$;
comment on function embedder.make_view is 'Makes the view that joins the source to the live generation, or makes it again.';

-- Grants on a relation what others than the owner could do with the one that it takes the place of.
create or replace function embedder.give_rights(rights aclitem[], owner oid, relation text) returns void
language plpgsql set search_path = pg_catalog, pg_temp as $$
declare
  r record;
begin
  for r in select * from aclexplode(rights) where grantee <> owner loop
    execute format('grant %s on %s to %s%s', r.privilege_type, relation,
      case r.grantee when 0 then 'public' else r.grantee::regrole::text end, case when r.is_grantable then ' with grant option' else '' end);
  end loop;
end
$$;

-- Drops a view whose columns have changed, and makes it again; roles that could read it still can.
create or replace function embedder.remake_view(view regclass, definition text) returns void
language plpgsql set search_path = pg_catalog, pg_temp as $$
declare
  name text := view::text;
  rights aclitem[] := (select relacl from pg_class where oid = view);
  owner oid := (select relowner from pg_class where oid = view);
begin
  execute format('drop view %s', view);
  execute 'create ' || definition;
  perform embedder.give_rights(rights, owner, name);
exception when dependent_objects_still_exist then
  raise exception 'view % needs other columns, and something stands on it', name using errcode = 'dependent_objects_still_exist',
    detail = sqlerrm, hint = 'Drop what stands on it, and make it again afterwards.';
end
$$;

create or replace function embedder.drop_view(p embedder.pipeline) returns void
language plpgsql set search_path = pg_catalog, pg_temp as $$
begin
  if embedder.view_of(p) is not null then execute format('drop view %s', embedder.view_of(p)); end if;
end
$$;
