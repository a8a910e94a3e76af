-- How functions of a pipeline's own are made, and how what its owner has written is run with its owner's rights.

create or replace function embedder.create_function(head text, settings text, body text) returns void
language plpgsql set search_path = pg_catalog, pg_temp as $$
begin
  execute format('create or replace function embedder.%s language plpgsql set search_path = pg_catalog, pg_temp %s as %L',
    -- Parameters are written $1, $2: a name in the body always means the user's column of that name.
    head, settings, '#variable_conflict use_column' || body);
end
$$;

create or replace function embedder.create_function(p embedder.pipeline, verb text, head text, settings text, body text) returns void
language sql set search_path = pg_catalog, pg_temp as $$
  -- Its owner, who may alter it, could make it run with the rights of its caller, who may be the schema's owner: then it
  -- must do nothing. Every name is qualified, since the owner may set a search_path as well. The owner is written down here: a
  -- transaction above READ COMMITTED may be older than the function, and then does not find it in pg_proc. It is looked up
  -- as well, since the function may have another owner by now.
  select embedder.create_function(format('%I%s', format('pipeline_%s_%s', p.id, verb), head), 'security definer ' || settings || embedder.filter_settings(p),
    format($f$
begin
  if not coalesce(pg_catalog.to_regrole(pg_catalog.quote_ident(current_user))::pg_catalog.oid operator(pg_catalog.=) %L::pg_catalog.oid, false) and not exists (
    select from pg_catalog.pg_proc f
    where f.oid operator(pg_catalog.=) %L::pg_catalog.regproc::pg_catalog.oid
      and pg_catalog.pg_get_userbyid(f.proowner) operator(pg_catalog.=) current_user
  ) then
    raise insufficient_privilege using message = 'a function of a pipeline runs as its owner only';
  end if;%s;
end$f$, (select c.relowner from pg_class c where c.oid = p.source), format('embedder.pipeline_%s_%s', p.id, verb), body))
$$;

-- Functions that do a statement with the rights of the source's owner. Whatever runs code of that owner's (a filter, a
-- trigger or an index of the sidecar's, a cast or a domain of the key's) is done through these by what runs with the rights of
-- the schema's owner.
--   act(statement)   does it
--   ask(statement)   gives back its one value
create or replace function embedder.generate_actor(p embedder.pipeline) returns void
language plpgsql set search_path = pg_catalog, pg_temp as $$
begin
  perform embedder.create_function(p, 'act', '(statement text) returns void', '', e'\nbegin execute $1; end');
  perform embedder.create_function(p, 'ask', '(statement text, out answer jsonb)', '', e'\nbegin execute $1 into $2; end');
  perform embedder.own_functions(p);
end
$$;

create or replace function embedder.act_as_owner(p embedder.pipeline, statement text) returns void
language plpgsql set search_path = pg_catalog, pg_temp as $$
begin
  execute format('select embedder.%I($1)', format('pipeline_%s_act', p.id)) using statement;
end
$$;

-- For functions that look rows up by a list of keys. Through the index, and planned again each time: a plan made while a
-- table was small would read the whole table each time when it has grown, until the next ANALYZE. No JIT: switching a plan off
-- raises its cost, and compiling for that cost takes 100 times as long as the lookup.
create or replace function embedder.lookup_settings() returns text
language sql immutable
return ' set plan_cache_mode = force_custom_plan set enable_seqscan = off set jit = off';

-- For those of them whose plan costs more than it does: one plan for all calls of a session, which stays one of lookups however few rows
-- there were when it was made.
create or replace function embedder.lookup_once_settings() returns text
language sql immutable
return ' set plan_cache_mode = force_generic_plan set enable_seqscan = off set jit = off set enable_hashjoin = off set enable_mergejoin = off';

-- Makes way for a function with more parameters. One that views of somebody's are made with gets another name, by which they
-- go on.
create or replace function embedder.retire_function(signature text) returns void
language plpgsql set search_path = pg_catalog, pg_temp as $$
declare
  retired regprocedure := to_regprocedure('embedder.' || signature);
begin
  if retired is null then return; end if;
  begin
    execute format('drop function %s', retired);
  exception when dependent_objects_still_exist then
    execute format('alter function %s rename to %I', retired, (select left(f.proname, 40) || '_' || f.oid from pg_proc f where f.oid = retired));
  end;
end
$$;
