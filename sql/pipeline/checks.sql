-- What a declaration must fulfil. Each check raises one error that says what was wrong and what to do.

-- Checks a declaration, and completes it.
-- Callable by: everybody.
create or replace function embedder.check_pipeline(p embedder.pipeline, path text) returns embedder.pipeline
language plpgsql set search_path = pg_catalog, pg_temp as $$
declare
  filter_columns text[];
begin
  perform embedder.check_task(p.task);
  perform embedder.check_source(p);
  perform 1 from embedder.parse_input(p.source, p.input);
  perform embedder.check_options(p.task, p.options);
  -- As many terms as an index takes.
  p.options := case when embedder.is_sparse(p.options) then '{"top_k": 1000}' else '{}'::jsonb end || coalesce(p.options, '{}');
  p.chunking := embedder.check_chunking(p, p.chunking);
  p.dimensions := embedder.model_dimensions(p.model, p.task, p.options);
  p.index := embedder.check_index(p);
  p.index_options := embedder.check_index_options(p);
  p.priority := coalesce(p.priority, 0);
  p.max_attempts := coalesce(p.max_attempts, 5);
  if p.max_attempts not between 1 and 1000 then
    raise exception 'max_attempts is %, and must be from 1 to 1000', p.max_attempts using errcode = 'invalid_parameter_value';
  end if;
  select c.checked, c.columns into p.filter, filter_columns from embedder.check_filter(p.source, p.filter, path) c;
  p.key_columns := (select array_agg(k.column_name order by k.place) from embedder.key_columns(p.source) k);
  p.columns := embedder.used_columns(p, filter_columns);
  perform embedder.check_virtual(p);
  return p;
end
$$;

drop function if exists embedder.name_taken(text);

-- A pipeline that the caller does not see is found by the trigger that checks the row (sql/pipeline/installation.sql).
-- Callable by: everybody.
create or replace function embedder.check_name(name text) returns void
language plpgsql set search_path = pg_catalog, pg_temp as $$
begin
  perform embedder.check_length('pipeline', name);
  if exists (select from embedder.pipeline e where e.name = check_name.name) then
    raise exception 'pipeline "%" exists already', name
      using errcode = 'duplicate_object',
        hint = 'Give another name => ..., or if_not_exists => true, or drop it first: select embedder.drop_pipeline(...).';
  end if;
end
$$;

-- Callable by: everybody.
create or replace function embedder.check_task(task text) returns void
language plpgsql immutable set search_path = pg_catalog, pg_temp as $$
declare
  known text[] := array(select t.name from embedder.tasks() t);
begin
  if task is null or not task = any (known) then
    raise exception 'there is no task "%"', task using errcode = 'invalid_parameter_value',
      hint = format('%sUse %s.', embedder.did_you_mean(task, known), embedder.one_of(known));
  end if;
end
$$;

-- "a, b or c"
-- Callable by: everybody.
create or replace function embedder.one_of(names text[]) returns text
language sql immutable set search_path = pg_catalog, pg_temp as $$
  select regexp_replace(array_to_string(names, ', '), ', ([^,]*)$', e' or \\1')
$$;

-- Callable by: everybody.
create or replace function embedder.check_source(p embedder.pipeline) returns void
language plpgsql set search_path = pg_catalog, pg_temp as $$
declare
  c pg_class;
  problem text;
  advice text := 'Name an ordinary table with a primary key.';
