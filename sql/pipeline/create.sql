-- Declaring pipelines: create, drop, pause, resume. These run with the rights of whoever calls them. What they do is to
-- write embedder.pipeline, where a policy (sql/rights/rights.sql) lets only the owner of the source or an admin write;
-- the triggers of that table do the rest, with the rights of the schema's owner (sql/pipeline/installation.sql).

select embedder.retire_function('create_pipeline(regclass, text, text, text, text, text, text, jsonb, jsonb, text, text, int, int, boolean, boolean, jsonb)');

-- No SET clause here: names in a filter mean what they mean under the caller's search_path.
-- Callable by: everybody.
create or replace function embedder.create_pipeline(
  source regclass,
  input text,
  name text default null,
  model text default 'all-MiniLM-L6-v2',
  task text default 'feature-extraction',
  target_column text default null,
  target_table text default null,
  chunking jsonb default null,
  options jsonb default '{}',
  filter text default null,
  index text default 'hnsw',
  priority int default 0,
  max_attempts int default 5,
  enqueue_existing boolean default true,
  if_not_exists boolean default false,
  index_options jsonb default '{}',
  notify boolean default false
) returns text
language plpgsql as $$
#variable_conflict use_variable
declare
  p embedder.pipeline;
begin
  p.source := source;
  p.name := name;
  p.input := input;
  p.model := model;
  p.task := task;
  p.target_column := target_column;
  p.target_name := target_table;
  p.chunking := chunking;
  p.options := options;
  p.filter := filter;
  p.index := index;
  p.index_options := index_options;
  p.priority := priority;
  p.max_attempts := max_attempts;
  p.notify := notify;
  return embedder.declare_pipeline(p, enqueue_existing, if_not_exists, pg_catalog.current_setting('search_path'));
end
$$;
comment on function embedder.create_pipeline is
  'Declares a pipeline: keeps target_column or a sidecar table in step with the input of the source''s rows. Returns its name.';

-- Callable by: everybody.
create or replace function embedder.declare_pipeline(p embedder.pipeline, enqueue_existing boolean, if_not_exists boolean, path text)
returns text
language plpgsql set search_path = pg_catalog, pg_temp set quote_all_identifiers = off as $$
declare
  target record;
begin
  if p.source is null then
    raise exception 'the source table is missing' using errcode = 'invalid_parameter_value',
      hint = 'embedder.create_pipeline(''articles'', ''body'')';
  end if;
  p.name := coalesce(p.name, (select relname from pg_class where oid = p.source));
  -- A pipeline on another table, or of another owner, is no reason to report success.
  if if_not_exists and exists (select from embedder.pipeline e where e.name = p.name and e.source = p.source) then
    raise notice 'pipeline "%" exists already, nothing done', p.name;
    return p.name;
  elsif if_not_exists and exists (select from embedder.pipeline e where e.name = p.name) then
    raise exception 'pipeline "%" exists already, of another table', p.name using errcode = 'duplicate_object', hint = 'Give another name => ...';
  end if;
  perform embedder.check_name(p.name);
  p.generation := 1;
  p.live := true;
  p.sidecar := p.target_column is null;
  if not p.sidecar and p.target_name is not null then
    raise exception 'pipeline "%" names both target_column and target_table', p.name
      using errcode = 'invalid_parameter_value', hint = 'Give target_column for a column of the source, or target_table for a table of its own.';
  end if;
  p := embedder.check_pipeline(p, path);
  target := embedder.find_target(p);
  p := embedder.save_pipeline(p);
  -- Results that an earlier pipeline has left may be of other texts, and must not stay.
  if enqueue_existing or target.of_pipeline then
    perform embedder.command(p.id, 'backfill', jsonb_build_object('stale', target.there));
  end if;
  perform embedder.command(p.id, 'connect');
  perform pg_notify('embedder_job', 'pipeline');
  return p.name;
end
$$;

-- Writes a new row of embedder.pipeline; its triggers make the sidecar and the functions.
-- Callable by: everybody.
create or replace function embedder.save_pipeline(p embedder.pipeline) returns embedder.pipeline
language plpgsql set search_path = pg_catalog, pg_temp as $$
begin
  insert into embedder.pipeline
    (name, generation, live, source, key_columns, input, model, task, target_name, target_column, sidecar, dimensions,
     options, chunking, filter, columns, index, index_options, priority, max_attempts, notify, cutover, drop_old)
  values
    (p.name, p.generation, p.live, p.source, p.key_columns, p.input, p.model, p.task, p.target_name, p.target_column, p.sidecar,
     p.dimensions, p.options, p.chunking, p.filter, p.columns, p.index, p.index_options, p.priority, p.max_attempts, p.notify, p.cutover,
     coalesce(p.drop_old, true))
  returning * into p;
  return p;
