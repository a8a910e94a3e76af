-- What a row of embedder.pipeline brings with it: target, functions, triggers, view. The triggers of that table make and
-- remove them, with the rights of the schema's owner: whoever may write the row (sql/rights/rights.sql) owns the source.

create or replace function embedder.before_pipeline() returns trigger
language plpgsql security definer set search_path = pg_catalog, pg_temp as $$
begin
  if new.sidecar then
    new.target_table := embedder.make_sidecar(new);
    new.target_column := (select c.column_name from unnest(embedder.result_columns(new)) c where c.place = 1);
    perform embedder.add_hash_column(new);
  else
    perform embedder.target_column_statements(new); -- To be looked at; they are added when its triggers are placed.
    new.target_table := new.source;
  end if;
  return new;
end
$$;

create or replace function embedder.after_pipeline() returns trigger
language plpgsql security definer set search_path = pg_catalog, pg_temp as $$
begin
  perform embedder.install(new);
  return null;
end
$$;

create or replace function embedder.pipeline_changed() returns trigger
language plpgsql security definer set search_path = pg_catalog, pg_temp as $$
begin
  if new.live <> old.live then
    if not (case when new.live then old.cutover is not null and new.cutover is null
      else exists (select from embedder.pipeline e where e.name = old.name and e.id <> old.id and e.cutover is not null) end)
    then
      raise exception 'which generation of pipeline "%" is live, a cutover alone changes', old.name
        using errcode = 'object_not_in_prerequisite_state', hint = format('select embedder.cutover(%L);', old.name);
    end if;
    -- It makes what the new one needs, and the old one needs nothing any more.
    return null;
  end if;
  if new.name <> old.name and old.live then
    -- Its view is named after it.
    perform embedder.drop_view(old);
  end if;
  if (new.name, new.input, new.filter, new.chunking, new.target_column)
    is distinct from (old.name, old.input, old.filter, old.chunking, old.target_column)
  then
    perform embedder.install(new);
  end if;
  return null;
end
$$;

create or replace function embedder.pipeline_removed() returns trigger
language plpgsql security definer set search_path = pg_catalog, pg_temp as $$
declare
  owner oid := (select relowner from pg_class where oid = old.source);
begin
  perform embedder.briefly(
    array(select distinct c.oid::regclass from pg_class c
      where c.oid = old.target_table or c.oid in (select t.tgrelid from pg_trigger t where t.tgname ~ format('^embedder_%s_', old.id))),
    array_remove(array[
      case when old.live then format('select embedder.drop_view(%L::embedder.pipeline)', old) end,
      format('select embedder.drop_functions(%s)', old.id),
      -- Only a target of the source's owner; and none when the source is gone, with its owner unknown.
      case when old.drop_target and owner = (select relowner from pg_class where oid = old.target_table) then
        case when old.sidecar then format('drop table %s', old.target_table)
          else (select format('alter table %s %s', old.source, string_agg(format('drop column if exists %I', c.column_name), ', '))
            from embedder.written_columns(old) c) end end], null));
  perform embedder.clear_books(old.id);
  return null;
end
$$;

-- Pipelines that are gone and still on the books.
-- Callable by: workers, with the rights of the schema's owner.
create or replace function embedder.gone_pipelines() returns setof int
language sql stable security definer set search_path = pg_catalog, pg_temp as $$
  select id::int from generate_series(1, pg_sequence_last_value(pg_get_serial_sequence('embedder.pipeline', 'id')::regclass)) id(id)
  where not exists (select from embedder.pipeline e where e.id = id.id) and (
    exists (select from embedder.job j where j.pipeline_id = id.id) or exists (select from embedder.dead_letter d where d.pipeline_id = id.id)
    or exists (select from embedder.tally t where t.pipeline_id = id.id) or exists (select from embedder.empty_row r where r.pipeline_id = id.id))
$$;