begin
  select * into c from pg_class where oid = p.source;
  if current_setting('server_encoding') = 'SQL_ASCII' then
    raise exception 'database "%" has the encoding SQL_ASCII, by which PostgreSQL does not know what characters its texts are made of', current_database()
      using errcode = 'feature_not_supported', hint = 'Make it anew in the encoding of its texts, and restore a dump into that: createdb --encoding UTF8 --template template0.';
  elsif c.relpersistence = 't' then
    problem := 'is temporary: no worker can see it';
  elsif c.relispartition then
    problem := 'is a partition';
    advice := 'Name the partitioned table itself; its partitions come with it.';
  elsif c.relkind in ('v', 'm') then
    raise exception '% is a % view: nothing tells when its rows change', p.source, case c.relkind when 'm' then 'materialized' else 'mere' end
      using errcode = 'wrong_object_type', hint = format('Make the pipeline on a table under it%s.', (
        select ': ' || string_agg(distinct d.refobjid::regclass::text, ', ') from pg_rewrite w
        join pg_depend d on d.classid = 'pg_rewrite'::regclass and d.objid = w.oid and d.refclassid = 'pg_class'::regclass and d.refobjid <> p.source
        where w.ev_class = p.source));
  elsif c.relkind = 'f' then
    raise exception '% is a foreign table: nothing here tells when its rows change', p.source
      using errcode = 'wrong_object_type', hint = 'Make the pipeline in the database that the table is in.';
  elsif c.relkind not in ('r', 'p') then
    problem := 'is not a table';
  elsif c.relnamespace in ('pg_catalog'::regnamespace, 'information_schema'::regnamespace, 'embedder'::regnamespace) then
    problem := 'belongs to the system';
  elsif embedder.foreign_below(p.source) is not null then
    problem := format('has a foreign table below it, %s, whose rows no trigger sees', embedder.foreign_below(p.source));
    advice := 'Detach it, or make the pipeline on a table without foreign partitions or children.';
  elsif embedder.is_temporal(p.source) then
    problem := 'has a primary key "without overlaps", by which one row cannot be told from another';
    advice := 'Make a key of plain columns the primary one, and the other a unique constraint.';
  elsif not exists (select from embedder.key_columns(p.source)) then
    problem := 'has no primary key';
    advice := format('Add one: alter table %s add column id bigint generated always as identity primary key;', p.source);
  elsif embedder.is_hidden(p.source) then
    raise exception '%', embedder.hidden(p.source) using errcode = 'object_not_in_prerequisite_state',
      hint = format('alter table %s no force row level security; or, as a superuser: alter role %s bypassrls;', p.source, c.relowner::regrole);
  elsif not embedder.may_manage(p.source) then
    raise exception 'table % belongs to %', p.source, c.relowner::regrole using errcode = 'insufficient_privilege',
      hint = 'Only its owner, a member of that role, or of embedder_admin makes a pipeline on it.';
  end if;
  if problem is not null then
    raise exception 'table % %', p.source, problem using errcode = 'wrong_object_type', hint = advice;
  end if;
end
$$;

-- A foreign table among the partitions or children of a table: statements through the table fail where triggers have transition tables.
-- Callable by: everybody.
create or replace function embedder.foreign_below(source regclass) returns regclass
language plpgsql stable set search_path = pg_catalog, pg_temp as $$
begin
  return (
    with recursive below as (
      select source::oid as member union select i.inhrelid from below b join pg_inherits i on i.inhparent = b.member
    ) select c.oid::regclass from below b join pg_class c on c.oid = b.member and c.relkind = 'f' limit 1);
end
$$;

-- Whether the primary key is one "without overlaps".
-- Callable by: everybody.
create or replace function embedder.is_temporal(source regclass) returns boolean
language sql stable set search_path = pg_catalog, pg_temp as $$
  select exists (
    select from pg_index i join pg_class x on x.oid = i.indexrelid join pg_am m on m.oid = x.relam
    where i.indrelid = source and i.indisprimary and m.amname <> 'btree')
$$;

-- A virtual generated column has no value where triggers run. Null where the pipeline reads none.
-- Callable by: everybody.
create or replace function embedder.virtual_column(p embedder.pipeline) returns text
language sql stable set search_path = pg_catalog, pg_temp as $$
  select format('column "%s" of %s is a virtual generated column, and triggers do not see when it changes', min(a.attname), p.source)
  from pg_attribute a where a.attrelid = p.source and a.attgenerated = 'v' and p.columns ? a.attname
  having count(*) > 0
$$;

-- Callable by: everybody.
create or replace function embedder.check_virtual(p embedder.pipeline) returns void
language plpgsql stable set search_path = pg_catalog, pg_temp as $$
begin
  if embedder.virtual_column(p) is not null then
    raise exception '%', embedder.virtual_column(p)
      using errcode = 'feature_not_supported', hint = 'Make it a stored one, or name the columns that it is made of.';
  end if;
end
$$;

-- Whether the current user may make and change pipelines on this table.
-- Callable by: everybody.
create or replace function embedder.may_manage(source regclass) returns boolean
language sql stable set search_path = pg_catalog, pg_temp as $$
  select coalesce((select pg_has_role(current_user, relowner, 'USAGE') from pg_class where oid = source), false)
    or embedder.is_member('embedder_admin')
$$;

-- Whether the current user is a member of a role, which may not exist.
-- Callable by: everybody.
create or replace function embedder.is_member(role_name text) returns boolean
language sql stable set search_path = pg_catalog, pg_temp as $$
  select coalesce((select pg_has_role(current_user, oid, 'USAGE') from pg_roles where rolname = role_name), false)
$$;

-- Callable by: everybody.
create or replace function embedder.check_options(task text, options jsonb) returns void
language plpgsql set search_path = pg_catalog, pg_temp as $$
declare
  option record;
  expected text;
  missing text;
