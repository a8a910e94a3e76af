-- Declaring pipelines: create, drop, pause, resume.

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
  if_not_exists boolean default false
) returns text
language plpgsql set search_path = pg_catalog, pg_temp as $$
#variable_conflict use_variable
declare
  p embedder.pipeline;
begin
  if source is null then
    raise exception 'the source table is missing' using errcode = 'invalid_parameter_value',
      hint = 'embedder.create_pipeline(''articles'', ''body'')';
  end if;
  p.name := coalesce(name, (select relname from pg_class where oid = source));
  if if_not_exists and exists (select from embedder.pipeline e where e.name = p.name) then
    raise notice 'pipeline "%" exists already, nothing done', p.name;
    return p.name;
  end if;
  perform embedder.check_name(p.name);
  perform embedder.check_not_built(task, chunking, filter);
  perform embedder.check_source(source);
  perform 1 from embedder.parse_input(source, input);
  perform embedder.check_options(options);

  p.source := source;
  p.key_columns := (select array_agg(k.column_name order by k.place) from embedder.key_columns(source) k);
  p.input := input;
  p.model := model;
  p.task := task;
  p.options := coalesce(options, '{}');
  p.dimensions := embedder.model_dimensions(model, task, p.options);
  p.index := embedder.check_index(index, p.dimensions);
  p.priority := coalesce(priority, 0);
  p.max_attempts := coalesce(max_attempts, 5);
  if p.max_attempts not between 1 and 1000 then
    raise exception 'max_attempts is %, and must be from 1 to 1000', p.max_attempts using errcode = 'invalid_parameter_value';
  end if;
  p.sidecar := target_column is null;
  if p.sidecar then
    p.target_table := embedder.make_sidecar(p, target_table);
    p.target_column := 'embedding';
  elsif target_table is not null then
    raise exception 'pipeline "%" names both target_column and target_table', p.name
      using errcode = 'invalid_parameter_value', hint = 'Give target_column for a column of the source, or target_table for a table of its own.';
  else
    p.target_table := source;
    p.target_column := target_column;
    perform embedder.make_target_column(p);
  end if;

  insert into embedder.pipeline
    (name, source, key_columns, input, model, task, target_table, target_column, sidecar, dimensions, options, index,
     priority, max_attempts)
  values
    (p.name, p.source, p.key_columns, p.input, p.model, p.task, p.target_table, p.target_column, p.sidecar, p.dimensions,
     p.options, p.index, p.priority, p.max_attempts)
  returning * into p;

  perform embedder.generate_functions(p);
  perform embedder.create_triggers(p);
  if enqueue_existing then
    perform embedder.enqueue_all(p);
  end if;
  perform pg_notify('embedder_job', 'pipeline');
  return p.name;
end
$$;
comment on function embedder.create_pipeline is
  'Declares a pipeline: keeps target_column or a sidecar table in step with the input of the source''s rows. Returns its name.';

create or replace function embedder.check_name(name text) returns void
language plpgsql set search_path = pg_catalog, pg_temp as $$
begin
  if name = '' or length(name) > 63 then
    raise exception 'the name of a pipeline has 1 to 63 characters, this one has %', length(name)
      using errcode = 'invalid_name';
  elsif exists (select from embedder.pipeline e where e.name = check_name.name) then
    raise exception 'pipeline "%" exists already', name
      using errcode = 'duplicate_object',
        hint = 'Give another name => ..., or if_not_exists => true, or drop it first: select embedder.drop_pipeline(...).';
  end if;
end
$$;

create or replace function embedder.check_not_built(task text, chunking jsonb, filter text) returns void
language plpgsql set search_path = pg_catalog, pg_temp as $$
declare
  missing text;
begin
  if task in ('text-classification', 'zero-shot-classification', 'token-classification') then
    missing := format('task => %L', task);
  elsif task is distinct from 'feature-extraction' then
    raise exception 'there is no task "%"', task using errcode = 'invalid_parameter_value', hint = 'Use feature-extraction.';
  elsif chunking is not null then
    missing := 'chunking';
  elsif filter is not null then
    missing := 'filter';
  end if;
  if missing is not null then
    raise exception 'this version of pgembedder has no % yet', missing using errcode = 'feature_not_supported',
      hint = 'Leave it out; each row is embedded whole, by feature-extraction.';
  end if;
end
$$;

create or replace function embedder.check_source(source regclass) returns void
language plpgsql set search_path = pg_catalog, pg_temp as $$
declare
  c pg_class;
  problem text;
  advice text := 'Name an ordinary table with a primary key.';