-- Row level security looks at a row when the triggers before it have run, which is too late: these make tables. Here
-- with the rights of whoever writes; its name makes it the first.
create or replace function embedder.allow_pipeline() returns trigger
language plpgsql set search_path = pg_catalog, pg_temp as $$
begin
  if row_security_active('embedder.pipeline') and not embedder.may_manage(new.source) then
    raise exception 'table % is not yours', new.source using errcode = 'insufficient_privilege',
      hint = 'Only its owner, a member of that role, or of embedder_admin makes a pipeline on it.';
  elsif row_security_active('embedder.pipeline') and new.priority not between -100 and 100 and not embedder.is_member('embedder_admin')
    -- This generation has the name already, or the one before it.
    and not exists (select from embedder.pipeline e
      where (e.id = new.id or e.name = new.name) and e.source = new.source and e.priority = new.priority) then
    raise exception 'priority is %, and the owner of a table gives -100 to 100', new.priority using errcode = 'invalid_parameter_value',
      hint = 'embedder_admin gives any, so that no owner comes before what it puts first.';
  end if;
  return new;
end
$$;

-- A row may be written without the functions for users. So it is checked here that its name is not the name of a pipeline of another
-- table, whose next generation it would be, and that embedder.check_pipeline accepts all that goes into statements that workers run.
-- Callable by: everybody.
create or replace function embedder.check_row() returns trigger
language plpgsql security definer set search_path = pg_catalog, pg_temp as $$
begin
  if exists (select from embedder.pipeline e where e.name = new.name and e.id <> new.id and e.source <> new.source) then
    raise exception 'pipeline "%" exists already, of another table', new.name using errcode = 'duplicate_object';
  end if;
  if tg_op = 'INSERT' then
    perform embedder.check_task(new.task);
    perform embedder.check_options(new.task, new.options);
    perform embedder.check_chunking(new, new.chunking);
  end if;
  new.index := embedder.check_index(new);
  perform embedder.check_index_options(new);
  return new;
end
$$;

select embedder.assure('trigger', t.name, 'embedder.pipeline', format('%s on embedder.pipeline for each row %s', t.event, t.action))
from (values
  ('allow_pipeline', 'before insert or update of priority', 'execute function embedder.allow_pipeline()'),
  ('assure_pipeline', 'before insert or update of name, source, index, index_options', 'execute function embedder.check_row()'),
  ('before_pipeline', 'before insert', 'execute function embedder.before_pipeline()'),
  ('after_pipeline', 'after insert', 'execute function embedder.after_pipeline()'),
  ('pipeline_changed', 'after update of name, input, filter, chunking, live, target_column',
    'when (old.* is distinct from new.*) execute function embedder.pipeline_changed()'),
  ('pipeline_removed', 'after delete', 'execute function embedder.pipeline_removed()')) t(name, event, action);

-- Makes what belongs to a pipeline, or makes it again: all but what locks its source.
create or replace function embedder.install(p embedder.pipeline) returns void
language plpgsql set search_path = pg_catalog, pg_temp as $$
begin
  if p.sidecar then perform embedder.add_hash_column(p); end if;
  perform embedder.generate_functions(p);
  perform embedder.protect_sidecar(p);
  -- A view shows the target column, which is added with the triggers.
  if embedder.column_type(p.target_table, embedder.result_marker(p)) is not null then
    perform embedder.make_view(p);
  end if;
end
$$;

-- Puts a pipeline on its source: target columns and triggers, when nobody who writes it is left that has not met them. Last in whatever
-- declares or changes one, since from here to the end of the transaction nobody else writes the source.
create or replace function embedder.connect(p embedder.pipeline) returns void
language plpgsql set search_path = pg_catalog, pg_temp as $$
begin
  -- What a worker has read by a filter that was another must not be written any more: so nobody takes rows out of a backfill by it
  -- from now on, and each job that somebody holds becomes a new one.
  perform 1 from embedder.backfill_range r where r.pipeline_id = p.id for update;
  perform embedder.briefly(embedder.members_of(p.source),
    case when p.sidecar then '{}' else embedder.target_column_statements(p) end
    || array[format('lock table %s in share row exclusive mode', p.source), format('select embedder.place_triggers(%L::embedder.pipeline)', p)]);
  perform embedder.recall_jobs(p.id, waiting => true);
  -- New rows that wait and are outside of the filter now must not be counted when their job is done.
  perform embedder.uncount_jobs(p.id);
  if not p.sidecar then perform embedder.make_view(p); end if;
  update embedder.pipeline e set members = embedder.members_of(e.source), uncounted_since = clock_timestamp() where e.id = p.id returning * into p;
  update embedder.pipeline e set fingerprint = embedder.fingerprint_of(p) where e.id = p.id;
  if embedder.is_counted_at_once(p) and not exists (select from embedder.job j where j.pipeline_id = p.id and j.fresh) then
    perform embedder.count_pipeline(p.id);
  end if;