begin
  if options is not null and jsonb_typeof(options) <> 'object' then
    raise exception 'options is %, and must be a jsonb object', jsonb_typeof(options)
      using errcode = 'invalid_parameter_value', hint = 'For example {"prompt": "passage: "}.';
  end if;
  for option in select key, value from jsonb_each(coalesce(options, '{}')) loop
    expected := (select k.wanted from embedder.known_options(task) k where k.option = option.key);
    if expected is null then
      raise exception '% has no option "%"', task, option.key using errcode = 'invalid_parameter_value',
        hint = format('%sIts options: %s.', embedder.did_you_mean(option.key, array(select k.option from embedder.known_options(task) k)),
          (select string_agg(k.option, ', ') from embedder.known_options(task) k));
    elsif not embedder.fits_option(option.key, option.value) then
      raise exception 'option "%" is %, and must be %', option.key, left(option.value::text, 200), expected using errcode = 'invalid_parameter_value';
    end if;
  end loop;
  missing := (select min(key) from embedder.tasks() t, jsonb_object_keys(t.needs) key where t.name = task and not coalesce(options, '{}') ? key);
  if missing is not null then
    raise exception '% needs the option "%"', task, missing using errcode = 'invalid_parameter_value',
      hint = format('For example options => %L.', (select t.needs from embedder.tasks() t where t.name = task));
  elsif embedder.result_of(task) = 'vector' then
    perform embedder.check_vector_options(task, coalesce(options, '{}'));
  end if;
end
$$;

-- Options of vectors that do not go together, or not with this pgvector. src/tasks/feature-extraction.ts has the same rules.
-- Callable by: everybody.
create or replace function embedder.check_vector_options(task text, options jsonb) returns void
language plpgsql stable set search_path = pg_catalog, pg_temp as $$
declare
  kind text := coalesce(options ->> 'vector_type', 'vector');
  named text;
begin
  if kind <> 'vector' and embedder.vector_type(kind) is null then
    raise exception 'this pgvector has no type %', kind using errcode = 'feature_not_supported',
      hint = 'It came with pgvector 0.7: install a newer one, then: alter extension vector update;';
  elsif embedder.is_sparse(options) then
    if to_regproc('embedder.embed_sparse') is null then
      raise exception 'the type sparsevec came into this database after pgembedder''s functions' using errcode = 'object_not_in_prerequisite_state',
        hint = 'Run: pgembedder migrate';
    end if;
    named := (select min(key) from jsonb_object_keys(options) key where key in ('pooling', 'normalize'));
    if named is not null then
      raise exception 'option "%" is not for sparse vectors', named using errcode = 'invalid_parameter_value',
        hint = 'Leave it out: they are pooled as their model says, and are not scaled.';
    end if;
  elsif options ? 'top_k' then
    raise exception 'option "top_k" is for sparse vectors' using errcode = 'invalid_parameter_value',
      hint = 'Leave it out, or say "vector_type": "sparsevec" as well.';
  end if;
  named := case when (options ->> 'top_k')::int > 16000 then 'top_k'
    when (options ->> 'dimensions')::int > 16000 and not embedder.is_sparse(options) then 'dimensions' end;
  if named is not null then
    raise exception 'option "%" is %, and must be %', named, options -> named, (select k.wanted from embedder.known_options(task) k where k.option = named)
      using errcode = 'invalid_parameter_value';
  end if;
end
$$;

-- src/chunking/parse-chunking.ts has the same rules, and test/sql/options.test.ts runs one list of cases against both.
-- Callable by: everybody.
create or replace function embedder.check_chunking(p embedder.pipeline, chunking jsonb) returns jsonb
language plpgsql stable set search_path = pg_catalog, pg_temp as $$
declare
  size int := 256;
  overlap int := 32;
  longest int := (select m.max_tokens - 2 from embedder.model m where m.name = p.model);
  unknown text;
