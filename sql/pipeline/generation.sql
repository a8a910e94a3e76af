-- Changing a pipeline. What does not touch the results is changed at once. What does (input, model, task, chunking, the
-- task's options, where they are written) opens the next generation: a second row of embedder.pipeline with a target of
-- its own, filled beside the live one, while both are kept in step by triggers of their own, until the cutover.

select embedder.retire_function('alter_pipeline(text, text, text, text, text, text, text, jsonb, jsonb, text, text, int, int, jsonb, boolean, boolean)');

-- Callable by: everybody.
create or replace function embedder.alter_pipeline(
  name text,
  input text default null,
  new_name text default null,
  model text default null,
  task text default null,
  target_column text default null,
  target_table text default null,
  chunking jsonb default null,
  options jsonb default null,
  filter text default null,
  index text default null,
  priority int default null,
  max_attempts int default null,
  index_options jsonb default null,
  auto_cutover boolean default false,
  drop_old boolean default true,
  notify boolean default null
) returns text
language plpgsql as $$
#variable_conflict use_variable
declare
  p embedder.pipeline := embedder.own_pipeline(name);
  before embedder.pipeline := p;
begin
  p.input := coalesce(input, p.input);
  p.model := coalesce(model, p.model);
  p.task := coalesce(task, p.task);
  p.chunking := case when chunking is null then p.chunking when chunking::pg_catalog.text in ('null', '{}') then null else chunking end;
  p.options := coalesce(options, p.options);
  p.filter := coalesce(filter, p.filter);
  p.index := coalesce(index, p.index);
  p.index_options := coalesce(index_options, p.index_options);
  p.priority := coalesce(priority, p.priority);
  p.max_attempts := coalesce(max_attempts, p.max_attempts);
  p.notify := coalesce(notify, p.notify);
  p.cutover := case when auto_cutover then 'auto' end;
  p.drop_old := drop_old;
  return embedder.change_pipeline(before, p, new_name, target_column, target_table, pg_catalog.current_setting('search_path'));
end
$$;
comment on function embedder.alter_pipeline is
  'Changes a pipeline; null leaves an option as it is, '''' and {} take filter and chunking away. What changes results opens a new generation (see embedder.cutover). Returns what was done: changed, next generation, or unchanged.';

-- Callable by: everybody.
create or replace function embedder.change_pipeline(
  before embedder.pipeline, p embedder.pipeline, new_name text, target_column text, target_table text, path text) returns text
language plpgsql set search_path = pg_catalog, pg_temp set quote_all_identifiers = off as $$
declare
  changed_filter boolean := p.filter is distinct from before.filter;
  filter_columns text[];
begin
  if new_name is not null and new_name <> p.name then
    perform embedder.check_name(new_name);
  end if;
  if target_column is not null and target_table is not null then
    raise exception 'target_column and target_table exclude each other' using errcode = 'invalid_parameter_value';
  elsif target_column is not null or target_table is not null then
    p.sidecar := target_column is null;
  end if;
  p := embedder.check_pipeline(p, case when changed_filter then path else 'pg_catalog, pg_temp' end);

  if (p.input, p.model, p.task, p.chunking, p.options, p.sidecar) is distinct from
     (before.input, before.model, before.task, before.chunking, before.options, before.sidecar)
    or target_column is not null or target_table is not null
  then
    if new_name is not null and new_name <> p.name then
      raise exception 'a pipeline is renamed by itself' using errcode = 'invalid_parameter_value',
        hint = 'Rename it in a call of its own, before or after the cutover.';
    end if;
    perform embedder.open_generation(before, p, target_column, target_table);
    return 'next generation';
  elsif (p.filter, p.index, p.index_options, p.priority, p.max_attempts, p.notify)
    is not distinct from (before.filter, before.index, before.index_options, before.priority, before.max_attempts, before.notify)
    and coalesce(new_name, p.name) = p.name
  then
    return 'unchanged';
  end if;

  select f.columns into filter_columns from embedder.check_filter(p.source, p.filter, 'pg_catalog, pg_temp') f;
  update embedder.pipeline e set
    name = coalesce(new_name, e.name), filter = p.filter, index = p.index, index_options = p.index_options,
    priority = p.priority, max_attempts = p.max_attempts, notify = p.notify, index_error = null
  where e.name = before.name;
  -- Each generation has an input of its own.
  update embedder.pipeline e set columns = embedder.used_columns(e, filter_columns) where e.name = coalesce(new_name, before.name);
  if changed_filter then
    -- Rows outside of the new filter lose their result.
    perform embedder.command(e.id, 'backfill', '{"stale": true, "again": true}') from embedder.pipeline e where e.name = coalesce(new_name, before.name);
    perform embedder.command(e.id, 'connect') from embedder.pipeline e where e.name = coalesce(new_name, before.name);
  end if;
  perform pg_notify('embedder_job', 'pipeline');
  return 'changed';
end
$$;

-- Callable by: everybody.
create or replace function embedder.open_generation(before embedder.pipeline, p embedder.pipeline, target_column text, target_table text) returns void
language plpgsql set search_path = pg_catalog, pg_temp as $$
declare
  target pg_class := (select c from pg_class c where c.oid = before.target_table);
  taken_over boolean;
begin
  p.live := false;
  p.generation := (select max(e.generation) + 1 from embedder.pipeline e where e.name = before.name);
  p.columns := '{}';
  p.target_column := coalesce(target_column, case when not p.sidecar then embedder.numbered(before.target_column, p.generation) end);
  p.target_name := coalesce(target_table, case when p.sidecar then
    case when before.sidecar then format('%s.%I', target.relnamespace::regnamespace, embedder.numbered(target.relname, p.generation))
      else quote_ident(embedder.numbered(embedder.sidecar_name(p), p.generation)) end end);
  p := embedder.check_pipeline(p, 'pg_catalog, pg_temp');
  taken_over := (embedder.find_target(p)).there;
  p := embedder.save_pipeline(p);
  update embedder.pipeline e set paused = before.paused where e.id = p.id and before.paused;
  perform embedder.command(p.id, 'backfill', jsonb_build_object('stale', taken_over));
  -- Last, since these lock the source. A next generation that is still being filled gives way.
  perform embedder.command(e.id, 'drop', '{"drop_target": true}') from embedder.pipeline e where e.name = before.name and not e.live and e.id <> p.id;
  perform embedder.command(p.id, 'connect');
  perform pg_notify('embedder_job', 'pipeline');
end
$$;

-- The next generation of a pipeline.
-- Callable by: everybody.
create or replace function embedder.next_generation(name text) returns embedder.pipeline
language plpgsql stable set search_path = pg_catalog, pg_temp as $$
declare
  p embedder.pipeline;
begin
  select * into p from embedder.pipeline e where e.name = (embedder.own_pipeline(next_generation.name)).name and not e.live;
  if not found then
    raise exception 'pipeline "%" has no next generation', name using errcode = 'object_not_in_prerequisite_state',
      hint = 'embedder.alter_pipeline opens one when it changes the model, the input, chunking or options.';
  end if;
  return p;
end
$$;

-- Callable by: everybody.
create or replace function embedder.cutover(name text, drop_old boolean default null, force boolean default false) returns void
language plpgsql set search_path = pg_catalog, pg_temp as $$
declare
  next embedder.pipeline := embedder.next_generation(name);
begin
  if next.filled_at is null then
    raise exception 'the next generation of "%" is not filled yet', name using errcode = 'object_not_in_prerequisite_state',
      hint = format('select next_coverage from embedder.status where pipeline = %L shows how far it is.', name);
  end if;
  -- Roles that may write this column may have it done.
  update embedder.pipeline e set cutover = 'now', drop_old = coalesce(cutover.drop_old, e.drop_old) where e.id = next.id;
  perform embedder.command(next.id, 'cutover', jsonb_build_object('force', force));
  perform pg_notify('embedder_job', 'pipeline');
end
$$;
comment on function embedder.cutover is 'Makes the next generation of a pipeline the live one; the old target is dropped, or kept as <target>_<generation>. With force also where rows have failed in it.';

-- Callable by: everybody.
create or replace function embedder.drop_next_generation(name text) returns void
language plpgsql set search_path = pg_catalog, pg_temp as $$
declare
  next embedder.pipeline := embedder.next_generation(name);
begin
  perform embedder.command(next.id, 'drop', '{"drop_target": true}');
  perform pg_notify('embedder_job', 'pipeline');
end
$$;
comment on function embedder.drop_next_generation is 'Gives up a change that embedder.alter_pipeline has begun; the live generation stays.';

-- The cutover itself, for a generation whose row asks for it. Without force it is refused while rows would lose the result that
-- they have.
create or replace function embedder.make_live(next_id int, force boolean default false) returns void
language plpgsql security definer set search_path = pg_catalog, pg_temp as $$
declare
  next embedder.pipeline;
  old embedder.pipeline;
  lost bigint;
begin
  select * into next from embedder.pipeline e where e.id = next_id and not e.live and e.cutover is not null and e.filled_at is not null for update;
  if not found then return; end if;
  select * into old from embedder.pipeline e where e.name = next.name and e.live and e.source = next.source for update;
  if not found then return; end if;
  lost := embedder.failed_beyond(next.id, old.id);
  if lost > 0 and not coalesce(force, false) then
    raise exception '% rows of "%" have failed in the next generation and not in the live one', lost, next.name
      using errcode = 'object_not_in_prerequisite_state',
        hint = format('select * from embedder.failed_job where pipeline = %1$L; then: select embedder.retry_failed(%1$L). Or let them go without a result: select embedder.cutover(%1$L, force => true).', next.name);
  end if;
  -- Before the lock: nobody meets these functions before this transaction ends, and then the tables have their names.
  perform embedder.generate_functions(embedder.as_live(next, old));
  perform embedder.briefly(
    array(select distinct t from unnest(embedder.members_of(next.source) || array[old.target_table, next.target_table]) t),
    array[format('lock table %s in access exclusive mode', next.source), format('select embedder.take_place(%s, %s)', next.id, old.id)]);
end
$$;

-- Rows that have failed in one generation and not in the other, whether they are tried again or not.
create or replace function embedder.failed_beyond(next_id int, live_id int) returns bigint
language sql stable set search_path = pg_catalog, pg_temp as $$
  with failed as (
    select d.pipeline_id, d.row_key from embedder.dead_letter d where d.pipeline_id in (next_id, live_id)
    union select j.pipeline_id, j.row_key from embedder.job j where j.pipeline_id in (next_id, live_id) and j.last_error is not null
  )
  select count(*) from failed f
  where f.pipeline_id = next_id and not exists (select from failed o where o.pipeline_id = live_id and o.row_key = f.row_key)
$$;

-- The next generation as it will be when it has taken the place of the live one, and its names.
create or replace function embedder.as_live(p embedder.pipeline, old embedder.pipeline) returns embedder.pipeline
language plpgsql stable set search_path = pg_catalog, pg_temp as $$
declare
  target pg_class := (select c from pg_class c where c.oid = p.target_table);
  old_name name := (select c.relname from pg_class c where c.oid = old.target_table);
begin
  p.live := true;
  p.cutover := 'under way';
  p.target_name := p.target_table;
  if old.sidecar and p.sidecar and target.relname = embedder.numbered(old_name, p.generation) then
    p.target_name := format('%s.%I', target.relnamespace::regnamespace, old_name);
  elsif not old.sidecar and not p.sidecar and p.target_column = embedder.numbered(old.target_column, p.generation) then
    p.target_column := old.target_column;
  end if;
  return p;
end
$$;

-- In one transaction: the old generation goes, the new one takes its names, and the view shows it. Its functions are those of
-- embedder.as_live already.
create or replace function embedder.take_place(next_id int, old_id int) returns void
language plpgsql set search_path = pg_catalog, pg_temp as $$
declare
  next embedder.pipeline := (select e from embedder.pipeline e where e.id = next_id);
  old embedder.pipeline := (select e from embedder.pipeline e where e.id = old_id);
  future embedder.pipeline := embedder.as_live(next, old);
  old_name name := (select relname from pg_class where oid = old.target_table);
  kept_column text := embedder.numbered(old.target_column, old.generation);
begin
  if future.target_name <> next.target_table::text then
    execute format('alter table %s rename to %I', old.target_table, embedder.numbered(old_name, old.generation));
    execute format('alter table %s rename to %I', next.target_table, old_name);
  elsif future.target_column <> next.target_column then
    perform embedder.rename_columns(old, kept_column);
    perform embedder.rename_columns(next, old.target_column);
    old.target_column := kept_column;
  end if;
  if old.sidecar and next.sidecar then
    -- Roles that could search the old sidecar can search this one.
    perform embedder.give_rights(c.relacl, c.relowner, next.target_table::text) from pg_class c where c.oid = old.target_table;
  end if;
  update embedder.pipeline e set live = false, drop_target = next.drop_old, target_column = old.target_column where e.id = old.id;
  update embedder.pipeline e set live = true, cutover = null, index_error = null, paused = old.paused, target_column = future.target_column
  where e.id = next.id returning * into next;
  perform embedder.protect_sidecar(next);
  perform embedder.make_view(next);
  -- The view of another task has another name. Dropping its function would drop all that depends on it; this refuses instead.
  if embedder.view_name(old) <> embedder.view_name(next) then perform embedder.drop_view(old); end if;
  delete from embedder.pipeline e where e.id = old.id;
  -- Made again, since the columns of the old generation were renamed or dropped.
  if not old.sidecar then perform embedder.make_view(next); end if;
  update embedder.pipeline e set fingerprint = embedder.fingerprint_of(e) where e.id = next.id;
end
$$;

create or replace function embedder.rename_columns(p embedder.pipeline, new_name text) returns void
language plpgsql set search_path = pg_catalog, pg_temp as $$
declare
  renamed embedder.pipeline := p;
  c record;
begin
  renamed.target_column := new_name;
  for c in
    select * from rows from (embedder.written_columns(p), embedder.written_columns(renamed)) as v(before, now)
  loop
    execute format('alter table %s rename column %I to %I', p.source, c.before, c.now);
  end loop;
end
$$;

-- Makes a generation live that a worker is to make live: filled, and indexed where an index is wanted. Gives back its name; and null
-- where there are more, or where somebody has locked its table, or rows have failed in it: then it is to be tried again. One a
-- transaction: its locks are not to wait for another one's.
-- Callable by: workers, with the rights of the schema's owner.
create or replace function embedder.auto_cutover() returns setof text
language plpgsql security definer set search_path = pg_catalog, pg_temp as $$
declare
  p embedder.pipeline;
begin
  perform set_config('embedder.patience', '1 s', true);
  for p in
    select * from embedder.pipeline e where not e.live and e.cutover = 'auto' and e.filled_at is not null and e.error is null
    order by e.id for update skip locked
  loop
    -- An index that could not be built three times is not waited for.
    continue when not (p.index = 'none' or p.index_error is not null and p.index_tries >= 3 or embedder.embedded_rows(p.id) = 0
      or exists (select from embedder.target_indexes(p) i where i.valid));
    begin
      -- Its owner may have a change of it under way.
      continue when not exists (select from (select from embedder.pipeline e where e.name = p.name and e.live for update skip locked) l);
      perform embedder.make_live(p.id);
      perform pg_notify('embedder_job', 'pipeline');
      return next p.name;
      return next null;
      return;
    exception
      when lock_not_available or transaction_rollback then
        return next null;
      when object_not_in_prerequisite_state then
        update embedder.pipeline e set index_error = format('it is not made live: %s', sqlerrm) where e.id = p.id;
        return next null;
      when others then
        -- Usually something depends on the view. A person has to see to that, and other pipelines must not wait for it.
        update embedder.pipeline e set cutover = null,
          index_error = format('it could not be made live: %s. Mend that, then: select embedder.cutover(%L)', sqlerrm, p.name)
        where e.id = p.id;
    end;
  end loop;
end
$$;
