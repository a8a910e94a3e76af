-- What a person looks at.

-- Whose pipelines a view shows: one's own, and to an operator all. The views read with the rights of the schema's owner.
create or replace function embedder.may_see(source regclass) returns boolean
language sql stable set search_path = pg_catalog, pg_temp
return embedder.may_manage(source) or embedder.is_member('embedder_reader') or embedder.is_member('embedder_worker')
  or current_user = (select nspowner::regrole::name from pg_namespace where nspname = 'embedder');

create or replace view embedder.failed_job as
select p.name as pipeline, d.row_key, d.attempts, d.error, d.failed_at
from embedder.dead_letter d join embedder.pipeline p on p.id = d.pipeline_id
where embedder.may_see(p.source);
comment on view embedder.failed_job is 'Dead letters: rows that used up their attempts. Bring them back with embedder.retry_failed(pipeline).';

-- Reads source and target whole, and corrects the counts: after they were changed where no trigger saw it.
create or replace function embedder.correct_tally(pipeline int) returns void
language plpgsql set search_path = pg_catalog, pg_temp as $$
begin
  -- In one statement, and so of one moment.
  execute format($f$
    insert into embedder.tally (pipeline_id, source_rows, embedded_rows)
    select $1, c.source_rows - t.source_rows - j.fresh, c.embedded_rows - t.embedded_rows
    from embedder.%I() c,
      (select coalesce(sum(source_rows), 0) as source_rows, coalesce(sum(embedded_rows), 0) as embedded_rows
        from embedder.tally where pipeline_id = $1) t,
      (select count(*) as fresh from embedder.job where pipeline_id = $1 and fresh) j
    where c.source_rows <> t.source_rows + j.fresh or c.embedded_rows <> t.embedded_rows$f$,
    format('pipeline_%s_count', pipeline)) using pipeline;
end
$$;

create or replace function embedder.recount(name text) returns void
language sql set search_path = pg_catalog, pg_temp as $$
  select embedder.correct_tally(p.id) from embedder.pipeline p where p.name = (embedder.own_pipeline(recount.name)).name
$$;
comment on function embedder.recount is 'Counts source and target of a pipeline anew, for embedder.status: after its sidecar was written by hand, or with its triggers switched off.';

-- Sums up what workers and triggers have added to the tally, but for the last minute, of which the rate is made.
create or replace function embedder.fold_tally() returns void
language sql set search_path = pg_catalog, pg_temp as $$
  with old as (
    delete from embedder.tally where ctid in (
      select t.ctid from embedder.tally t where t.at < now() - interval '90 seconds' for update skip locked)
    returning pipeline_id, source_rows, embedded_rows, done
  )
  insert into embedder.tally (pipeline_id, at, source_rows, embedded_rows, done)
  select pipeline_id, '-infinity', sum(source_rows), sum(embedded_rows), sum(done) from old group by pipeline_id
$$;

-- What the tally and the queue say of one pipeline. Reads neither source nor target.
create or replace function embedder.count_queue(
  pipeline int, out source_rows bigint, out embedded_rows bigint,
  out pending bigint, out leased bigint, out failed bigint, out oldest_due_age interval, out rows_per_second numeric)
language plpgsql stable security definer set search_path = pg_catalog, pg_temp set jit = off as $$
declare
  fresh bigint;
  seconds numeric;
begin
  select coalesce(sum(t.source_rows), 0), coalesce(sum(t.embedded_rows), 0),
    sum(t.done) filter (where t.at > now() - interval '1 minute'),
    extract(epoch from now() - min(t.at) filter (where t.at > now() - interval '1 minute' and t.done > 0))
  into source_rows, embedded_rows, rows_per_second, seconds
  from embedder.tally t where t.pipeline_id = pipeline;
  rows_per_second := round(coalesce(rows_per_second / greatest(seconds, 1), 0), 1);
  select count(*) filter (where j.leased_by is null or j.due_at <= now()),
    count(*) filter (where j.leased_by is not null and j.due_at > now()),
    now() - min(j.due_at) filter (where j.due_at <= now()), count(*) filter (where j.fresh)
  into pending, leased, oldest_due_age, fresh
  from embedder.job j where j.pipeline_id = pipeline;
  select count(*) into failed from embedder.dead_letter d where d.pipeline_id = pipeline;
  source_rows := source_rows + fresh;
end
$$;

-- The counts of one pipeline. Nothing here reads the source, and of the target only the rows whose job is known: so it
-- costs what the queue is long, not the table.
create or replace function embedder.count_rows(
  pipeline int, out source_rows bigint, out embedded_rows bigint, out stale_rows bigint,
  out pending bigint, out leased bigint, out failed bigint, out oldest_due_age interval, out rows_per_second numeric)
language plpgsql stable security definer set search_path = pg_catalog, pg_temp set jit = off as $$
begin
  select c.source_rows, c.embedded_rows, c.pending, c.leased, c.failed, c.oldest_due_age, c.rows_per_second
  into source_rows, embedded_rows, pending, leased, failed, oldest_due_age, rows_per_second
  from embedder.count_queue(pipeline) c;
  execute format('select embedder.%I()', format('pipeline_%s_stale', pipeline)) into stale_rows;
