-- Each pipeline has functions of its own, named embedder.pipeline_<id>_<verb>, so that their SQL is static and typed.
-- They are made again whenever the pipeline changes, and by every migration. Here: what the triggers on the source run.
--   inserted, updated, deleted, truncated   one trigger each, once a statement
--   forget(row_keys)                        drops jobs, dead letters and sidecar rows of rows that are gone

create or replace function embedder.create_function(head text, settings text, body text) returns void
language plpgsql set search_path = pg_catalog, pg_temp as $$
begin
  execute format('create or replace function embedder.%s language plpgsql set search_path = pg_catalog, pg_temp %s as %L',
    -- Parameters are written $1, $2: a name in the body always means the user's column of that name.
    head, settings, '#variable_conflict use_column' || body);
end
$$;

create or replace function embedder.generate_triggers(p embedder.pipeline) returns void
language plpgsql set search_path = pg_catalog, pg_temp as $$
declare
  new_key text := embedder.key_expression(p.source, 'n');
  old_key text := embedder.key_expression(p.source, 'o');
  -- A deferrable key can be double for a moment inside a transaction, and ON CONFLICT takes each key once.
  distinct_rows text := (
    select case when indimmediate then '' else 'distinct' end from pg_index where indrelid = p.source and indisprimary
  );
  enqueue text := embedder.enqueue_statement('%s');
  inserted text := format('select %s %s, %s from new_rows n', distinct_rows, p.id, new_key);
begin
  -- A new row has no job, as a rule: a plain insert, which takes 5 us less than an upsert, and the upsert where it has.
  perform embedder.generate_trigger(p, 'inserted', '',
    format(e'\n    insert into embedder.job (pipeline_id, row_key) %s;%s', inserted, embedder.wake_statement()),
    format(enqueue, inserted));

  -- PostgreSQL keeps the plan of the first update of a session, made for its few rows. A nested loop over the old and
  -- new rows would be that plan, and the session's next update, of 100,000 rows, would run for hours.
  perform embedder.generate_trigger(p, 'updated', 'set enable_nestloop = off set enable_hashjoin = on',
    format($f$
    gone := array(select %2$s from old_rows o where not exists (select from new_rows n where %1$s = %2$s));
    if cardinality(gone) > 0 then perform embedder.%3$I(gone); end if;$f$,
      new_key, old_key, format('pipeline_%s_forget', p.id))
    || format(enqueue, format(
      'select %s %s, new.row_key from (select %s as row_key, %s as input from new_rows n) new '
      'left join (select %s as row_key, %s as input from old_rows o) old on old.row_key = new.row_key '
      'where old.row_key is null or new.input is distinct from old.input',
      distinct_rows, p.id, new_key, embedder.input_expression(p.source, p.input, 'n'),
      old_key, embedder.input_expression(p.source, p.input, 'o'))));

  perform embedder.generate_trigger(p, 'deleted', '', format($f$
    perform embedder.%I(array(select %s from old_rows o));$f$, format('pipeline_%s_forget', p.id), old_key));

  perform embedder.generate_trigger(p, 'truncated', '', format($f$
    delete from embedder.job where pipeline_id = %1$s;
    delete from embedder.dead_letter where pipeline_id = %1$s;%2$s$f$,
    p.id, case when p.sidecar then format(' truncate %s;', p.target_table) else '' end));

  perform embedder.create_function(
    format('%I(row_keys text[]) returns void', format('pipeline_%s_forget', p.id)),
    embedder.key_settings(p.source) || embedder.lookup_settings(),
    format($f$
begin
  -- The dead letter first: embedder.retry_failed makes a job of it, and that one is then found below.
  delete from embedder.dead_letter d where d.pipeline_id = %1$s and d.row_key = any ($1);
  delete from embedder.job j where j.pipeline_id = %1$s and j.row_key = any ($1);%2$s
end$f$, p.id, case when p.sidecar then format($f$
  delete from %s t using unnest($1) gone(row_key) where %s;$f$,
    p.target_table, embedder.key_matches(p.source, 't', 'gone.row_key')) else '' end));
end
$$;
comment on function embedder.generate_triggers is 'Makes, or makes again, the functions that a pipeline''s triggers run.';

