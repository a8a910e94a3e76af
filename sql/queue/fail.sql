-- What becomes of a job whose attempt has failed.

-- Books a failed attempt for each job. One with attempts left is due again after retry_base * 2^(attempts - 1), at most
-- retry_limit, of which a random half is taken off so that rows that failed together do not come back together.
-- One without becomes a dead letter.
-- Callable by: workers, with the rights of the schema's owner.
create or replace function embedder.fail_jobs(
  worker int, pipeline int, row_keys text[], versions bigint[], errors text[], retry_base interval, retry_limit interval)
returns table (row_key text, dead boolean)
language plpgsql set search_path = pg_catalog, pg_temp as $$
#variable_conflict use_column
declare
  allowed int := (select p.max_attempts from embedder.pipeline p where p.id = fail_jobs.pipeline);
begin
  return query
  with failed as materialized (
    select j.row_key, j.attempts, j.fresh, k.error
    from unnest(row_keys, versions, errors) k(row_key, version, error)
    join embedder.job j on j.pipeline_id = pipeline and j.row_key = k.row_key and j.version = k.version and j.leased_by = worker
    for update of j skip locked
  ), buried as (
    insert into embedder.dead_letter (pipeline_id, row_key, attempts, error)
    select pipeline, f.row_key, f.attempts, f.error from failed f where f.attempts >= allowed
    on conflict (pipeline_id, row_key) do update
      set attempts = excluded.attempts, error = excluded.error, failed_at = now()
  ), removed as (
    delete from embedder.job j using failed f
    where j.pipeline_id = pipeline and j.row_key = f.row_key and f.attempts >= allowed
  ), counted as (
    insert into embedder.tally (pipeline_id, source_rows)
    select pipeline, count(*) from failed f where f.attempts >= allowed and f.fresh having count(*) > 0
  ), retried as (
    update embedder.job j set
      leased_by = null, suspect = null, last_error = f.error,
      -- As numbers: an interval does not hold thirty doublings of some hours.
      due_at = now() + least(extract(epoch from retry_base)::float8 * power(2, least(f.attempts - 1, 30)), extract(epoch from retry_limit)::float8)
        * (0.5 + random() / 2) * interval '1 s'
    from failed f where j.pipeline_id = pipeline and j.row_key = f.row_key and f.attempts < allowed
  )
  select f.row_key, f.attempts >= allowed from failed f;
end
$$;
comment on function embedder.fail_jobs is 'Books failed attempts: retry with exponential backoff and jitter, or dead letter.';
