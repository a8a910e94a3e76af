-- The roles that sql/rights/rights.sql gives rights to. migrate runs this file as whoever has called it, and not as the schema's
-- owner, who may not make roles as a rule.

do $do$
declare
  role_name text;
begin
  for role_name in select embedder.missing_roles() loop
    begin
      execute format('create role %I nologin', role_name);
    exception
      when insufficient_privilege then
        raise notice 'no role %: % may not create roles', role_name, current_user;
      when duplicate_object or unique_violation then null; -- Another database of the server was quicker.
    end;
  end loop;
end
$do$;