-- For functions that look rows up by a list of keys. Through the index, and planned anew each time: a plan made while a
-- table was small would read it whole each time when it has grown, until the next ANALYZE. No JIT: switching a plan off
-- raises its cost, and compiling for that cost takes 100 times as long as the lookup.
create or replace function embedder.lookup_settings() returns text
language sql immutable
return ' set plan_cache_mode = force_custom_plan set enable_seqscan = off set jit = off';

-- A trigger runs inside the user's own statement and must never make it fail: when a key column was renamed or the
-- sidecar dropped, it writes the error on the pipeline and lets the statement pass. What is not the pipeline's fault
-- (a serialization failure, the user's lock_timeout, a full disk) is the statement's as ever.
-- Nobody may have a table of their own run it: it works with its owner's rights.
--
-- SET clauses cost each insert 3 us. So the insert trigger has none, not even for search_path, where the key's type is
-- a plain one: then its body names the schema of everything in it, the operators included.
create or replace function embedder.generate_trigger(
  p embedder.pipeline, verb text, settings text, body text, if_queued text default null) returns void
language plpgsql set search_path = pg_catalog, pg_temp as $$
declare
  name text := format('pipeline_%s_%s', p.id, verb);
  handlers text := format($f$
  when transaction_rollback or lock_not_available or insufficient_resources then raise;
  when others then
    perform embedder.trigger_failed(%s, tg_op, sqlerrm);
    return null;$f$, p.id);
begin
  execute format('create or replace function embedder.%I() returns trigger language plpgsql security definer %s as %L',
    name,
    case when if_queued is null or embedder.key_settings(p.source) <> '' or cardinality(p.key_columns) > 1
      then 'set search_path = pg_catalog, pg_temp set jit = off ' || embedder.key_settings(p.source) || settings else '' end,
    format($f$#variable_conflict use_column
declare
  gone text[];
begin%s
  return null;
exception%s%s
end$f$, body,
      case when if_queued is null then '' else format($f$
  when unique_violation then
    begin%s
      return null;
    exception%s
    end;$f$, if_queued, handlers) end,
      handlers));
  execute format('revoke all on function embedder.%I() from public', name);
end
$$;

create or replace function embedder.trigger_failed(pipeline_id int, operation text, message text) returns void
language sql set search_path = pg_catalog, pg_temp as $$
  -- Only the first one writes, and nobody waits for it: the writers of a broken pipeline must not queue behind each other.
  update embedder.pipeline set
    trigger_error = format('its %s trigger failed, so rows written since are not queued: %s. Mend the table, then: select embedder.resume_pipeline(%L)',
      lower(operation), message, name)
  where id = (select p.id from embedder.pipeline p where p.id = pipeline_id and p.trigger_error is null for update skip locked)
$$;

create or replace function embedder.create_triggers(p embedder.pipeline) returns void
language plpgsql set search_path = pg_catalog, pg_temp as $$
declare
  t record;
begin
  for t in select * from (values
    ('inserted', 'insert', 'referencing new table as new_rows'),
    ('updated', 'update', 'referencing old table as old_rows new table as new_rows'),
    ('deleted', 'delete', 'referencing old table as old_rows'),
    ('truncated', 'truncate', '')) v(verb, event, tables)
  loop
    execute format('create trigger %I after %s on %s %s for each statement execute function embedder.%I()',
      format('embedder_%s_%s', p.id, t.verb), t.event, p.source, t.tables, format('pipeline_%s_%s', p.id, t.verb));
  end loop;
end
$$;

create or replace function embedder.drop_triggers(p embedder.pipeline) returns void
language plpgsql set search_path = pg_catalog, pg_temp as $$
declare
  t record;
begin
  for t in select tgname, tgrelid::regclass as source from pg_trigger
    where tgrelid = p.source and tgname ~ format('^embedder_%s_', p.id)
  loop
    execute format('drop trigger %I on %s', t.tgname, t.source);
  end loop;
end
$$;

create or replace function embedder.drop_functions(pipeline_id int) returns void
language plpgsql set search_path = pg_catalog, pg_temp as $$
declare
  f regprocedure;
begin
  for f in
    select oid::regprocedure from pg_proc
    where pronamespace = 'embedder'::regnamespace and proname ~ format('^pipeline_%s_', pipeline_id)
  loop
    execute format('drop function %s', f);
  end loop;
end
$$;
