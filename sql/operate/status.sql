-- Views and functions for people who look at the queue.

-- Which pipelines a view shows: those of the reader's tables, and all of them to an operator. The views read with the rights of the schema's owner.
-- Callable by: everybody.
create or replace function embedder.may_see(source regclass) returns boolean
language sql stable set search_path = pg_catalog, pg_temp
return embedder.may_manage(source) or embedder.is_member('embedder_reader') or embedder.is_member('embedder_worker')
  or current_user = (select nspowner::regrole::name from pg_namespace where nspname = 'embedder');

create or replace view embedder.failed_job with (security_barrier) as
select p.name as pipeline, d.row_key, d.attempts, d.error, d.failed_at
from embedder.dead_letter d join embedder.pipeline p on p.id = d.pipeline_id
where embedder.may_see(p.source);
comment on view embedder.failed_job is 'Dead letters: rows that used up their attempts. Bring them back with embedder.retry_failed(pipeline).';

-- What the queue says of each pipeline. Reads neither source nor target. A view for the views below alone: these read its tables with
-- the rights of the views' owner, while a function would have to be callable by everybody.
create or replace view embedder.queue_count as
select p.id as pipeline_id,
  case when p.uncounted_since is null then t.source_rows + j.fresh end as source_rows, t.embedded_rows, j.pending, j.leased,
  (select count(*) from embedder.dead_letter d where d.pipeline_id = p.id) as failed,
  j.oldest_due_age, round(coalesce(t.done / greatest(t.seconds, 1), 0), 1) as rows_per_second,
  -- An estimate.
  (select coalesce(sum(r.rows_left), 0)::bigint from embedder.backfill_range r where r.pipeline_id = p.id) as rows_left,
  coalesce(p.trigger_error, (select t.missed from embedder.tally t where t.pipeline_id = p.id and t.missed is not null limit 1), p.error, p.index_error,
    (select format('its backfill stopped: %s', r.error) from embedder.backfill_run r where r.pipeline_id = p.id and r.error is not null limit 1)) as error,
  (select count(*) from embedder.empty_row e where e.pipeline_id = p.id
    and not exists (select from embedder.job j where j.pipeline_id = p.id and j.row_key = e.row_key)
    and not exists (select from embedder.dead_letter d where d.pipeline_id = p.id and d.row_key = e.row_key)) as empty_rows
from embedder.pipeline p
cross join lateral (
  select coalesce(embedder.bounded(sum(t.source_rows)), 0) as source_rows, coalesce(embedder.bounded(sum(t.embedded_rows)), 0) as embedded_rows,
    sum(t.done) filter (where t.at > now() - interval '1 minute') as done,
    extract(epoch from now() - min(t.at) filter (where t.at > now() - interval '1 minute' and t.done > 0))::numeric as seconds
  from embedder.tally t where t.pipeline_id = p.id) t
cross join lateral (
  select count(*) filter (where embedder.job_state(j) <> 'leased') as pending,
    count(*) filter (where embedder.job_state(j) = 'leased') as leased,
    now() - min(greatest(j.due_at, 'epoch')) filter (where embedder.job_state(j) = 'due') as oldest_due_age, count(*) filter (where j.fresh) as fresh
  from embedder.job j where j.pipeline_id = p.id) j;

-- Of the rows that wait or have failed, those that have a result: it reads only these. Null where the tables are just being changed.
-- Callable by: everybody.
create or replace function embedder.stale_rows(pipeline int) returns bigint
language plpgsql stable set search_path = pg_catalog, pg_temp set jit = off as $$
declare
  stale bigint;
begin
  execute format('select embedder.%I()', format('pipeline_%s_stale', pipeline)) into stale;
  return stale;
exception when insufficient_privilege or undefined_table or undefined_column or undefined_function or datatype_mismatch or data_exception or insufficient_privilege then
  return null;
end
$$;

-- Callable by: everybody.
create or replace function embedder.state_of(p embedder.pipeline, error text) returns text
language sql immutable set search_path = pg_catalog, pg_temp
return case
  when p.paused then 'paused'
  when error is not null then 'error'
  when p.filled_at is null then 'filling'
  else 'live'
end;

-- What a worker tells Prometheus of the queue: every generation of every pipeline.
-- Callable by: workers, with the rights of the schema's owner.
create or replace function embedder.queue_metrics()
returns table (
  pipeline text, generation int, model text, state text, source_rows bigint, embedded_rows bigint, pending bigint, leased bigint,
  failed bigint, backfill_rows bigint, oldest_due_seconds double precision)
