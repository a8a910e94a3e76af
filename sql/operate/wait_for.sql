-- Waiting for a pipeline: for tests, and for whoever needs a row's result now.

-- The jobs of pipelines that the reader may see, and their backfills with ranges that are yet to be walked. Barriers, as embedder.status.
create or replace view embedder.waiting_job with (security_barrier) as
select p.name as pipeline, j.row_key, j.version
from embedder.pipeline p join embedder.job j on j.pipeline_id = p.id
where p.live and embedder.may_see(p.source);
comment on view embedder.waiting_job is 'Rows of live generations that wait, or that a worker holds. version: another one whenever the row is queued again.';

create or replace view embedder.walking_backfill with (security_barrier) as
select p.name as pipeline, r.id as run_id
from embedder.pipeline p join embedder.backfill_run r on r.pipeline_id = p.id
where p.live and r.error is null and embedder.may_see(p.source)
  and exists (select from embedder.backfill_range f where f.run_id = r.id);
comment on view embedder.walking_backfill is 'Backfills of live generations that have rows to look at.';

create or replace view embedder.standstill with (security_barrier) as
select p.name as pipeline, p.paused, coalesce(p.trigger_error, (select t.missed from embedder.tally t where t.pipeline_id = p.id and t.missed is not null limit 1), p.error) as problem
from embedder.pipeline p where p.live and embedder.may_see(p.source);
comment on view embedder.standstill is 'What keeps a pipeline from working: that it is paused, or a problem.';

-- Each look is a statement of its own, and so sees what was committed meanwhile. What comes after the call is not waited for: a job that is
-- queued again has another version.
-- Callable by: everybody.
create or replace function embedder.wait_for(pipeline text, row_key text default null, timeout interval default '30s') returns boolean
language plpgsql set search_path = pg_catalog, pg_temp as $$
#variable_conflict use_variable
declare
  p embedder.pipeline := embedder.find_pipeline(pipeline);
  problem text;
  until timestamptz := clock_timestamp() + timeout;
  begun timestamptz := clock_timestamp();
  runs bigint[];
  keys text[];
  versions bigint[];
  at int := 1;
  open boolean;
begin
  if current_setting('transaction_isolation') not like 'read%' then
    raise exception 'in % this transaction does not see what is done meanwhile', upper(current_setting('transaction_isolation'))
      using errcode = 'feature_not_supported', hint = 'Wait in a transaction of its own: begin isolation level read committed;';
  elsif pg_current_xact_id_if_assigned() is not null then
    raise exception 'this transaction has written, and nobody sees that before it commits' using errcode = 'active_sql_transaction',
      hint = 'Commit first, then wait.';
  elsif not embedder.may_see(p.source) then
    raise exception 'role % may not see how far pipeline "%" is', current_user, pipeline using errcode = 'insufficient_privilege',
      hint = format('grant embedder_reader to %I;', current_user);
  end if;
  select array_agg(b.run_id) into runs from embedder.walking_backfill b where b.pipeline = p.name;
  -- A row that has a job does not wait for a backfill.
  if row_key is not null then
    select array_agg(j.row_key), array_agg(j.version) into keys, versions from embedder.waiting_job j where j.pipeline = p.name and j.row_key = row_key;
    if keys is not null then runs := null; end if;
  end if;
  loop
    if runs is not null then
      open := exists (select from embedder.walking_backfill b where b.pipeline = p.name and b.run_id = any (runs));
      if not open then runs := null; end if;
    end if;
    if runs is null then
      if keys is null then
        select coalesce(array_agg(j.row_key), '{}'), coalesce(array_agg(j.version), '{}') into keys, versions
        from embedder.waiting_job j where j.pipeline = p.name and (row_key is null or j.row_key = row_key);
      end if;
      while at <= cardinality(keys) and not exists (
        select from embedder.waiting_job j where j.pipeline = p.name and j.row_key = keys[at] and j.version = versions[at])
      loop
        at := at + 1;
      end loop;
      if at > cardinality(keys) then return true; end if;
    end if;
    select s.problem, s.paused into problem, open from embedder.standstill s where s.pipeline = p.name;
    if open or problem is not null then
      raise exception '%', case when open then format('pipeline "%s" is paused', p.name) else format('pipeline "%s" does not work: %s', p.name, problem) end
        using errcode = 'object_not_in_prerequisite_state',
          hint = case when open then format('select embedder.resume_pipeline(%L);', p.name) else 'Run: pgembedder doctor' end;
    elsif clock_timestamp() >= until then
      raise notice 'pipeline "%" is not done: % rows wait, % workers run', p.name,
        (select count(*) from embedder.waiting_job j where j.pipeline = p.name), (select count(*) from embedder.worker w where w.alive);
      return false;
    end if;
    -- At a tenth of the time it has taken, which spares the server and costs no more.
    perform pg_sleep(least(greatest(0.005, extract(epoch from clock_timestamp() - begun) / 10), 1, greatest(0, extract(epoch from until - clock_timestamp()))));
  end loop;
end
$$;
comment on function embedder.wait_for is
  'Waits until all rows of a pipeline, or the given one, that were committed before have their result or have failed; false: not in time.';
