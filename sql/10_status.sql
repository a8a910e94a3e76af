-- What a person looks at.

create or replace view embedder.failed_job as
select p.name as pipeline, d.row_key, d.attempts, d.error, d.failed_at
from embedder.dead_letter d join embedder.pipeline p on p.id = d.pipeline_id;
comment on view embedder.failed_job is 'Dead letters: rows that used up their attempts. Bring them back with embedder.retry_failed(pipeline).';

-- Exact counts, by reading source and target; all null when one of them is gone or may not be read.
create or replace function embedder.count_rows(p embedder.pipeline, out source_rows bigint, out embedded_rows bigint, out stale_rows bigint)
language plpgsql stable set search_path = pg_catalog, pg_temp as $$
declare
  embedded text := case when p.sidecar
    then format('(select * from %s where chunk = 0)', p.target_table)
    else format('(select * from %s where %I is not null)', p.source, p.target_column) end;
begin
  execute format('select count(*) from %s', p.source) into source_rows;
  execute format('select count(*) from %s t', embedded) into embedded_rows;
  execute format(
    'select count(*) from (select row_key from embedder.job where pipeline_id = $1 union select row_key from embedder.dead_letter where pipeline_id = $1) j '
    'join %s t on %s', embedded, embedder.key_matches(p.source, 't', 'j.row_key'))
    into stale_rows using p.id;
exception when others then
  source_rows := null; embedded_rows := null; stale_rows := null;
end
$$;

create or replace view embedder.status as
select
  p.name as pipeline, p.source, p.task, p.model, p.generation,
  case
    when p.paused then 'paused'
    when coalesce(p.trigger_error, p.error) is not null then 'error'
    when p.filled_at is null then 'filling'
    else 'live'
  end as state,
  coalesce(p.trigger_error, p.error) as error,
  c.source_rows, c.embedded_rows, c.stale_rows,
  j.pending, j.leased, d.failed,
  round((c.embedded_rows - c.stale_rows)::numeric / nullif(c.source_rows, 0), 4) as coverage,
  j.oldest_due_age,
  p.target_table, p.target_column, p.index, p.created_at, p.filled_at
from embedder.pipeline p
cross join lateral embedder.count_rows(p) c
cross join lateral (
  select
    count(*) filter (where j.leased_by is null or j.due_at <= now()) as pending,
    count(*) filter (where j.leased_by is not null and j.due_at > now()) as leased,
    now() - min(j.due_at) filter (where j.due_at <= now()) as oldest_due_age
  from embedder.job j where j.pipeline_id = p.id
) j
cross join lateral (select count(*) as failed from embedder.dead_letter d where d.pipeline_id = p.id) d;
comment on view embedder.status is 'One row a pipeline, with exact counts.';
comment on column embedder.status.coverage is 'Share of the source rows that have an up-to-date vector: (embedded_rows - stale_rows) / source_rows.';
comment on column embedder.status.stale_rows is 'Rows with a vector whose text has changed since: queued or failed.';
comment on column embedder.status.pending is 'Jobs that wait: due now, or after a backoff.';
comment on column embedder.status.leased is 'Jobs that a worker holds.';
comment on column embedder.status.failed is 'Dead letters.';
comment on column embedder.status.oldest_due_age is 'How long the oldest job that is due has been waiting; null when none is.';