end
$$;

-- Callable by: everybody.
create or replace function embedder.drop_pipeline(name text, drop_target boolean default false) returns void
language plpgsql set search_path = pg_catalog, pg_temp as $$
declare
  p embedder.pipeline := embedder.own_pipeline(name);
begin
  perform embedder.command(e.id, 'drop', jsonb_build_object('drop_target', drop_pipeline.drop_target or not e.live))
  from embedder.pipeline e where e.name = p.name;
  perform pg_notify('embedder_job', 'pipeline');
end
$$;
comment on function embedder.drop_pipeline is 'Removes a pipeline with its jobs and triggers; keeps the target unless drop_target.';

-- Callable by: everybody.
create or replace function embedder.pause_pipeline(name text) returns void
language plpgsql set search_path = pg_catalog, pg_temp as $$
begin
  update embedder.pipeline e set paused = true where e.name = (embedder.own_pipeline(pause_pipeline.name)).name;
  perform pg_notify('embedder_job', 'pipeline');
end
$$;
comment on function embedder.pause_pipeline is 'Lets jobs gather without being worked on; changes are still queued.';

-- Callable by: everybody.
create or replace function embedder.resume_pipeline(name text) returns void
language plpgsql set search_path = pg_catalog, pg_temp as $$
declare
  p embedder.pipeline := embedder.own_pipeline(name);
begin
  perform embedder.command(e.id, 'resume') from embedder.pipeline e where e.name = p.name;
  perform pg_notify('embedder_job', 'pipeline');
end
$$;
comment on function embedder.resume_pipeline is
  'Ends a pause, and clears an error: the pipeline is tried again, and rows that its triggers missed are queued.';

create or replace function embedder.resume_generation(p embedder.pipeline) returns void
language plpgsql set search_path = pg_catalog, pg_temp as $$
declare
  problem text := embedder.refresh_pipeline(p.id);
begin
  if problem is not null then
    raise exception 'pipeline "%" cannot work: %', p.name, problem using errcode = 'object_not_in_prerequisite_state';
  end if;
  update embedder.pipeline e set paused = false, error = null, error_at = null, index_error = null where e.id = p.id;
end
$$;

-- The live generation of a pipeline.
-- Callable by: everybody.
create or replace function embedder.find_pipeline(name text) returns embedder.pipeline
language plpgsql stable set search_path = pg_catalog, pg_temp as $$
declare
  p embedder.pipeline;
begin
  select * into p from embedder.pipeline e where e.name = find_pipeline.name and e.live;
  if not found then
    raise exception 'there is no pipeline "%"', name using errcode = 'undefined_object',
      hint = concat(
        embedder.did_you_mean(name, array(select e.name from embedder.pipeline e where e.live)),
        coalesce((select 'There are: ' || string_agg(e.name, ', ' order by e.name) || '.' from embedder.pipeline e where e.live),
          'Make one: select embedder.create_pipeline(''articles'', ''body'');'),
        -- It does not say more: only roles that may read its table may know whether there is one.
        case when row_security_active('embedder.pipeline') then format(
          ' Pipelines of tables that %s may not read are not among them: their owners grant it by embedder.grant_search.', current_user) end);
  end if;
  return p;
end
$$;

-- The live generation of a pipeline that the caller may change.
-- Callable by: everybody.
create or replace function embedder.own_pipeline(name text) returns embedder.pipeline
language plpgsql stable set search_path = pg_catalog, pg_temp as $$
declare
  p embedder.pipeline := embedder.find_pipeline(name);
begin
  if not embedder.may_manage(p.source) and exists (select from pg_class where oid = p.source) then
    raise exception 'pipeline "%" is not yours: its table % belongs to %', p.name, p.source,
      (select relowner::regrole from pg_class where oid = p.source)
      using errcode = 'insufficient_privilege', hint = 'Only the owner of the table, a member of that role, or of embedder_admin changes it.';
  end if;
  return p;
end
$$;
