-- The embedding of a query text, inside a statement: a running worker answers it.
--
-- A transaction cannot hand a request to another session before it commits, and in REPEATABLE READ it would never see
-- the answer. So both go over a second connection to the same database, by dblink, which commits each statement at once.

-- The dblink connection in which this session talks to its own database.
-- Callable by: everybody.
create or replace function embedder.loopback_name() returns text
language sql immutable parallel safe
return 'embedder_loopback';

-- How long embed waits for an answer: the setting embedder.embed_timeout, with a unit, else in milliseconds as PostgreSQL's own.
create or replace function embedder.embed_timeout() returns interval
language plpgsql stable set search_path = pg_catalog, pg_temp as $$
declare
  setting text := coalesce(nullif(current_setting('embedder.embed_timeout', true), ''), '5s');
begin
  return (setting || case when setting ~ e'^\\d+$' then 'ms' else '' end)::interval;
exception when data_exception then
  raise exception 'embedder.embed_timeout is "%"', setting using errcode = 'invalid_parameter_value',
    hint = 'Set it to a time with its unit: set embedder.embed_timeout = ''5s''.';
end
$$;

-- What dblink connects to: the foreign server embedder_loopback where somebody has made one, else the server's own
-- socket, as the owner of this schema.
create or replace function embedder.loopback_target() returns text
language plpgsql stable set search_path = pg_catalog, pg_temp as $$
declare
  -- Only superusers see the setting; libpq's default is the next best.
  sockets text := case when pg_has_role(current_user, 'pg_read_all_settings', 'USAGE')
    then nullif(split_part(current_setting('unix_socket_directories'), ',', 1), '') end;
begin
  if exists (select from pg_foreign_server where srvname = embedder.loopback_name()) then
    return embedder.loopback_name();
  end if;
  return format('host=%s port=%s dbname=%s user=%s application_name=pgembedder_loopback connect_timeout=5',
    embedder.connection_value(coalesce(trim(sockets), host(inet_server_addr()), '')), current_setting('port'),
    embedder.connection_value(current_database()), embedder.connection_value(current_user));
end
$$;

-- A value as a connection string has it.
create or replace function embedder.connection_value(value text) returns text
language sql immutable set search_path = pg_catalog, pg_temp as $$
  select '''' || replace(replace(value, e'\\', e'\\\\'), '''', e'\\''') || ''''
$$;

-- What to do where the second connection is refused: passwords, peer authentication, managed services.
create or replace function embedder.loopback_hint() returns text
language sql stable set search_path = pg_catalog, pg_temp as $$
  select format(
    'Say how to connect, as a superuser: create server %1$s foreign data wrapper dblink_fdw options (host %2$L, port %3$L, dbname %4$L); '
    'create user mapping for %5$I server %1$s options (user %5$L, password ''...''); grant usage on foreign server %1$s to %5$I;',
    embedder.loopback_name(), coalesce(host(inet_server_addr()), '127.0.0.1'), current_setting('port'), current_database(),
    current_user)
$$;

-- The role that the second connection is of: that of the foreign server's user mapping, else the owner of this schema.
-- Null where the mapping names none.
create or replace function embedder.loopback_role() returns name
language sql stable set search_path = pg_catalog, pg_temp as $$
  select case when not exists (select from pg_foreign_server where srvname = embedder.loopback_name()) then current_user else (
    select o.option_value
    from pg_user_mappings m cross join lateral pg_options_to_table(m.umoptions) o
    where m.srvname = embedder.loopback_name() and m.usename = current_user and o.option_name = 'user') end
$$;

-- What its role needs.
-- Callable by: everybody.
create or replace function embedder.loopback_functions() returns setof regprocedure
language sql stable set search_path = pg_catalog, pg_temp as $$
  select oid::regprocedure from pg_proc
  where pronamespace = 'embedder'::regnamespace and proname in ('post_request', 'take_answer', 'drop_request', 'touch_query_vector')
$$;

-- Opens the second connection unless it is open and works; dblink is the schema of that extension. It stays open for the
-- session, and all who run SQL in a session can use its dblink connections: so it is opened only where the session could
-- take on the rights of its role anyway. (To close it at the end of each call would not do: who cancels the call twice, and
-- quickly, would find it open.)
create or replace function embedder.open_loopback(dblink text) returns void
language plpgsql set search_path = pg_catalog, pg_temp as $$
declare
  name text := embedder.loopback_name();
  role name := embedder.loopback_role();
  -- dblink_connect_u lets an owner who is not a superuser connect without a password, where a superuser has granted it.
  connect text := case when has_function_privilege(dblink || '.dblink_connect_u(text, text)', 'execute')
    then 'dblink_connect_u' else 'dblink_connect' end;
  open boolean;
  problem text;
