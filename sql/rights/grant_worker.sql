-- All that a worker's login role needs, granted in one call with the rights of the caller.

-- The statements, in their order. granted: the role has it already. It needs no right on anybody's tables: their owners' functions read and write.
-- Callable by: everybody.
create or replace function embedder.worker_grants(role name) returns table (statement text, granted boolean)
language plpgsql stable set search_path = pg_catalog, pg_temp as $$
#variable_conflict use_column
declare
  login boolean;
begin
  select r.rolcanlogin into login from pg_roles r where r.rolname = worker_grants.role;
  if not found then
    raise exception 'there is no role "%"', role using errcode = 'undefined_object',
      hint = embedder.did_you_mean(role, array(select r.rolname::text from pg_roles r)) || format('create role %I login password ''...'';', role);
  end if;
  return query
    select format('alter role %I login;', role), login
    union all
    select 'create role embedder_worker nologin; -- and run pgembedder migrate once more', to_regrole('embedder_worker') is not null
    union all
    -- As a member, and not only able to become one (noinherit).
    select case when current_setting('server_version_num')::int >= 160000 then format('grant embedder_worker to %I with inherit true;', role)
        when pg_has_role(role, w.oid, 'MEMBER') then format('alter role %I inherit;', role) else format('grant embedder_worker to %I;', role) end, coalesce(pg_has_role(role, w.oid, 'USAGE'), false)
    from (values (to_regrole('embedder_worker'))) w(oid)
    union all
    select format('grant connect on database %I to %I;', current_database(), role), has_database_privilege(role, current_database(), 'connect')
    union all
    select format('grant usage on schema %I to %I;', n.nspname, role), has_schema_privilege(role, n.oid, 'usage')
    from pg_namespace n where n.nspname = 'embedder' or n.oid = (select e.extnamespace from pg_extension e where e.extname = 'vector');
end
$$;

-- Callable by: everybody.
create or replace function embedder.grant_worker(role name) returns setof text
language plpgsql set search_path = pg_catalog, pg_temp as $$
declare
  wanted text;
begin
  for wanted in select g.statement from embedder.worker_grants(role) g where g.granted is not true and g.statement ~ '^grant|login;$' loop
    begin
      execute wanted;
    exception when insufficient_privilege or undefined_object then null; -- For somebody who may: see below.
    end;
  end loop;
  return query select g.statement from embedder.worker_grants(role) g where g.granted is not true;
end
$$;
comment on function embedder.grant_worker is
  'Lets a role run workers. Returns the statements that are left for a superuser to run; none when it can. To build indexes it has to be a member of the tables'' owners, too.';

-- Callable by: everybody.
create or replace function embedder.revoke_worker(role name) returns void
language plpgsql set search_path = pg_catalog, pg_temp as $$
begin
  -- That there is such a role is checked there.
  perform embedder.worker_grants(role);
  if exists (select from pg_auth_members m where m.roleid = to_regrole('embedder_worker') and m.member = to_regrole(quote_ident(role))) then
    execute format('revoke embedder_worker from %I', role);
  end if;
end
$$;
comment on function embedder.revoke_worker is 'Takes from a role what lets it run workers: that it is a member of embedder_worker.';