begin
  select * into c from pg_class where oid = source;
  if c.relpersistence = 't' then
    problem := 'is temporary: no worker can see it';
  elsif c.relkind = 'p' or c.relispartition then
    problem := 'is partitioned, which this version of pgembedder cannot follow yet';
  elsif c.relkind <> 'r' then
    problem := 'is not a table';
  elsif c.relnamespace in ('pg_catalog'::regnamespace, 'information_schema'::regnamespace, 'embedder'::regnamespace) then
    problem := 'belongs to the system';
  elsif exists (select from pg_inherits where source in (inhrelid, inhparent)) then
    problem := 'takes part in inheritance, which this version of pgembedder cannot follow yet';
  elsif not exists (select from embedder.key_columns(source)) then
    problem := 'has no primary key';
    advice := format('Add one: alter table %s add column id bigint generated always as identity primary key;', source);
  elsif not pg_has_role(current_user, c.relowner, 'USAGE') then
    raise exception 'table % belongs to %', source, c.relowner::regrole using errcode = 'insufficient_privilege',
      hint = 'Only its owner, or a member of that role, makes a pipeline on it.';
  end if;
  if problem is not null then
    raise exception 'table % %', source, problem using errcode = 'wrong_object_type', hint = advice;
  end if;
end
$$;

create or replace function embedder.check_options(options jsonb) returns void
language plpgsql set search_path = pg_catalog, pg_temp as $$
declare
  option record;
  wanted text;
begin
  if options is null then return; end if;
  if jsonb_typeof(options) <> 'object' then
    raise exception 'options is %, and must be a jsonb object', jsonb_typeof(options)
      using errcode = 'invalid_parameter_value', hint = 'For example {"prompt": "passage: "}.';
  end if;
  for option in select key, value, value #>> '{}' as text, jsonb_typeof(value) as type from jsonb_each(options) loop
    wanted := case option.key
      when 'pooling' then case when option.type = 'string' and option.text in ('mean', 'cls') then null else '"mean" or "cls"' end
      when 'normalize' then case when option.type = 'boolean' then null else 'true or false' end
      when 'prompt' then case when option.type = 'string' then null else 'a string, put before each text' end
      when 'dimensions' then case when option.type = 'number' and option.text ~ '^[1-9][0-9]{0,4}$' then null else 'a whole number from 1' end
      else 'none'
    end;
    if wanted = 'none' then
      raise exception 'feature-extraction has no option "%"', option.key using errcode = 'invalid_parameter_value',
        hint = 'Its options: pooling, normalize, prompt, dimensions.';
    elsif wanted is not null then
      raise exception 'option "%" is %, and must be %', option.key, option.value, wanted using errcode = 'invalid_parameter_value';
    end if;
  end loop;
end
$$;

-- The length of the target's vectors. A model that nobody has seen yet needs it said, since the target is made now.
create or replace function embedder.model_dimensions(model text, task text, options jsonb) returns int
language plpgsql stable set search_path = pg_catalog, pg_temp as $$
declare
  m embedder.model;
  wanted int := (options ->> 'dimensions')::int;
begin
  select * into m from embedder.model e where e.name = model_dimensions.model;
  if m.name is null and wanted is null then
    raise exception 'nobody knows the model "%" yet', model using errcode = 'undefined_object',
      hint = format('Known: %s. For another one say the length of its vectors: options => ''{"dimensions": 384}''.',
        (select string_agg(e.name, ', ' order by e.name) from embedder.model e));
  elsif m.task <> model_dimensions.task then
    raise exception 'model "%" is for %, not for %', model, m.task, task using errcode = 'invalid_parameter_value';
  elsif m.dimensions <> wanted then
    raise exception 'model "%" gives vectors of % dimensions, not of %', model, m.dimensions, wanted
      using errcode = 'invalid_parameter_value', hint = 'Leave the option dimensions out.';
  end if;
  return coalesce(wanted, m.dimensions);
end
$$;

create or replace function embedder.check_index(index text, dimensions int) returns text
language plpgsql immutable set search_path = pg_catalog, pg_temp as $$
begin
  if index is null or index not in ('hnsw', 'ivfflat', 'none') then
    raise exception 'there is no index "%"', index using errcode = 'invalid_parameter_value', hint = 'Use hnsw, ivfflat or none.';
  elsif index <> 'none' and dimensions > 2000 then
    raise exception 'pgvector indexes vectors of up to 2,000 dimensions, these have %', dimensions
      using errcode = 'program_limit_exceeded', hint = 'Give index => ''none''.';
  end if;
  return index;
end
$$;

create or replace function embedder.drop_pipeline(name text, drop_target boolean default false) returns void
language plpgsql set search_path = pg_catalog, pg_temp as $$
declare
  p embedder.pipeline := embedder.find_pipeline(name);
begin
  -- The triggers first: they take the lock on the source that keeps writers from queueing more.
  perform embedder.drop_triggers(p);
  perform embedder.drop_functions(p.id);
  delete from embedder.job j where j.pipeline_id = p.id;
  delete from embedder.pipeline e where e.id = p.id;
  if not drop_target or not exists (select from pg_class where oid = p.target_table) then
    null; -- It stays, or is gone already.
  elsif p.sidecar then
    execute format('drop table %s', p.target_table);
  else
    execute format('alter table %s drop column if exists %I', p.target_table, p.target_column);
  end if;
  perform pg_notify('embedder_job', 'pipeline');