begin
  execute format('select $1 = any (%s.dblink_get_connections())', dblink) into open using name;
  if open then
    begin
      execute format('select from %s.dblink($1, ''select 1'') as t(one int)', dblink) using name;
      return;
    exception when others then
      execute format('select %s.dblink_disconnect($1)', dblink) using name;
    end;
  end if;
  if not exists (select from pg_roles r where r.rolname = role and pg_has_role(session_user, r.oid, 'MEMBER')) then
    raise exception 'embed needs a second connection for a text that it has no vector of yet, and "%" may not have one with the rights of "%"', session_user,
      coalesce(role, '(no user in the user mapping)') using errcode = 'insufficient_privilege',
      hint = case when exists (select from pg_foreign_server where srvname = name) and role <> current_user
        then format('grant %I to %I;', role, session_user)
        else format('As a superuser: select * from embedder.grant_search(%L); It says what there is to do. See docs/search.md.', session_user) end;
  end if;
  begin
    execute format('select %s.%s($1, $2)', dblink, connect) using name, embedder.loopback_target();
    execute format('select from %s.dblink($1, $2) as t(setting text)', dblink)
      using name, $q$select set_config('synchronous_commit', 'off', false)$q$;
  exception when others then
    get stacked diagnostics problem = pg_exception_detail;
    raise exception 'the second connection to database "%", which embed needs, was refused', current_database()
      using errcode = 'sqlclient_unable_to_establish_sqlconnection',
        detail = concat_ws(': ', sqlerrm, nullif(problem, '')), hint = embedder.loopback_hint();
  end;
end
$$;

create or replace function embedder.close_loopback(dblink text) returns void
language plpgsql set search_path = pg_catalog, pg_temp as $$
begin
  execute format('select %1$s.dblink_disconnect(c) from unnest(%1$s.dblink_get_connections()) c where c = $1', dblink)
    using embedder.loopback_name();
end
$$;

-- The schema of the extension dblink; null where it is missing.
-- Callable by: everybody.
create or replace function embedder.dblink_schema() returns text
language sql stable set search_path = pg_catalog, pg_temp as $$
  select quote_ident(n.nspname) from pg_extension e join pg_namespace n on n.oid = e.extnamespace where e.extname = 'dblink'
$$;

drop function if exists embedder.ask(text, jsonb, text);

-- Has a worker embed a text, or rank those of the options by it, and waits for the numbers.
create or replace function embedder.embed_by_worker(model text, options jsonb, input text) returns text
language plpgsql set search_path = pg_catalog, pg_temp as $$
declare
  dblink text := embedder.dblink_schema();
  name text := embedder.loopback_name();
  patience interval := embedder.embed_timeout();
  begun timestamptz := clock_timestamp();
  request uuid;
  answer record;
begin
  if pg_is_in_recovery() then
    raise exception 'this is a standby, and the cache has no vector of this text' using errcode = 'read_only_sql_transaction',
      hint = 'Ask the primary for it (its cache comes here within a moment), or give a vector: embedder.search(pipeline, vector).';
  elsif dblink is null then
    raise exception 'embed needs the extension dblink, which this database does not have' using errcode = 'feature_not_supported',
      hint = 'As a superuser, type in this database: create extension dblink; (The embedded Postgres has none: search with pgembedder search.)';
  end if;
  perform embedder.open_loopback(dblink);
  execute format('select t.request from %s.dblink($1, $2) as t(request uuid)', dblink) into request
    using name, format('select embedder.post_request(%L, %L, %L, %L, %L)', session_user, model, options, input, patience);
  if request is null then
    raise exception 'no worker runs on this database' using errcode = 'object_not_in_prerequisite_state',
      hint = 'Start one: pgembedder work. Those that run: select * from embedder.worker;';
  end if;
  loop
    execute format('select * from %s.dblink($1, $2) as t(embedding text, error text, hint text, sqlstate text)', dblink)
      into answer using name, format('select * from embedder.take_answer(%L)', request);
    exit when answer.embedding is not null or answer.error is not null;
    if clock_timestamp() - begun > patience then
      execute format('select from %s.dblink($1, $2) as t(done text)', dblink)
        using name, format('select embedder.drop_request(%L)', request);
      raise exception 'no worker has answered within %', patience using errcode = 'system_error',
        hint = 'See whether they are alive: select * from embedder.worker; or wait longer: set embedder.embed_timeout = ''30s'';';
    end if;
    -- Each millisecond at first; later at a tenth of the time it has taken, which spares the server and costs no more.
    perform pg_sleep(greatest(0.001, extract(epoch from clock_timestamp() - begun) / 10));
  end loop;
  if answer.error is not null then
    raise exception '%', answer.error using errcode = answer.sqlstate, hint = coalesce(answer.hint, 'The worker''s log says more.');
  end if;
  return answer.embedding;
exception when query_canceled or others then
  -- The second connection may be in any state: the next call opens another one.
  if dblink is not null then perform embedder.close_loopback(dblink); end if;
  raise;
end
$$;

-- Notes that a cached vector is in use: over the second connection, since a reader's transaction must neither write nor
-- wait for others who read the same. If that is not possible it is left out: the cached vector is good without it.
create or replace function embedder.note_use(digest bytea) returns void
language plpgsql set search_path = pg_catalog, pg_temp as $$
declare
  dblink text := embedder.dblink_schema();
