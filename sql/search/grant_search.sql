-- All that a role needs to search by text, granted in one call with the rights of the caller.

-- The statements, in their order. granted: the role has it already.
-- Callable by: everybody.
create or replace function embedder.search_grants(role name, pipelines text[]) returns table (statement text, granted boolean)
language plpgsql stable set search_path = pg_catalog, pg_temp as $$
#variable_conflict use_column
declare
  owner name := (select nspowner::regrole from pg_namespace where nspname = 'embedder');
  loopback name;
  loopback_role oid;
  wanted text;
begin
  if not exists (select from pg_roles r where r.rolname = search_grants.role) then
    raise exception 'there is no role "%"', role using errcode = 'undefined_object',
      hint = embedder.did_you_mean(role, array(select r.rolname::text from pg_roles r)) || 'create role makes one.';
  end if;
  foreach wanted in array coalesce(pipelines, '{}') loop
    perform embedder.find_searchable((embedder.own_pipeline(wanted)).name);
  end loop;
  return query
    with tables as (
      select p.source as relation from embedder.pipeline p
      where embedder.result_of(p.task) = 'vector' and case when pipelines is null then embedder.may_manage(p.source) else p.name = any (pipelines) end
      union select p.target_table from embedder.pipeline p
      where embedder.result_of(p.task) = 'vector' and case when pipelines is null then embedder.may_manage(p.source) else p.name = any (pipelines) end
    ), schemas as (
      select n.nspname from pg_namespace n
      where n.oid in (select c.relnamespace from tables t join pg_class c on c.oid = t.relation)
        or n.oid = (select e.extnamespace from pg_extension e where e.extname = 'vector') and exists (select from tables)
    )
    select format('grant usage on schema %I to %I;', s.nspname, role), has_schema_privilege(role, s.nspname, 'usage') from schemas s
    union all
    select format('grant select on %s to %I;', t.relation, role), has_table_privilege(role, t.relation, 'select') from tables t;

  -- By text: the second connection.
  if pg_has_role(role, owner, 'MEMBER') then return; end if;
  return query select 'create extension dblink;', embedder.dblink_schema() is not null;
  loopback := (
    select coalesce(min(o.option_value), 'embedder_loopback')
    from pg_user_mappings m cross join lateral pg_options_to_table(m.umoptions) o
    where m.srvname = embedder.loopback_name() and m.usename = owner and o.option_name = 'user');
  loopback_role := (select r.oid from pg_roles r where r.rolname = loopback);
  return query select format('create role %I login password ''...'';', loopback), loopback_role is not null;
  return query
    select format('grant execute on function %s to %I;', string_agg(f::text, ', '), loopback),
      bool_and(has_function_privilege(loopback_role, f, 'execute'))
    from embedder.loopback_functions() f;
  return query
    select format('create server %I foreign data wrapper dblink_fdw options (host %L, port %L, dbname %L);', embedder.loopback_name(),
      coalesce(host(inet_server_addr()), '127.0.0.1'), current_setting('port'), current_database()),
      exists (select from pg_foreign_server where srvname = embedder.loopback_name());
  return query
    select format('create user mapping for %I server %I options (user %L, password ''...''); grant usage on foreign server %2$I to %1$I;',
      owner, embedder.loopback_name(), loopback),
      exists (select from pg_user_mappings m where m.srvname = embedder.loopback_name() and m.usename = owner);
  return query
    select format('grant %I to %I;', loopback, role), pg_has_role(role, loopback_role, 'MEMBER');
end
$$;

-- Callable by: everybody.
create or replace function embedder.grant_search(role name, pipelines text[] default null) returns setof text
language plpgsql set search_path = pg_catalog, pg_temp as $$
declare
  wanted text;
begin
  for wanted in select g.statement from embedder.search_grants(role, pipelines) g where g.granted is not true and g.statement like 'grant %' loop
    begin
      execute wanted;
    exception when insufficient_privilege or undefined_object then null; -- For somebody who may: see below.
    end;
  end loop;
  return query select g.statement from embedder.search_grants(role, pipelines) g where g.granted is not true;
end
$$;
comment on function embedder.grant_search is
  'Lets a role search by text in these pipelines, or in all of the caller''s. Returns the statements that are left for a superuser, or for the owners, to run; none when the role can search.';

-- Takes away what grant_search has given: the tables, and without a list of pipelines the second connection.
-- Callable by: everybody.
create or replace function embedder.revoke_search(role name, pipelines text[] default null) returns void
language plpgsql set search_path = pg_catalog, pg_temp as $$
declare
  wanted text;
begin
  for wanted in
    select regexp_replace(regexp_replace(g.statement, '^grant', 'revoke'), ' to ([^ ]+|".*");$', e' from \\1;') from embedder.search_grants(role, pipelines) g
    where g.granted and (g.statement like 'grant select on %' or pipelines is null and g.statement ~ format(' to %s;$', quote_ident(role))
      and g.statement not like 'grant usage on schema %')
  loop
    execute wanted;
  end loop;
end
$$;
comment on function embedder.revoke_search is 'Takes from a role what embedder.grant_search has given it, but for the usage of schemas.';
