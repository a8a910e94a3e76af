-- What puts jobs on the queue.

-- The statement that puts row keys on the queue; due is a query for (row_key, fresh). A job that is there
-- already is made new: due now, with all its attempts, and with a version that no batch under way can match.
create or replace function embedder.enqueue_statement(p embedder.pipeline, due text) returns text
language sql immutable set search_path = pg_catalog, pg_temp as $$
  select format($f$
    insert into %s as j (row_key, fresh) %s
    on conflict (pipeline_id, row_key) do update
      set version = excluded.version, due_at = excluded.due_at, attempts = 0, leased_by = null, last_error = null,
        fresh = j.fresh or excluded.fresh;
    %s$f$, embedder.book(p, 'job'), due, embedder.wake_statement())
$$;

-- The same for rows that are new, and so have no job as a rule: a plain insert takes 5 us less. It fails where one has a job all the same.
create or replace function embedder.enqueue_new_statement(p embedder.pipeline, due text) returns text
language sql immutable set search_path = pg_catalog, pg_temp as $$
  select format(e'\n    insert into %s (row_key, fresh) %s;%s', embedder.book(p, 'job'), due, embedder.wake_statement())
$$;

drop function if exists embedder.source_of(text);

-- Every role that may write the table may queue its rows (sql/pipeline/command.sql).
-- Callable by: everybody.
create or replace function embedder.enqueue_embed(pipeline text, row_key text) returns boolean
language sql set search_path = pg_catalog, pg_temp as $$
  select embedder.command(null, 'enqueue', jsonb_build_object('row_key', row_key), pipeline)::boolean
$$;

create or replace function embedder.enqueue_row(pipeline text, row_key text) returns boolean
language plpgsql set search_path = pg_catalog, pg_temp as $$
declare
  p embedder.pipeline;
  key text;
  waiting boolean := true;
  queued boolean := true;
  there jsonb;
begin
  -- Every generation of it.
  for p in select * from embedder.pipeline e where e.name = pipeline loop
    begin
      execute format('select embedder.%I($1)', format('pipeline_%s_row_key', p.id)) into key using row_key;
    exception when data_exception then
      key := null;
    end;
    if key is null then
      raise exception 'row key % does not fit the key of pipeline "%"', quote_nullable(row_key), p.name
        using errcode = 'invalid_parameter_value',
          hint = format('Its key: %s.%s',
            (select string_agg(format('%s %s', k.column_name, k.type_name), ', ' order by k.place) from embedder.key_columns(p.source) k),
            case when cardinality(p.key_columns) > 1 then ' Give a jsonb object with these fields.' else '' end);
    end if;
    waiting := waiting and exists (
      select from embedder.job j
      where j.pipeline_id = p.id and j.row_key = key and embedder.job_state(j) = 'due');
    execute format('select embedder.%I($1)', format('pipeline_%s_enqueue', p.id)) using array[key];
    -- Not if its key is too long (sql/generated/long_keys.sql).
    queued := queued and exists (select from embedder.job j where j.pipeline_id = p.id and j.row_key = key);
    -- Queued also when the row is gone: what is left of it in the target is removed.
    execute format('select embedder.%I($1)', format('pipeline_%s_ask', p.id)) into there using
      format('select to_jsonb(exists (select from %s source where %s))', p.source, embedder.key_matches(p.source, 'source', quote_literal(key)));
  end loop;
  return not waiting and queued and there = 'true';
end
$$;
comment on function embedder.enqueue_embed(text, text) is
  'Queues one row. True: it was put on the queue; false: it was already waiting there, is no row of the table, or has a key that is too long.';

-- Callable by: everybody.
create or replace function embedder.enqueue_embed(pipeline text, row_key anyelement) returns boolean
language sql set search_path = pg_catalog, pg_temp as $$
  -- Through jsonb, whose form of times and dates is the same in every session.
  select embedder.enqueue_embed(pipeline, to_jsonb(row_key) #>> '{}')
$$;
comment on function embedder.enqueue_embed(text, anyelement) is
  'Queues one row; a key of several columns as a jsonb object.';

-- Callable by: everybody.
create or replace function embedder.retry_failed(name text default null) returns bigint
language plpgsql set search_path = pg_catalog, pg_temp as $$
declare
  wanted text := case when name is not null then (embedder.own_pipeline(name)).name end;
begin
  return (
    select coalesce(sum(embedder.command(p.id, 'retry')::bigint), 0) from embedder.pipeline p
    where case when wanted is not null then p.name = wanted else embedder.may_manage(p.source) or not row_security_active('embedder.pipeline') end);
end
$$;
comment on function embedder.retry_failed is 'Puts the dead letters of a pipeline, or of all, back on the queue with all their attempts. Returns how many.';
