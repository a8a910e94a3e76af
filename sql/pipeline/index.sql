-- The index on a target. A worker builds it after the first filling, outside any transaction of a user's.

-- The vector indexes on a pipeline's target. One that an interrupted build left behind is not valid.
-- Callable by: everybody.
create or replace function embedder.target_indexes(p embedder.pipeline) returns table (index regclass, valid boolean)
language sql stable set search_path = pg_catalog, pg_temp as $$
  select x.indexrelid::regclass, x.indisvalid
  from pg_index x
  join pg_class c on c.oid = x.indexrelid
  join pg_am m on m.oid = c.relam and m.amname in ('hnsw', 'ivfflat')
  join pg_attribute a on a.attrelid = x.indrelid and a.attnum = x.indkey[0]
  where x.indrelid = p.target_table and a.attname = p.target_column
$$;

-- The operator class of a pipeline's index. Vectors of SPLADE models are made to be compared by their inner product.
-- Callable by: everybody.
create or replace function embedder.operator_class(p embedder.pipeline) returns text
language sql immutable set search_path = pg_catalog, pg_temp
return coalesce(p.index_options ->> 'operator_class', embedder.vector_kind(p) || case when embedder.is_sparse(p.options) then '_ip_ops' else '_cosine_ops' end);

-- The statement that makes a pipeline's index.
create or replace function embedder.index_statement(p embedder.pipeline) returns text
language sql stable set search_path = pg_catalog, pg_temp as $$
  select format('create index concurrently %I on %s using %I (%I %I.%I)%s',
    embedder.made_name(c.relname, format('_%s_%s', p.id, p.index)), p.target_table, p.index, p.target_column, n.nspname,
    embedder.operator_class(p),
    coalesce(' with (' || (
      select string_agg(format('%I = %L', o.key, o.value), ', ' order by o.key)
      from jsonb_each_text(
        -- Lists by pgvector's advice: rows / 1,000 up to a million rows, the square root beyond.
        case p.index when 'ivfflat' then jsonb_build_object('lists',
          greatest(1, case when c.reltuples < 1e6 then c.reltuples / 1000 else sqrt(c.reltuples) end)::int) else '{}' end
        || p.index_options - 'operator_class') o) || ')', ''))
  from pg_class c, pg_extension e join pg_namespace n on n.oid = e.extnamespace
  where c.oid = p.target_table and e.extname = 'vector'
$$;

-- For each filled pipeline without its index: the statements that make it, in order. An index that somebody has made
-- by hand serves as well. An index that is being built looks like one left behind: so one worker at a time builds
-- (begin_build), and a table on which a build is under way is left alone. That may be one whose worker has died.
-- Callable by: workers, with the rights of the schema's owner.
create or replace function embedder.missing_indexes() returns table (id int, pipeline text, statements text[], advice text)
language sql stable security definer set search_path = pg_catalog, pg_temp as $$
  select p.id, p.name,
    array(select format('drop index concurrently if exists %s', i.index) from embedder.target_indexes(p) i) || embedder.index_statement(p),
    embedder.memory_advice(p)
  from embedder.pipeline p
  where p.index <> 'none' and p.filled_at is not null and p.error is null and (p.index_error is null or p.index_retry_at <= now())
    and exists (select from pg_class c where c.oid = p.target_table)
    and not exists (select from embedder.target_indexes(p) i where i.valid)
    and not exists (select from pg_stat_progress_create_index g where g.relid = p.target_table and g.datname = current_database())
    and embedder.embedded_rows(p.id) > 0
$$;
comment on function embedder.missing_indexes is 'The statements that build the indexes that filled pipelines still lack.';

-- Lets one worker at a time build indexes: it may until it calls end_build, or until its heartbeat is gone.
-- Callable by: workers, with the rights of the schema's owner.
create or replace function embedder.begin_build(worker int) returns boolean
language plpgsql set search_path = pg_catalog, pg_temp as $$
begin
  -- Two workers at the same time get their answers one after the other. Any number, as long as it is always this one.
  perform pg_advisory_xact_lock(7306372119);
  update embedder.worker_process set building = true
  where id = worker and not exists (
    select from embedder.worker_process other
    where other.building and other.id <> worker and other.beat_at >= now() - embedder.worker_timeout());
  return found;
