-- Comparing all that there is: whether each row has its result, and the queue and the counts are right.

-- What a caller needs for it: the pipeline's own function, which is the table owner's.
-- Callable by: everybody.
create or replace function embedder.check_verifiable(p embedder.pipeline) returns void
language plpgsql stable set search_path = pg_catalog, pg_temp as $$
declare
  f regprocedure := to_regprocedure(format('embedder.pipeline_%s_verify()', p.id));
begin
  if f is null then
    raise exception 'pipeline "%" cannot be checked: %', p.name, coalesce(p.error, 'its functions are missing')
      using errcode = 'object_not_in_prerequisite_state', hint = 'Run: pgembedder migrate';
  elsif not has_function_privilege(f, 'execute') then
    raise exception 'pipeline "%" is not yours: its table % belongs to %', p.name, p.source, (select relowner::regrole from pg_class where oid = p.source)
      using errcode = 'insufficient_privilege', hint = 'Its owner, members of that role, and those of embedder_admin, embedder_reader and embedder_worker check it.';
  end if;
end
$$;

-- Callable by: everybody.
create or replace function embedder.verify(name text) returns table (row_key text, fault text)
language plpgsql stable set search_path = pg_catalog, pg_temp as $$
declare
  p embedder.pipeline := embedder.find_pipeline(name);
begin
  perform embedder.check_verifiable(p);
  return query execute format('select * from embedder.%I()', format('pipeline_%s_verify', p.id));
end
$$;
comment on function embedder.verify is
  'Rows of a pipeline that are not as they should be, and that nobody is about to work on: missing, stale, orphan, doubled, orphan_job, orphan_dead_letter. Reads source and target as a whole.';

-- The counts of embedder.status and those of the tables, at one moment. Null where a worker has yet to count.
-- Callable by: everybody.
create or replace function embedder.verify_counts(name text)
returns table (source_rows bigint, counted_source_rows bigint, embedded_rows bigint, counted_embedded_rows bigint)
language plpgsql stable set search_path = pg_catalog, pg_temp as $$
#variable_conflict use_column
declare
  p embedder.pipeline := embedder.find_pipeline(name);
begin
  perform embedder.check_verifiable(p);
  return query execute format('select s.source_rows, c.source_rows, s.embedded_rows, c.embedded_rows from embedder.status s, embedder.%I() c where s.pipeline = $1',
    format('pipeline_%s_count', p.id)) using p.name;
end
$$;
comment on function embedder.verify_counts is 'The counts of embedder.status beside those of the tables, which it reads as a whole.';

-- Some results of a pipeline, at random, with what the model was given for each: to be computed again and compared.
-- Callable by: everybody.
create or replace function embedder.sample_results(name text, wanted int default 100)
returns table (row_key text, chunk int, input text, result text)
language plpgsql stable set search_path = pg_catalog, pg_temp as $$
declare
  p embedder.pipeline := embedder.own_pipeline(name);
begin
  perform embedder.check_verifiable(p);
  if not has_function_privilege(format('embedder.pipeline_%s_sample(int)', p.id), 'execute') then
    raise exception 'role % may not read the rows of pipeline "%"', current_user, p.name using errcode = 'insufficient_privilege',
      hint = format('Ask as %s, the owner of %s.', (select relowner::regrole from pg_class where oid = p.source), p.source);
  end if;
  return query execute format('select * from embedder.%I($1)', format('pipeline_%s_sample', p.id)) using wanted;
end
$$;
comment on function embedder.sample_results is 'Results of a pipeline that are of the present text of their row, at random.';