begin
  if dblink is null or pg_is_in_recovery() then return; end if;
  perform embedder.open_loopback(dblink);
  execute format('select from %s.dblink($1, $2) as t(done text)', dblink)
    using embedder.loopback_name(), format('select embedder.touch_query_vector(%L)', digest);
exception when others then
  perform embedder.close_loopback(dblink);
end
$$;

-- The options on which a query's vector depends, as a request has them. How a dense vector is stored is none of them.
-- Callable by: everybody.
create or replace function embedder.query_options(options jsonb) returns jsonb
language sql immutable set search_path = pg_catalog, pg_temp as $$
  select case when embedder.is_sparse(options) then jsonb_strip_nulls(jsonb_build_object('vector_type', options -> 'vector_type', 'top_k', options -> 'top_k'))
    else jsonb_strip_nulls(jsonb_build_object('pooling', options -> 'pooling', 'normalize', options -> 'normalize', 'dimensions', options -> 'dimensions')) end
$$;

-- The options that somebody gives embed or embed_sparse, of those that it has, as a request has them.
create or replace function embedder.given_query_options(caller text, given jsonb, known text[]) returns jsonb
language plpgsql stable set search_path = pg_catalog, pg_temp as $$
declare
  unknown text := (select key from jsonb_object_keys(given) key where not key = any (known) limit 1);
  options jsonb := embedder.query_options(case caller when 'embed_sparse' then '{"vector_type": "sparsevec"}' else '{}'::jsonb end || given);
begin
  if unknown is not null then
    raise exception '% has no option "%"', caller, unknown using errcode = 'invalid_parameter_value',
      hint = format('%sIts options: %s.', embedder.did_you_mean(unknown, known), array_to_string(known, ', '));
  end if;
  if options - 'vector_type' <> '{}' then
    perform embedder.check_options((select t.name from embedder.tasks() t where t.input = 'text' and t.result = 'vector' limit 1), options);
  end if;
  return options;
end
$$;

-- stable, so that an index serves `order by embedding <=> embedder.embed(...)`. The owner's rights, so that a caller needs
-- none on the tables here. Without pgvector 0.7 there are none for sparse vectors; migrate makes them when there is.
-- Callable by: everybody (embed, embed_for, embed_sparse, embed_sparse_for).
do $do$
declare
  f record;
begin
  for f in
    select v.*, embedder.vector_type(v.kind) as type from (values
      ('embed', 'model text default ''all-MiniLM-L6-v2''', 'vector', 'embedding', '{pooling,normalize,dimensions}'),
      ('embed_sparse', 'model text', 'sparsevec', 'sparse', '{top_k}')) v(name, model, kind, kept_in, options)
    where embedder.vector_type(v.kind) is not null
  loop
    perform embedder.create_function(
      format('%s(input text, %s, options jsonb default ''{}'') returns %s', f.name, f.model, f.type),
      'stable parallel restricted cost 100000 security definer', embedder.fill($f$
declare
  options jsonb := embedder.given_query_options({{caller}}, $3, {{options}});
  wanted bytea;
  cached {{type}};
  long_ago boolean;
begin
  if $2 is null or coalesce($1, '') !~ e'\\S' then return null; end if;
  perform embedder.check_query($2, $1);
  wanted := embedder.query_digest($2, options, $1);
  select q.{{kept_in}}, q.used_at < now() - interval '1 minute' into cached, long_ago
  from embedder.query_vector q where q.digest = wanted;
  if found then
    if long_ago then perform embedder.note_use(wanted); end if;
    return cached;
  end if;
  return embedder.embed_by_worker($2, options, $1)::{{type}};
end$f$, jsonb_build_object('caller', quote_literal(f.name), 'options', quote_literal(f.options), 'type', f.type, 'kept_in', f.kept_in)));

    perform embedder.create_function(
      format('%s_for(pipeline text, input text) returns %s', f.name, f.type), 'stable parallel restricted cost 100000', embedder.fill($f$
declare
  p embedder.pipeline := embedder.find_searchable($1);
begin
  if embedder.is_sparse(p.options) <> {{sparse}} then
    raise exception 'vectors of pipeline "%" are of type %', p.name, embedder.vector_kind(p) using errcode = 'wrong_object_type', hint = {{hint}};
  end if;
  return embedder.{{name}}($2, p.model, embedder.query_options(p.options) - 'vector_type');
end$f$, jsonb_build_object('name', f.name, 'sparse', f.kind = 'sparsevec',
      'hint', quote_literal(format('Call embedder.%s.', case f.kind when 'vector' then 'embed_sparse_for' else 'embed_for' end)))));

    execute format('comment on function embedder.%s(text, text, jsonb) is %L', f.name, format(
      'The %svector of a query text, by a running worker or from the cache; null for a text without content.', case f.kind when 'vector' then '' else 'sparse ' end));
    execute format('comment on function embedder.%s_for(text, text) is %L', f.name, format(
      'The %svector of a query text, by the model and the options of a pipeline.', case f.kind when 'vector' then '' else 'sparse ' end));
  end loop;
end
$do$;