end
$$;
comment on function embedder.begin_build is 'Whether this worker may build indexes now: no other one does.';

-- Callable by: workers, with the rights of the schema's owner.
create or replace function embedder.end_build(worker int) returns void
language sql set search_path = pg_catalog, pg_temp as $$
  update embedder.worker_process set building = false where id = worker
$$;

create or replace function embedder.embedded_rows(pipeline int) returns bigint
language sql stable set search_path = pg_catalog, pg_temp as $$
  select coalesce(embedder.bounded(sum(t.embedded_rows)), 0) from embedder.tally t where t.pipeline_id = embedded_rows.pipeline
$$;

-- What an HNSW graph takes in memory while it is built: the vector and 2 * m links of about 16 bytes for each row, and a
-- tenth for the upper layers (the size of pgvector's HnswElement and its neighbours). Null where maintenance_work_mem holds it.
create or replace function embedder.memory_advice(p embedder.pipeline) returns text
language sql stable set search_path = pg_catalog, pg_temp as $$
  select case when p.index = 'hnsw' and need > given then
    format('the graph takes about %s and maintenance_work_mem is %s: the build will be slow; raise it for the worker''s role: alter role %I set maintenance_work_mem = %L',
      pg_size_pretty(need), pg_size_pretty(given), current_user, format('%sMB', need / 1048576 + 64)) end
  from (
    select (embedder.embedded_rows(p.id) * 1.1 * (
        -- Of a sparse vector a place and a number for each term: a text has about a hundred.
        case embedder.vector_kind(p) when 'sparsevec' then 8 * least((p.options ->> 'top_k')::int, 200) when 'halfvec' then 2 * p.dimensions else 4 * p.dimensions end
        + coalesce((p.index_options ->> 'm')::int, 16) * 2 * 16 + 150))::bigint as need,
      pg_size_bytes(current_setting('maintenance_work_mem')) as given) m
$$;

-- Notes why an index could not be built, and when it is tried again: after 30 s, and then after twice as long each time, up
-- to an hour. Null: it was built.
-- Callable by: workers, with the rights of the schema's owner.
create or replace function embedder.set_index_error(pipeline int, message text) returns void
language sql security definer set search_path = pg_catalog, pg_temp as $$
  update embedder.pipeline p set
    index_error = message,
    index_tries = case when message is null then 0 else p.index_tries + 1 end,
    index_retry_at = case when message is not null then now() + least(interval '30 seconds' * power(2, least(p.index_tries, 10)), interval '1 hour') end
  where p.id = set_index_error.pipeline and (message is not null or p.index_error is not null)
$$;

-- Whether the build of a pipeline's index waits for other transactions.
-- Callable by: workers, with the rights of the schema's owner.
create or replace function embedder.build_waits(pipeline int) returns boolean
language sql stable security definer set search_path = pg_catalog, pg_temp as $$
  select exists (select from pg_stat_progress_create_index g join embedder.pipeline p on p.target_table = g.relid
    where p.id = build_waits.pipeline and g.datname = current_database() and g.phase like 'waiting%')
$$;

-- The state of a pipeline's index. The progress of a build is visible to its own role, and to roles that may read all statistics.
-- Callable by: everybody.
create or replace function embedder.index_state(p embedder.pipeline, out state text)
language sql stable set search_path = pg_catalog, pg_temp as $$
  select case
    when p.index = 'none' then 'none'
    when exists (select from embedder.target_indexes(p) i where i.valid) then 'built'
    else coalesce(
      (select format('building: %s%s', g.phase, case when g.tuples_total > 0 then format(', %s %%', 100 * g.tuples_done / g.tuples_total)
          when g.blocks_total > 0 then format(', %s %%', 100 * g.blocks_done / g.blocks_total) else '' end
          || case when g.current_locker_pid > 0 then format(', waits for session %s', g.current_locker_pid) else '' end)
        from pg_stat_progress_create_index g where g.relid = p.target_table and g.datname = current_database() limit 1),
      p.index_error,
      -- Not valid yet.
      case when exists (select from embedder.target_indexes(p)) then 'building' else 'waiting' end) end
$$;