begin
  if chunking is null or chunking in ('null', '{}') then return null; end if;
  if not p.sidecar then
    raise exception 'chunking needs a sidecar: a column holds one result a row' using errcode = 'invalid_parameter_value',
      hint = 'Leave target_column out.';
  elsif jsonb_typeof(chunking) <> 'object' then
    raise exception 'chunking is %, and must be a jsonb object', jsonb_typeof(chunking) using errcode = 'invalid_parameter_value',
      hint = 'For example {"strategy": "recursive", "size": 256, "overlap": 32}.';
  end if;
  select min(key) into unknown from jsonb_object_keys(chunking) key where key not in ('strategy', 'size', 'overlap', 'separators', 'template');
  if unknown is not null then
    raise exception 'chunking has no "%"', unknown using errcode = 'invalid_parameter_value',
      hint = embedder.did_you_mean(unknown, '{strategy,size,overlap,separators,template}') || 'It has strategy, size, overlap, separators, template.';
  elsif coalesce(chunking ->> 'strategy', '') not in ('tokens', 'recursive', 'markdown') then
    raise exception 'chunking has no strategy "%"', chunking ->> 'strategy' using errcode = 'invalid_parameter_value',
      hint = embedder.did_you_mean(chunking ->> 'strategy', '{tokens,recursive,markdown}') || 'Use tokens, recursive or markdown.';
  elsif exists (select from jsonb_each(chunking) where key in ('size', 'overlap') and value::text !~ '^[0-9]{1,4}$') then
    raise exception 'size and overlap of chunking are whole numbers of tokens' using errcode = 'invalid_parameter_value';
  elsif chunking ? 'separators' and (chunking ->> 'strategy' = 'tokens' or not case jsonb_typeof(chunking -> 'separators')
      when 'array' then jsonb_array_length(chunking -> 'separators') between 1 and 20
        and embedder.are_strings(chunking -> 'separators', 100) and not chunking -> 'separators' ? ''
      else false end) then
    raise exception 'separators is for the strategies recursive and markdown: an array of 1 to 20 strings of 1 to 100 characters, the coarsest first'
      using errcode = 'invalid_parameter_value', hint = e'For example ["\\n\\n", "\\n", ". "].';
  end if;
  size := coalesce((chunking ->> 'size')::int, least(size, longest));
  overlap := coalesce((chunking ->> 'overlap')::int, least(overlap, size / 8));
  if size < 8 or size > 8192 or overlap * 2 >= size then
    raise exception 'chunking has size % and overlap %', size, overlap using errcode = 'invalid_parameter_value',
      hint = 'size is from 8 to 8192 tokens, overlap less than half of it.';
  elsif size > longest then
    raise exception 'chunks of % tokens are too long for model "%"', size, p.model using errcode = 'invalid_parameter_value',
      hint = format('It takes %s beside its two special tokens.', longest);
  end if;
  perform embedder.parse_wrapping(p.source, chunking ->> 'template');
  return chunking || jsonb_build_object('size', size, 'overlap', overlap);
end
$$;

-- The length of the target's vectors; null for a task without. A model that nobody has seen yet needs it said, since the
-- target is made now.
-- Callable by: everybody.
create or replace function embedder.model_dimensions(model text, task text, options jsonb) returns int
language plpgsql stable set search_path = pg_catalog, pg_temp as $$
declare
  m embedder.model;
  wanted int := (options ->> 'dimensions')::int;
  sparse boolean := embedder.is_sparse(options);
begin
  if model is null then
    raise exception 'the model is missing' using errcode = 'invalid_parameter_value';
  end if;
  select * into m from embedder.model e where e.name = model_dimensions.model;
  if m.task <> model_dimensions.task
    and not exists (select from embedder.tasks() t where t.name = model_dimensions.task and m.task = any (t.models))
  then
    raise exception 'model "%" is for %, not for %', model, m.task, task using errcode = 'invalid_parameter_value';
  elsif m.sparse <> sparse and embedder.result_of(task) = 'vector' then
    raise exception 'model "%" gives % vectors, and vector_type is "%"', model, case when sparse then 'dense' else 'sparse' end, coalesce(options ->> 'vector_type', 'vector')
      using errcode = 'invalid_parameter_value', hint = case when sparse then 'Leave vector_type out, or choose a SPLADE model.'
        else 'Say: options => ''{"vector_type": "sparsevec"}''.' end;
  elsif m.sparse and embedder.result_of(task) <> 'vector' then
    raise exception 'model "%" gives sparse vectors, and % takes dense ones', model, task
      using errcode = 'invalid_parameter_value', hint = 'Choose another model.';
  elsif embedder.result_of(task) <> 'vector' then
    return null;
  elsif m.name is null and wanted is null then
    raise exception 'nobody knows the model "%" yet', model using errcode = 'undefined_object',
      hint = format('%sKnown: %s. For another one say the length of its vectors: options => ''{"dimensions": 384}''.',
        embedder.did_you_mean(model, array(select e.name from embedder.model e where e.task = model_dimensions.task)), (select string_agg(e.name, ', ' order by e.name) from embedder.model e where e.task = model_dimensions.task));
  elsif sparse and wanted <> m.dimensions then
    raise exception 'model "%" gives sparse vectors of % dimensions, not of %', model, m.dimensions, wanted
      using errcode = 'invalid_parameter_value', hint = 'Leave dimensions out: each stands for a token, and none can be cut off. top_k says how many terms are kept.';
  elsif wanted > m.dimensions then
    raise exception 'model "%" gives vectors of % dimensions, not of %', model, m.dimensions, wanted
      using errcode = 'invalid_parameter_value', hint = 'Fewer are possible: the vectors are cut, as Matryoshka models allow.';
  elsif coalesce(wanted, m.dimensions) > 16000 and not sparse then
    raise exception 'pgvector holds vectors of up to 16,000 dimensions, these have %', coalesce(wanted, m.dimensions)
      using errcode = 'program_limit_exceeded',
        hint = 'Choose another model. If its vectors are sparse (SPLADE), say: options => ''{"vector_type": "sparsevec"}''.';
  end if;
  return coalesce(wanted, m.dimensions);
