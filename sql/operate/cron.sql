-- Backfills by the clock, with pg_cron. `select cron.schedule('...', $$select embedder.backfill('articles')$$)` does as well;
-- these give the job a name of its own, and say what is missing where pg_cron is.

-- Callable by: everybody.
create or replace function embedder.schedule_backfill(name text, schedule text default '* * * * *', condition text default null, stale boolean default false)
returns bigint
language plpgsql set search_path = pg_catalog, pg_temp as $$
declare
  p embedder.pipeline := embedder.own_pipeline(name);
  command text := format('select embedder.backfill(%L%s%s)', p.name, coalesce(', ' || quote_literal(condition), ''),
    case when stale then ', stale => true' else '' end);
  job bigint;
begin
  perform embedder.require_cron(p.name, schedule, command);
  if condition is not null then
    perform embedder.check_condition(p, condition);
  end if;
  begin
    select cron.schedule(embedder.cron_job(p.name), schedule, command) into job;
  exception
    when insufficient_privilege then
      raise exception 'role % may not schedule: %', current_user, sqlerrm using errcode = 'insufficient_privilege',
        hint = format('As a superuser: grant usage on schema cron to %I;', current_user);
    when others then
      raise exception 'pg_cron does not take the schedule %: %', quote_nullable(schedule), sqlerrm using errcode = 'invalid_parameter_value',
        hint = 'For example ''* * * * *'' for each minute, ''0 3 * * *'' for three at night.';
  end;
  return job;
end
$$;
comment on function embedder.schedule_backfill is
  'Has pg_cron call embedder.backfill(name) by a schedule in cron''s form; a second call changes it. Returns pg_cron''s number of the job.';

-- Callable by: everybody.
create or replace function embedder.unschedule_backfill(name text) returns boolean
language plpgsql set search_path = pg_catalog, pg_temp as $$
declare
  p embedder.pipeline := embedder.own_pipeline(name);
begin
  perform embedder.require_cron(p.name, '* * * * *', format('select embedder.backfill(%L)', p.name));
  if not exists (select from cron.job j where j.jobname = embedder.cron_job(p.name)) then
    return false;
  end if;
  return cron.unschedule(embedder.cron_job(p.name));
end
$$;
comment on function embedder.unschedule_backfill is 'Ends what embedder.schedule_backfill has begun. False: there was nothing.';

-- Callable by: everybody.
create or replace function embedder.cron_job(pipeline text) returns text
language sql immutable set search_path = pg_catalog, pg_temp
return 'pgembedder backfill ' || pipeline;

-- The database that pg_cron lives in; null where the server runs without it.
-- @throws where the caller may not know it: the setting is for superusers and pg_read_all_settings
-- Callable by: everybody.
create or replace function embedder.cron_home() returns text
language plpgsql stable set search_path = pg_catalog, pg_temp as $$
begin
  return case when current_setting('shared_preload_libraries') ~ e'\\mpg_cron\\M' then current_setting('cron.database_name', true) end;
end
$$;

-- From that database it can run jobs in others.
-- Callable by: everybody.
create or replace function embedder.require_cron(pipeline text, schedule text, command text) returns void
language plpgsql stable set search_path = pg_catalog, pg_temp as $$
declare
  home text;
  there text := format('select cron.schedule_in_database(%L, %L, %L, %L);', embedder.cron_job(pipeline), schedule, command, current_database());
begin
  if exists (select from pg_extension where extname = 'pg_cron') then return; end if;
  begin
    home := embedder.cron_home();
  exception when insufficient_privilege then
    raise exception 'this database has no extension pg_cron, and % may not see whether the server runs it for another one', current_user
      using errcode = 'feature_not_supported', hint = format(
        'As a superuser: show cron.database_name; In the database that it names, as a role that may: %s Where it names none, pg_cron does not run: call embedder.backfill from a cron of your own.', there);
  end;
  if home is null then
    raise exception 'pg_cron does not run on this server' using errcode = 'feature_not_supported',
      hint = 'Install its package (Debian: postgresql-17-cron, with your major version), add pg_cron to shared_preload_libraries, restart, then: create extension pg_cron; or call embedder.backfill from a cron of your own.';
  elsif home = current_database() then
    raise exception 'this database has no extension pg_cron' using errcode = 'feature_not_supported',
      hint = 'As a superuser: create extension pg_cron;';
  end if;
  raise exception 'pg_cron lives in database "%" of this server', home using errcode = 'feature_not_supported',
    hint = format('There, as a role that may: %s', there);
end
$$;