end
$$;

-- Whether a table and what is below it is read in no time.
create or replace function embedder.is_small(source regclass) returns boolean
language sql stable set search_path = pg_catalog, pg_temp as $$
  select sum(pg_table_size(m)) < 8 * 1048576 from unnest(embedder.members_of(source)) m
$$;

-- Whether its rows are counted wherever that is to be done; else by a worker, which has time. A filter may take long for each row.
create or replace function embedder.is_counted_at_once(p embedder.pipeline) returns boolean
language sql stable set search_path = pg_catalog, pg_temp
return p.filter is null and embedder.is_small(p.source);

-- The functions of a pipeline run with the rights of the source's owner, so they are that role's. A schema owner who is
-- no superuser needs to be a member of it.
create or replace function embedder.own_functions(p embedder.pipeline) returns void
language plpgsql set search_path = pg_catalog, pg_temp as $$
declare
  owner oid := (select relowner from pg_class where oid = p.source);
  grantee oid;
  f record;
begin
  for f in
    select oid::regprocedure as name, proowner, proname from pg_proc
    where pronamespace = 'embedder'::regnamespace and proname ~ format('^pipeline_%s_', p.id) and prosecdef
  loop
    if f.proowner <> owner then
      if not pg_has_role(current_user, owner, case when current_setting('server_version_num')::int < 160000 then 'MEMBER' else 'SET' end) then
        raise exception 'role % may not act for %, the owner of %', current_user, owner::regrole, p.source
          using errcode = 'insufficient_privilege', hint = format('grant %s to %I;', owner::regrole, current_user);
      end if;
      if has_schema_privilege(owner, 'embedder', 'create') or (select rolsuper from pg_roles where rolname = current_user) then
        execute format('alter function %s owner to %s', f.name, owner::regrole);
      else
        -- To own a function in a schema asks for the right to create there; it is taken back at once. One at a time: of two
        -- who write the schema's row, the second would fail. Any number, as long as it is always this one.
        perform pg_advisory_xact_lock(7306372120);
        execute format('grant create on schema embedder to %s', owner::regrole);
        execute format('alter function %s owner to %s', f.name, owner::regrole);
        execute format('revoke create on schema embedder from %s', owner::regrole);
      end if;
    end if;
    -- Also what an owner before this one has granted: it would let others act for this one.
    for grantee in
      select distinct a.grantee from pg_proc g, aclexplode(coalesce(g.proacl, acldefault('f', g.proowner))) a
      where g.oid = f.name and a.grantee <> owner
    loop
      execute format('revoke all on function %s from %s cascade', f.name, case grantee when 0 then 'public' else grantee::regrole::text end);
    end loop;
    execute format('grant execute on function %s to %I', f.name, current_user);
    for grantee in
      select r.oid from pg_roles r
      where r.rolname = 'embedder_worker' and f.proname ~ '_(read|complete)$'
        -- For embedder.status.
        or r.rolname = any (embedder.our_roles()) and f.proname ~ '_(stale|verify|count)$'
    loop
      execute format('grant execute on function %s to %s', f.name, grantee::regrole);
    end loop;
  end loop;
end
$$;

-- What is wrong with the tables of a pipeline as they are now; null when nothing is.
create or replace function embedder.pipeline_problem(p embedder.pipeline) returns text
language plpgsql stable set search_path = pg_catalog, pg_temp as $$
declare
  c embedder.result_column;
  relation regclass;
  actual text;
  lost text;
