-- Locks on tables that people work with are short: a statement that waits for a lock holds up all that come after it.

-- How long a lock is tried for; a session may have another one: set embedder.patience = '1 min'.
create or replace function embedder.patience() returns interval
language sql stable set search_path = pg_catalog, pg_temp
return coalesce(nullif(current_setting('embedder.patience', true), ''), '10 s')::interval;

-- Runs statements that lock the given tables, all of them or none. It waits a tenth of a second for each lock; then it lets go of
-- the locks that it has, so that others can go on, and tries again after a while.
create or replace function embedder.briefly(tables regclass[], statements text[]) returns void
language plpgsql set search_path = pg_catalog, pg_temp set lock_timeout = '100ms' as $$
declare
  deadline timestamptz := clock_timestamp() + embedder.patience();
  timeout_before text := current_setting('deadlock_timeout');
  patience_before text := current_setting('embedder.patience', true);
  statement text;
begin
  if cardinality(statements) = 0 then return; end if;
  begin
    -- An autovacuum gives way to a session that has waited for deadlock_timeout. Not every role may change that setting.
    perform set_config('deadlock_timeout', '20ms', true);
  exception when insufficient_privilege then null;
  end;
  -- A call of embedder.briefly inside these statements has one try, since locks are held here.
  perform set_config('embedder.patience', '0', true);
  loop
    -- The index build would wait for this transaction to end, while this transaction waits for the build.
    if embedder.is_indexed_now(tables) then
      raise exception 'an index of % is being built', array_to_string(tables, ', ') using errcode = 'lock_not_available',
        hint = 'Do this again when it is there: select * from pg_stat_progress_create_index.';
    end if;
    begin
      foreach statement in array statements loop
        execute statement;
      end loop;
      exit;
    exception when lock_not_available or deadlock_detected then
      if clock_timestamp() >= deadline then
        raise exception '% is in use: there was no lock to be had', array_to_string(tables, ', ')
          using errcode = 'lock_not_available',
            hint = format('Somebody''s transaction is open: select * from %s. Do this again when it has ended.', coalesce(
              (select format('pg_stat_activity where pid = any (%L)', array_agg(distinct l.pid))
                from pg_locks l where l.relation = any (tables) and l.granted and l.pid <> pg_backend_pid() having count(*) > 0),
              -- Of a prepared transaction no session is left.
              'pg_prepared_xacts'));
      end if;
    end;
    perform pg_sleep(0.05 + 0.3 * random());
  end loop;
  perform set_config('embedder.patience', patience_before, true);
  if current_setting('deadlock_timeout') <> timeout_before then
    perform set_config('deadlock_timeout', timeout_before, true);
  end if;
end
$$;
comment on function embedder.briefly is 'Does statements that lock tables without keeping anybody waiting for more than a moment.';

-- Whether somebody builds an index of one of the tables without locking out its writers.
create or replace function embedder.is_indexed_now(tables regclass[]) returns boolean
language sql stable set search_path = pg_catalog, pg_temp as $$
  -- Not by the relation in the view: only the role that builds sees it.
  select exists (
    select from pg_locks l join pg_stat_progress_create_index g on g.pid = l.pid
    where l.relation = any (tables) and l.mode = 'ShareUpdateExclusiveLock' and l.granted and l.pid <> pg_backend_pid())
$$;

-- Makes a trigger or a policy, unless it is there as it must be: its comment says what it was made from. Making one locks its table,
-- for which all writers of all sources may have to wait.
create or replace function embedder.assure(kind text, name text, relation regclass, definition text) returns void
language plpgsql set search_path = pg_catalog, pg_temp as $$
begin
  if md5(definition) = (select obj_description(t.oid, 'pg_trigger') from pg_trigger t where kind = 'trigger' and t.tgrelid = relation and t.tgname = name
    union all select obj_description(p.oid, 'pg_policy') from pg_policy p where kind = 'policy' and p.polrelid = relation and p.polname = name)
  then
    return;
  end if;
  execute format('drop %s if exists %I on %s', kind, name, relation);
  execute format('create %s %I %s', kind, name, definition);
  execute format('comment on %s %I on %s is %L', kind, name, relation, md5(definition));
end
$$;