end
$$;

-- Callable by: everybody.
create or replace function embedder.check_index(p embedder.pipeline) returns text
language plpgsql immutable set search_path = pg_catalog, pg_temp as $$
declare
  most int := case embedder.vector_kind(p) when 'vector' then 2000 when 'halfvec' then 4000 end;
  top_k int := (p.options ->> 'top_k')::int;
begin
  if p.index is null or p.index not in ('hnsw', 'ivfflat', 'none') then
    raise exception 'there is no index "%"', p.index using errcode = 'invalid_parameter_value', hint = embedder.did_you_mean(p.index, '{hnsw,ivfflat,none}') || 'Use hnsw, ivfflat or none.';
  elsif embedder.result_of(p.task) <> 'vector' then
    return 'none';
  elsif embedder.is_sparse(p.options) and p.index = 'ivfflat' then
    raise exception 'pgvector has no index ivfflat for sparse vectors' using errcode = 'invalid_parameter_value', hint = 'Give index => ''hnsw'', or ''none''.';
  elsif embedder.is_sparse(p.options) and p.index <> 'none' and top_k > 1000 then
    raise exception 'pgvector indexes sparse vectors of up to 1,000 terms, and top_k is %', top_k using errcode = 'program_limit_exceeded',
      hint = 'Give a top_k of up to 1,000, or index => ''none''.';
  elsif p.index <> 'none' and p.dimensions > most then
    raise exception 'pgvector indexes vectors of up to % dimensions, these have %', to_char(most, 'FM9,999'), p.dimensions
      using errcode = 'program_limit_exceeded',
        hint = 'Give index => ''none''' || case most when 2000 then ', or options => ''{"vector_type": "halfvec"}'' (up to 4,000).' else '.' end;
  end if;
  return p.index;
end
$$;

-- Callable by: everybody.
create or replace function embedder.check_index_options(p embedder.pipeline) returns jsonb
language plpgsql stable set search_path = pg_catalog, pg_temp as $$
declare
  option record;
  allowed text[] := case p.index when 'hnsw' then '{m,ef_construction,operator_class}' when 'ivfflat' then '{lists,operator_class}' else '{}' end;
begin
  for option in select key, value, value #>> '{}' as text from jsonb_each(coalesce(p.index_options, '{}')) loop
    if not option.key = any (allowed) then
      raise exception 'index % has no option "%"', p.index, option.key using errcode = 'invalid_parameter_value',
        hint = case when p.index = 'none' then 'Leave index_options out.'
          else format('%sIts options: %s.', embedder.did_you_mean(option.key, allowed), array_to_string(allowed, ', ')) end;
    elsif option.key = 'operator_class' then
      if not exists (select from pg_opclass o join pg_am a on a.oid = o.opcmethod join pg_type t on t.oid = o.opcintype
          where o.opcname = option.text and a.amname = p.index and t.typname = embedder.vector_kind(p)) then
        raise exception '% has no operator class "%" for %', p.index, option.text, embedder.vector_kind(p)
          using errcode = 'undefined_object', hint = embedder.did_you_mean(option.text, array(
            select o.opcname::text from pg_opclass o join pg_am a on a.oid = o.opcmethod join pg_type t on t.oid = o.opcintype
            where a.amname = p.index and t.typname = embedder.vector_kind(p)))
            || 'For example vector_cosine_ops, vector_l2_ops, vector_ip_ops, halfvec_cosine_ops, sparsevec_ip_ops.';
      end if;
    elsif option.text !~ '^[1-9][0-9]{0,5}$' then
      raise exception 'index option "%" is %, and must be a whole number', option.key, option.value using errcode = 'invalid_parameter_value';
    end if;
  end loop;
  return coalesce(p.index_options, '{}');
end
$$;