begin
  if not exists (select from pg_class where oid = p.source) then
    return format('its source table is gone. Drop the pipeline: select embedder.drop_pipeline(%L)', p.name);
  elsif not exists (select from embedder.key_columns(p.source)) then
    return case when embedder.is_temporal(p.source)
      then format('table %s has a primary key "without overlaps" now, by which one row cannot be told from another. Make a key of plain columns the primary one', p.source)
      else format('table %s has lost its primary key. Add it again', p.source) end;
  elsif (select array_agg(k.column_name order by k.column_name) from embedder.key_columns(p.source) k)
    <> array(select k from unnest(p.key_columns) k order by k)
  then
    return format('the primary key of %s is (%s) now, and its results are kept by (%s). Drop the pipeline and create it again: '
      'select embedder.drop_pipeline(%L%s)', p.source, embedder.key_list(p.source), array_to_string(p.key_columns, ', '), p.name,
      case when p.sidecar then ', drop_target => true' end);
  elsif not exists (select from pg_class where oid = p.target_table) then
    return format('its sidecar table is gone. Drop the pipeline and create it again: select embedder.drop_pipeline(%L)', p.name);
  end if;
  if (select relispartition from pg_class where oid = p.source) then
    return format('%s is a partition now, of %s, and its triggers see no rows that are written through that. Detach it, or drop the pipeline and '
      'create it on %2$s', p.source, (select i.inhparent::regclass from pg_inherits i where i.inhrelid = p.source));
  end if;
  relation := embedder.foreign_below(p.source);
  if relation is not null then
    return format('%s has a foreign table below it, %s, whose rows no trigger sees. Detach that, such as by: alter foreign table %2$s no inherit %1$s', p.source, relation);
  end if;
  foreach relation in array array[p.source, p.target_table] loop
    if embedder.is_hidden(relation) then
      return format('%s. To mend it: alter table %s no force row level security', embedder.hidden(relation), relation);
    end if;
  end loop;
  begin
    perform 1 from embedder.parse_input(p.source, p.input);
    perform embedder.parse_wrapping(p.source, p.chunking ->> 'template');
  exception when undefined_column or invalid_parameter_value then
    return format('%s. Add the column again, or drop the pipeline and create it with another input', sqlerrm);
  end;
  if embedder.virtual_column(p) is not null then
    return format('%s. Make it a stored one, or let the pipeline read the columns that it is made of', embedder.virtual_column(p));
  end if;
  select min(key) into lost from jsonb_object_keys(p.columns) key
  where embedder.column_type(p.source, key) is null and not key = any (p.key_columns);
  if p.filter is not null and lost is not null and p.sidecar then
    return format('its filter names column "%s", which table %s does not have. Add the column again, or give the pipeline another filter', lost, p.source);
  end if;
  foreach c in array embedder.result_columns(p) loop
    actual := embedder.column_type(p.target_table, c.column_name);
    if actual is null and p.sidecar and c.column_name = embedder.result_marker(p) then
      -- Its other columns are worth nothing without it, and would count as a result.
      return format('column %I of %s is gone. Empty that table and add it again: truncate %s; alter table %s add column %I %s not null',
        c.column_name, p.target_table, p.target_table, p.target_table, c.column_name, c.type_name);
    elsif actual is null then
      return format('column %I of %s is gone. Add it again: alter table %s add column %I %s',
        c.column_name, p.target_table, p.target_table, c.column_name, c.type_name);
    elsif not embedder.fits(actual, c) then
      return format('column %I of %s is %s, and the results of model %s are %s. Change the column''s type back, or drop the pipeline',
        c.column_name, p.target_table, actual, p.model, c.type_name);
    end if;
  end loop;
  if p.sidecar then
    select case when k.actual is null
      then format('column %I of %s does not fit the key column of %s, %s. Change its type as well: alter table %s alter column %I type %s',
        k.column_name, p.target_table, p.source, k.type_name, p.target_table, k.column_name, k.type_name)
      else format('column %I of %s is %s, and in the key of %s it is %s now. Say when: searches wait while its table is rewritten. '
        '%salter table %s alter column %8$I type %9$s using %8$I::text::%9$s; a worker then builds the index again',
        k.column_name, p.target_table, k.actual, p.source, k.type_name,
        (select string_agg(format('drop index %s; ', i.index), '') from embedder.target_indexes(p) i), p.target_table, k.column_name, k.type_name) end
    into lost
    from (select *, embedder.column_type(p.target_table, column_name) as actual from embedder.key_columns(p.source)) k
    where k.actual is distinct from k.type_name limit 1;
    return lost;
  end if;
  return null;
end
$$;
