-- How far a pipeline is, and what keeps it from working, as workers find it.

-- Writes an error that concerns a whole pipeline, or clears it (null). The time stays that of the first one. Whoever keeps the
-- declaration locked is not waited for for long: it is written at the next occasion. What a look at the tables has found
-- stays until they are followed: rows that can be embedded all the same prove nothing.
-- Callable by: workers, with the rights of the schema's owner.
create or replace function embedder.set_pipeline_error(pipeline int, message text) returns void
language plpgsql set search_path = pg_catalog, pg_temp set lock_timeout = '5s' as $$
begin
  update embedder.pipeline p set error = message, error_at = case when message is not null then now() end
  where p.id = set_pipeline_error.pipeline and p.error is distinct from message and (message is not null or p.fingerprint is not null);
exception when lock_not_available then
  null;
end
$$;

-- Marks pipelines whose first filling has ended: every range is walked, and each row that waited then is done or has failed once.
-- Rows that come later do not matter, nor rows that an open transaction has locked. It waits for nobody.
-- Callable by: workers, with the rights of the schema's owner.
create or replace function embedder.mark_filled() returns setof text
language plpgsql security definer set search_path = pg_catalog, pg_temp as $$
declare
  p embedder.pipeline;
begin
  -- Two workers that end the last two ranges of a run at once each leave it to the other.
  delete from embedder.backfill_run where id = any (array(
    select r.id from embedder.backfill_run r
    where r.error is null and not r.stale and not exists (select from embedder.backfill_range f where f.run_id = r.id) for update skip locked));
  for p in
    select * from embedder.pipeline e
    where e.filled_at is null and e.error is null
      and not exists (select from embedder.backfill_range f where f.pipeline_id = e.id and f.row_keys is null)
      and not exists (select from embedder.backfill_run r where r.pipeline_id = e.id and r.error is not null)
    for update skip locked
  loop
    if p.walked_at is null then
      update embedder.pipeline e set walked_at = clock_timestamp() where e.id = p.id returning * into p;
    end if;
    if not exists (select from (
      select from embedder.job j where j.pipeline_id = p.id and j.asked_at < p.walked_at and j.last_error is null
      limit 1 for update skip locked) waiting)
    then
      update embedder.pipeline e set filled_at = now() where e.id = p.id;
      return next p.name;
    end if;
  end loop;
end
$$;