exception when undefined_table or undefined_column or undefined_function or datatype_mismatch or data_exception then
  stale_rows := null;
end
$$;

-- Estimate of the rows that backfills have yet to look at.
create or replace function embedder.backfill_rows_left(pipeline int) returns bigint
language sql stable security definer set search_path = pg_catalog, pg_temp as $$
  select coalesce(sum(rows_left), 0)::bigint from embedder.backfill_range where pipeline_id = pipeline
$$;

-- What keeps a pipeline from working, and what it waits for.
create or replace function embedder.trouble(p embedder.pipeline) returns text
language sql stable security definer set search_path = pg_catalog, pg_temp as $$
  select coalesce(p.trigger_error, p.error, p.index_error,
    (select format('its backfill stopped: %s', r.error) from embedder.backfill_run r where r.pipeline_id = p.id and r.error is not null limit 1))
$$;

create or replace function embedder.state_of(p embedder.pipeline, error text) returns text
language sql immutable set search_path = pg_catalog, pg_temp
return case
  when p.paused then 'paused'
  when error is not null then 'error'
  when p.filled_at is null then 'filling'
  else 'live'
end;

-- What a worker tells Prometheus of the queue: every generation of every pipeline.
create or replace function embedder.queue_metrics()
returns table (
  pipeline text, generation int, model text, state text, source_rows bigint, embedded_rows bigint, pending bigint, leased bigint,
  failed bigint, backfill_rows bigint, oldest_due_seconds double precision)
language sql stable security definer set search_path = pg_catalog, pg_temp as $$
  select p.name, p.generation, p.model, embedder.state_of(p, embedder.trouble(p)), c.source_rows, c.embedded_rows, c.pending, c.leased,
    c.failed, embedder.backfill_rows_left(p.id), coalesce(extract(epoch from c.oldest_due_age), 0)::double precision
  from embedder.pipeline p cross join lateral embedder.count_queue(p.id) c
$$;
comment on function embedder.queue_metrics is 'The queue, as a worker''s /metrics has it.';

create or replace view embedder.status as
select
  p.name as pipeline, p.source, p.task, p.model, p.generation,
  embedder.state_of(p, e.error) as state,
  e.error,
  c.source_rows, c.embedded_rows, c.stale_rows,
  c.pending, c.leased, c.failed,
  round((c.embedded_rows - c.stale_rows)::numeric / nullif(c.source_rows, 0), 4) as coverage,
  c.oldest_due_age, c.rows_per_second, b.rows_left as backfill_rows_estimate,
  case when c.rows_per_second > 0 and c.pending + c.leased + b.rows_left > 0
    then make_interval(secs => ceil((c.pending + c.leased + b.rows_left) / c.rows_per_second)::double precision) end as time_left_estimate,
  i.state as index_state, p.index,
  n.generation as next_generation, n.model as next_model,
  case when n.id is not null then coalesce(embedder.trouble(n), case when n.filled_at is null then 'filling' else 'filled' end) end as next_state,
  round((nc.embedded_rows - nc.stale_rows)::numeric / nullif(nc.source_rows, 0), 4) as next_coverage,
  p.target_table, p.target_column, p.created_at, p.filled_at
from embedder.pipeline p
cross join lateral embedder.count_rows(p.id) c
cross join lateral (select embedder.trouble(p) as error) e
cross join lateral (select embedder.backfill_rows_left(p.id) as rows_left) b
cross join lateral embedder.index_state(p) i
left join embedder.pipeline n on n.name = p.name and not n.live
left join lateral embedder.count_rows(n.id) nc on n.id is not null
where p.live and embedder.may_see(p.source);
comment on view embedder.status is 'One row a pipeline, with exact counts; an estimate is named so.';
comment on column embedder.status.source_rows is 'Rows of the source, of those that the filter lets in.';
comment on column embedder.status.embedded_rows is 'Rows that have a result.';
comment on column embedder.status.stale_rows is 'Rows with a result whose text has changed since: queued or failed.';
comment on column embedder.status.coverage is 'Share of the source rows that have an up-to-date result: (embedded_rows - stale_rows) / source_rows.';
comment on column embedder.status.pending is 'Jobs that wait: due now, or after a backoff. Rows of a backfill are no jobs yet.';
comment on column embedder.status.leased is 'Jobs that a worker holds.';
comment on column embedder.status.failed is 'Dead letters.';
comment on column embedder.status.oldest_due_age is 'How long the oldest job that is due has been waiting; null when none is.';
comment on column embedder.status.rows_per_second is 'Jobs done a second, over the last minute.';
comment on column embedder.status.backfill_rows_estimate is 'About how many rows backfills have yet to look at.';
comment on column embedder.status.time_left_estimate is 'Jobs and backfill rows by the present rate; null while nothing moves.';
comment on column embedder.status.index_state is 'none, waiting (for the first filling), building with its progress, built, or what went wrong.';