language sql stable security definer set search_path = pg_catalog, pg_temp set jit = off as $$
  select p.name, p.generation, p.model, embedder.state_of(p, c.error), c.source_rows, c.embedded_rows, c.pending, c.leased,
    c.failed, c.rows_left, coalesce(extract(epoch from c.oldest_due_age), 0)::double precision
  from embedder.pipeline p join embedder.queue_count c on c.pipeline_id = p.id
$$;
comment on function embedder.queue_metrics is 'The queue, as a worker''s /metrics has it.';

-- Rows of each pipeline that workers have done in the last minute.
-- Callable by: workers, with the rights of the schema's owner.
create or replace function embedder.recent_rows() returns table (pipeline text, done bigint)
language sql stable security definer set search_path = pg_catalog, pg_temp as $$
  select p.name, coalesce(embedder.bounded(sum(t.done) filter (where t.at > now() - interval '1 minute')), 0)
  from embedder.pipeline p left join embedder.tally t on t.pipeline_id = p.id
  group by p.name
$$;
comment on function embedder.recent_rows is 'What a worker keeps of the last hour for its dashboard.';

-- A barrier: no function in a reader's query sees the rows that it leaves out.
create or replace view embedder.status with (security_barrier) as
select
  p.name as pipeline, p.source, p.task, p.model, p.generation,
  embedder.state_of(p, c.error) as state,
  c.error,
  c.source_rows, c.embedded_rows, s.stale_rows,
  c.pending, c.leased, c.failed,
  round((c.embedded_rows - s.stale_rows + c.empty_rows)::numeric / nullif(c.source_rows, 0), 4) as coverage,
  c.oldest_due_age, c.rows_per_second, c.rows_left as backfill_rows_estimate,
  case when c.rows_per_second > 0 and c.pending + c.leased + c.rows_left > 0
    then make_interval(secs => ceil((c.pending + c.leased + c.rows_left) / c.rows_per_second)::double precision) end as time_left_estimate,
  i.state as index_state, p.index,
  n.generation as next_generation, n.model as next_model,
  case when n.id is not null then coalesce(nc.error, case when n.filled_at is null then 'filling' else 'filled' end) end as next_state,
  round((nc.embedded_rows - ns.stale_rows + nc.empty_rows)::numeric / nullif(nc.source_rows, 0), 4) as next_coverage,
  p.target_table, p.target_column, p.created_at, p.filled_at,
  embedder.warning_of(p) as warning, c.empty_rows
from embedder.pipeline p
-- offset 0: counted for the pipelines that are shown, one by one.
cross join lateral (select * from embedder.queue_count q where q.pipeline_id = p.id offset 0) c
cross join lateral (select embedder.stale_rows(p.id) as stale_rows) s
cross join lateral embedder.index_state(p) i
left join embedder.pipeline n on n.name = p.name and not n.live
left join lateral (select * from embedder.queue_count q where q.pipeline_id = n.id offset 0) nc on true
left join lateral (select embedder.stale_rows(n.id) as stale_rows where n.id is not null) ns on true
where p.live and embedder.may_see(p.source);
comment on view embedder.status is 'One row a pipeline, with exact counts; an estimate is named so.';
comment on column embedder.status.source_rows is 'Rows of the source, of those that the filter lets in; null while a worker has yet to count: a large table, or one with a filter, after a declaration, a change of the table or a migrate.';
comment on column embedder.status.embedded_rows is 'Rows that have a result.';
comment on column embedder.status.stale_rows is 'Rows with a result whose text has changed since: queued or failed.';
comment on column embedder.status.coverage is 'Share of the source rows that are done: (embedded_rows - stale_rows + empty_rows) / source_rows.';
comment on column embedder.status.pending is 'Jobs that wait: due now, or after a backoff. Rows of a backfill are no jobs yet.';
comment on column embedder.status.leased is 'Jobs that a worker holds.';
comment on column embedder.status.failed is 'Dead letters.';
comment on column embedder.status.oldest_due_age is 'How long the oldest job that is due has been waiting; null when none is.';
comment on column embedder.status.rows_per_second is 'Jobs done a second, over the last minute.';
comment on column embedder.status.backfill_rows_estimate is 'About how many rows backfills have yet to look at.';
comment on column embedder.status.time_left_estimate is 'Jobs and backfill rows by the present rate; null while nothing moves.';
comment on column embedder.status.empty_rows is 'Rows without text, which need no result: those that a worker has looked at.';
comment on column embedder.status.warning is 'What keeps changes of the source from being queued: disabled triggers, logical replication into it.';
comment on column embedder.status.index_state is 'none, waiting (for the first filling), building with its progress, built, or what went wrong.';

drop function if exists embedder.count_rows(int);

drop function if exists embedder.count_queue(int);

drop function if exists embedder.backfill_rows_left(int);

drop function if exists embedder.trouble(embedder.pipeline);
