-- What becomes of a pipeline when its tables change: renamed tables, schemas and columns are followed, new partitions get
-- the triggers, a key of another type is taken over, and what cannot be followed is said on the pipeline.

-- When the functions of this schema were made, which make those of the pipelines.
create or replace function embedder.functions_version() returns text
language plpgsql stable set search_path = pg_catalog, pg_temp as $$
begin
  return (
    select extract(epoch from max(f.applied_at))::text from embedder.applied_file f where f.name like 'sql/%');
end
$$;

-- What the functions of a pipeline were made from. When it changes they are made again. Every worker asks for that of each pipeline every few
-- seconds: so it is in PL/pgSQL, as all that it calls, which keeps plans; a function in SQL is planned again each time that another one calls it.
create or replace function embedder.fingerprint_of(p embedder.pipeline) returns text
language plpgsql stable set search_path = pg_catalog, pg_temp as $$
begin
  return (
    select md5(concat_ws(' ', embedder.functions_version(), embedder.vector_type(), p.source::text, p.target_table::text, embedder.members_of(p.source)::oid[]::text, embedder.foreign_below(p.source)::text, embedder.has_other_parents(p.source), embedder.books_are_open(p), embedder.is_cascaded_to(p),
      (select string_agg(concat(c.relowner, c.relrowsecurity, embedder.is_hidden(c.oid)), ',' order by c.oid) from pg_class c where c.oid in (p.source, p.target_table)),
      (select concat_ws(' ', i.indkey, i.indclass) from pg_index i where i.indrelid = p.source and i.indisprimary),
      (select string_agg(concat(a.attrelid, a.attnum, a.attname, a.atttypid, a.atttypmod, a.attcollation), ',' order by a.attrelid, a.attnum)
        from pg_attribute a where a.attrelid in (p.source, p.target_table) and a.attnum > 0 and not a.attisdropped))));
end
$$;

-- Finds columns again by their numbers that have another name now: {"new name": "old name"}.
create or replace function embedder.renamed_columns(p embedder.pipeline) returns jsonb
language sql stable set search_path = pg_catalog, pg_temp as $$
  select coalesce(jsonb_object_agg(a.attname, c.key), '{}')
  from jsonb_each_text(p.columns) c
  join pg_attribute a on a.attrelid = p.source and a.attnum = c.value::int and not a.attisdropped and a.attname <> c.key
  where embedder.column_type(p.source, c.key) is null
$$;

-- A template with the columns under their present names.
create or replace function embedder.rename_in_template(template text, renamed jsonb) returns text
language sql immutable set search_path = pg_catalog, pg_temp as $$
  select string_agg(coalesce((select format('{%s}', r.key) from jsonb_each_text(renamed) r where piece = format('{%s}', r.value)), piece), '' order by place)
  from regexp_matches(template, e'(\\{\\{|\\}\\}|\\{[^{}]*\\}|[{}]|[^{}]+)', 'g') with ordinality m(pieces, place)
  cross join unnest(m.pieces) piece
$$;

-- Has a statement that locks the target done with the rights of the source's owner.
create or replace function embedder.act_briefly(p embedder.pipeline, statement text) returns void
language sql set search_path = pg_catalog, pg_temp as $$
  select embedder.briefly(array[p.target_table], array[format('select embedder.act_as_owner(%L::embedder.pipeline, %L)', p, statement)])
$$;

-- The declaration with the present names of its columns. The key of a sidecar is renamed and retyped with it.
create or replace function embedder.follow_columns(p embedder.pipeline) returns embedder.pipeline
language plpgsql set search_path = pg_catalog, pg_temp as $$
declare
  renamed jsonb := embedder.renamed_columns(p);
  filter_columns text[];
  found jsonb;
  c record;