end
$$;
comment on function embedder.drop_pipeline is 'Removes a pipeline with its jobs and triggers; keeps the target unless drop_target.';

create or replace function embedder.pause_pipeline(name text) returns void
language plpgsql set search_path = pg_catalog, pg_temp as $$
begin
  update embedder.pipeline e set paused = true where e.id = (embedder.find_pipeline(pause_pipeline.name)).id;
  perform pg_notify('embedder_job', 'pipeline');
end
$$;
comment on function embedder.pause_pipeline is 'Lets jobs gather without being worked on; changes are still queued.';

create or replace function embedder.resume_pipeline(name text) returns void
language plpgsql set search_path = pg_catalog, pg_temp as $$
declare
  p embedder.pipeline := embedder.find_pipeline(name);
  missed boolean := p.trigger_error is not null;
  problem text := embedder.pipeline_problem(p);
begin
  if problem is not null then
    raise exception 'pipeline "%" cannot work: %', p.name, problem using errcode = 'object_not_in_prerequisite_state';
  end if;
  update embedder.pipeline e set
    paused = false, error = null, error_at = null, trigger_error = null,
    key_columns = (select array_agg(k.column_name order by k.place) from embedder.key_columns(p.source) k)
  where e.id = p.id returning * into p;
  perform embedder.generate_functions(p);
  if missed then
    -- Wait for open deletes: a row queued behind one's back would get its vector after it is gone.
    execute format('lock table %s in share row exclusive mode', p.source);
    if p.sidecar then perform embedder.prune_sidecar(p.source, p.target_table); end if;
    perform embedder.enqueue_all(p);
  end if;
  perform pg_notify('embedder_job', 'pipeline');
end
$$;
comment on function embedder.resume_pipeline is
  'Ends a pause, and clears an error: the pipeline is tried again, and rows that its triggers missed are queued.';

create or replace function embedder.find_pipeline(name text) returns embedder.pipeline
language plpgsql stable set search_path = pg_catalog, pg_temp as $$
declare
  p embedder.pipeline;
begin
  select * into p from embedder.pipeline e where e.name = find_pipeline.name;
  if not found then
    raise exception 'there is no pipeline "%"', name using errcode = 'undefined_object',
      hint = coalesce(
        (select 'There are: ' || string_agg(e.name, ', ' order by e.name) || '.' from embedder.pipeline e),
        'Make one: select embedder.create_pipeline(''articles'', ''body'');');
  end if;
  return p;
end
$$;

-- What is wrong with the tables of a pipeline as they are now; null when nothing is.
create or replace function embedder.pipeline_problem(p embedder.pipeline) returns text
language plpgsql stable set search_path = pg_catalog, pg_temp as $$
declare
  wanted text := format('%s(%s)', embedder.vector_type(), p.dimensions);
  actual text;
begin
  if not exists (select from pg_class where oid = p.source) then
    return format('its source table is gone. Drop the pipeline: select embedder.drop_pipeline(%L)', p.name);
  elsif not exists (select from embedder.key_columns(p.source)) then
    return format('table %s has lost its primary key. Add it again', p.source);
  elsif not exists (select from pg_class where oid = p.target_table) then
    return format('its sidecar table is gone. Drop the pipeline and create it again: select embedder.drop_pipeline(%L)', p.name);
  end if;
  begin
    perform 1 from embedder.parse_input(p.source, p.input);
  exception when undefined_column or invalid_parameter_value then
    return format('%s. Add the column again, or drop the pipeline and create it with another input', sqlerrm);
  end;
  actual := (
    select format_type(atttypid, atttypmod) from pg_attribute
    where attrelid = p.target_table and attname = p.target_column and attnum > 0 and not attisdropped);
  if actual is null then
    return format('column %I of %s is gone. Add it again: alter table %s add column %I %s',
      p.target_column, p.target_table, p.target_table, p.target_column, wanted);
  elsif actual not in (wanted, embedder.vector_type()) then
    return format('column %I of %s is %s, and the vectors of model %s are %s. Change the column''s type back, or drop the pipeline',
      p.target_column, p.target_table, actual, p.model, wanted);
  end if;
  return null;
end
$$;

-- Called by a worker after an error: says what is wrong with the pipeline's tables; when nothing is, makes the
-- pipeline's functions again, since a renamed table or column is nothing wrong.
create or replace function embedder.refresh_pipeline(pipeline int) returns text
language plpgsql set search_path = pg_catalog, pg_temp as $$
declare
  p embedder.pipeline := (select e from embedder.pipeline e where e.id = pipeline);
  problem text := embedder.pipeline_problem(p);
begin
  if problem is null then
    perform embedder.generate_functions(p);
  end if;
  return problem;
end
$$;