begin
  if renamed <> '{}' then
    for c in select key as now, value as before from jsonb_each_text(renamed) loop
      if p.input = c.before then p.input := c.now; end if;
      if p.target_column = c.before and not p.sidecar then
        if embedder.column_type(p.source, embedder.hash_column(p)) is not null then
          perform embedder.briefly(array[p.source], array[
            format('alter table %s rename column %I to %I', p.source, embedder.hash_column(p), embedder.hash_name(c.now))]);
        end if;
        p.target_column := c.now;
      end if;
      if p.sidecar and c.before = any (p.key_columns) and embedder.column_type(p.target_table, c.before) is not null then
        perform embedder.briefly(array[p.target_table], array[format('alter table %s rename column %I to %I', p.target_table, c.before, c.now)]);
      end if;
    end loop;
    p.input := embedder.rename_in_template(p.input, renamed);
    if p.chunking ? 'template' then
      p.chunking := jsonb_set(p.chunking, '{template}', to_jsonb(embedder.rename_in_template(p.chunking ->> 'template', renamed)));
    end if;
  end if;
  begin
    execute format('select embedder.%I($1)', format('pipeline_%s_ask', p.id)) into found using
      format('select to_jsonb(f) from embedder.check_filter(%s::regclass, %L, %L, %L) f', p.source::oid, p.filter, 'pg_catalog, pg_temp', renamed);
    p.filter := found ->> 'checked';
    filter_columns := array(select jsonb_array_elements_text(case when p.filter is not null then found -> 'columns' end));
    p.columns := embedder.used_columns(p, filter_columns);
  exception when undefined_column or invalid_parameter_value then
    null; -- A column is gone; embedder.pipeline_problem says which.
  end;
  -- Rewriting a large one would keep searches from it: embedder.pipeline_problem asks its owner to.
  if p.sidecar and embedder.is_small(p.target_table) then
    for c in
      select format('alter table %s alter column %I type %s using %2$I::text::%3$s', p.target_table, k.column_name, k.type_name) as retype
      from embedder.key_columns(p.source) k where embedder.column_type(p.target_table, k.column_name) <> k.type_name
    loop
      begin
        perform embedder.act_briefly(p, c.retype);
      exception when data_exception or unique_violation then
        -- Keys that are no keys of the new type, or two that have become one: nobody can tell whose results these are.
        perform embedder.act_briefly(p, format('truncate %s; %s', p.target_table, c.retype));
      end;
    end loop;
  end if;
  p.key_columns := array(select coalesce((select r.key from jsonb_each_text(renamed) r where r.value = k), k) from unnest(p.key_columns) k);
  return p;
end
$$;

-- The sidecar and the view of a source that belongs to somebody else now go with it, unless they have gone elsewhere.
create or replace function embedder.follow_owner(p embedder.pipeline) returns void
language plpgsql set search_path = pg_catalog, pg_temp as $$
declare
  owner oid := (select relowner from pg_class where oid = p.source);
  relation record;
begin
  for relation in
    select c.oid::regclass as name, c.relkind from pg_class c
    where c.relowner = embedder.functions_owner(p) and c.relowner <> owner and c.oid in (p.target_table, embedder.view_of(p))
  loop
    perform embedder.briefly(array[relation.name], array[format('alter %s %s owner to %s',
      case relation.relkind when 'v' then 'view' else 'table' end, relation.name, owner::regrole)]);
  end loop;
end
$$;

-- Says what is wrong with the pipeline's tables; when nothing is, brings the pipeline up to what they are now: functions,
-- view, triggers. Rows that its triggers missed, as they were not there or could not do their work, are looked for by a backfill. Called
-- by a worker after an error and when the tables have changed, and by resume_pipeline.
-- Callable by: workers, with the rights of the schema's owner.
create or replace function embedder.refresh_pipeline(pipeline int) returns text
language plpgsql security definer set search_path = pg_catalog, pg_temp set lock_timeout = '5s' as $$
declare
  p embedder.pipeline;
  members regclass[];
  widened boolean;
  problem text;
begin
  select * into p from embedder.pipeline e where e.id = pipeline for update;
  if not found then return null; end if;
  if embedder.missed_by(p) is not null then
    update embedder.pipeline e set trigger_error = embedder.missed_by(p) where e.id = p.id returning * into p;
    delete from embedder.tally t where t.pipeline_id = p.id and t.missed is not null;
  end if;
  if exists (select from pg_class where oid = p.source) and exists (select from pg_class where oid = p.target_table) then
    perform embedder.follow_owner(p);
    perform embedder.generate_actor(p);
    p := embedder.follow_columns(p);
  end if;
  problem := embedder.pipeline_problem(p);
  if problem is not null then
    -- So that workers look at it until the problem is gone, however it was mended.
    update embedder.pipeline e set fingerprint = null where e.id = p.id and e.fingerprint is not null;
    -- Rows were written unseen, and when it is detached its marks will be what they were before.
    update embedder.pipeline e set marks = jsonb_build_object(p.source::oid, 'a partition')::text
    where e.id = p.id and (select c.relispartition from pg_class c where c.oid = p.source);
    if embedder.foreign_below(p.source) is not null then
      -- An earlier version has not made what they run.
      if to_regproc(format('embedder.pipeline_%s_removed', p.id)) is null then perform embedder.generate_functions(p); end if;
      perform embedder.place_triggers(p);
    end if;
    return problem;
  end if;

  update embedder.pipeline e set
    input = p.input, filter = p.filter, chunking = p.chunking, columns = p.columns, key_columns = p.key_columns, target_column = p.target_column
  where e.id = p.id returning * into p;
  perform embedder.install(p);
  if embedder.strike_keys(p) then
    perform embedder.start_backfill(p, stale => true, again => true);
    update embedder.pipeline e set uncounted_since = clock_timestamp() where e.id = p.id;
  end if;
  -- Last, for their lock; what they have not seen is looked for in the next transaction, when everybody meets them.
  widened := not p.sidecar and embedder.add_hash_column(p);
  if embedder.place_triggers(p) or widened then
    -- Triggers where they did not belong have counted rows of another table.
    update embedder.pipeline e set uncounted_since = clock_timestamp() where e.id = p.id;
    return null;
  end if;

  members := embedder.members_of(p.source);
  if p.trigger_error is not null or not p.members <@ members
    or exists (select from unnest(members) m where m <> all (p.members) and embedder.has_rows(p, m))
  then
    perform embedder.start_backfill(p, stale => true, again => true);
  end if;
  p.members := members;
  update embedder.pipeline e set trigger_error = null, members = p.members, fingerprint = embedder.fingerprint_of(p),
    -- While a filter could not be computed nobody knew which rows count.
    uncounted_since = case when p.filter is not null or p.trigger_error is not null then clock_timestamp() else e.uncounted_since end
  where e.id = p.id returning * into p;
  if p.id in (select embedder.uncounted_pipelines()) and embedder.is_counted_at_once(p) then
    perform embedder.count_pipeline(p.id);
  end if;
  return null;
end
$$;
comment on function embedder.refresh_pipeline is 'What is wrong with a pipeline''s tables; null when nothing is, and then its functions are made again.';

-- Whether a member has rows of its own.
create or replace function embedder.has_rows(p embedder.pipeline, member regclass) returns boolean
language plpgsql set search_path = pg_catalog, pg_temp as $$
declare
  found jsonb;
begin
  execute format('select embedder.%I($1)', format('pipeline_%s_ask', p.id)) into found
    using format('select to_jsonb(exists (select from only %s))', member);
  return found::boolean;
end
$$;

-- The pipelines whose tables have changed.
-- Callable by: workers, with the rights of the schema's owner.
create or replace function embedder.changed_pipelines() returns setof int
language sql stable security definer set search_path = pg_catalog, pg_temp as $$
  select p.id from embedder.pipeline p
  where p.trigger_error is not null or p.id in (select t.pipeline_id from embedder.tally t where t.missed is not null)
    or p.id in (select embedder.mistriggered_pipelines()) or p.fingerprint is distinct from embedder.fingerprint_of(p)
  order by p.id
$$;

-- Has a pipeline follow its tables. Called by workers, one pipeline a transaction, so that nobody who changes several
-- tables waits for it in the wrong order. Gives back what became of it: dropped, followed, or broken with the problem;
-- no row where somebody else is at it, or has locked a table: then later.
-- Callable by: workers, with the rights of the schema's owner.
create or replace function embedder.follow_tables(pipeline int) returns table (name text, outcome text, problem text)
language plpgsql security definer set search_path = pg_catalog, pg_temp as $$
#variable_conflict use_variable
declare
  p embedder.pipeline;
begin
  perform set_config('embedder.patience', '1 s', true);
  select * into p from embedder.pipeline e where e.id = pipeline for update skip locked;
  if not found then
    return;
  elsif not exists (select from pg_class where oid = p.source) then
    delete from embedder.pipeline e where e.id = p.id;
    return query select p.name, 'dropped', null::text;
    return;
  end if;
  begin
    problem := embedder.refresh_pipeline(p.id);
  exception
    when lock_not_available then return;
    when others then problem := sqlerrm;
  end;
  if problem is not null then
    -- So that it is looked at again also when all is as it was before.
    update embedder.pipeline e set fingerprint = null where e.id = p.id;
  elsif p.fingerprint is null then
    perform embedder.set_pipeline_error(p.id, null);
  end if;
  return query select p.name, case when problem is null then 'followed' else 'broken' end, problem;
end
$$;
comment on function embedder.follow_tables is 'Brings a pipeline up to what its tables are now. Called by workers.';
