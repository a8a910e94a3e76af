-- What takes rows off the queue that are gone, and counts what no trigger has seen.

-- Whether a foreign key takes sidecar rows away with their source rows, before a trigger of ours could count them.
create or replace function embedder.is_cascaded_to(p embedder.pipeline) returns boolean
language plpgsql stable set search_path = pg_catalog, pg_temp as $$
begin
  return exists (select from pg_constraint k where k.contype = 'f' and k.conrelid = p.target_table and k.conrelid <> p.source and k.confdeltype = 'c');
end
$$;

-- forget takes rows off the books that are gone or have left the filter; its list may name a key more than once. A key that a row
-- has nevertheless (a deferrable key was double for a moment, or went to another row) is queued instead.
--
-- Above READ COMMITTED all of them are queued as well. What came after the snapshot is invisible there: a job then makes
-- PostgreSQL raise 40001, and a result is emptied when a worker finds the row gone.
create or replace function embedder.generate_forget(p embedder.pipeline) returns void
language plpgsql set search_path = pg_catalog, pg_temp as $$
begin
  -- It may be called for each row of a large update.
  perform embedder.create_function(p, 'forget', '(row_keys text[]) returns void',
    embedder.key_settings(p.source) || embedder.lookup_once_settings(),
    embedder.fill($f$
declare
  uncounted bigint;
  vectors bigint := 0;
  kept text[];
  letters text[] := $1 || array(select {{letter_key}} from unnest($1) k(row_key) where octet_length(k.row_key) > {{longest_key}});
begin
  -- The dead letter first: embedder.retry_failed makes a job of it, and that one is then found below.
  delete from embedder.pipeline_{{id}}_dead_letter d where d.row_key = any (letters);
  with gone as (
    delete from embedder.pipeline_{{id}}_job j where j.row_key = any ($1) returning j.fresh
  ) select count(*) filter (where gone.fresh) into uncounted from gone;
  -- And after the job: a worker that has failed it meanwhile has written its dead letter by now.
  delete from embedder.pipeline_{{id}}_dead_letter d where d.row_key = any (letters);
  delete from embedder.pipeline_{{id}}_empty_row e where e.row_key = any ($1);
  begin
    kept := array(select distinct gone.row_key from unnest($1) gone(row_key) where exists (select from {{source}} source where {{same_row}}{{filter}}));
  exception when undefined_table then
    -- It has another name now.
    execute format('select array(select distinct gone.row_key from unnest($1) gone(row_key) where exists (select from %s source where %s))',
      {{source_oid}}::regclass, {{same_row_if_renamed}}) into kept using $1;
  end;{{take_results}}
  if cardinality($1) > uncounted or vectors > 0 then
    insert into embedder.pipeline_{{id}}_tally (source_rows, embedded_rows) values (uncounted - cardinality($1), -vectors);
  end if;
  if current_setting('transaction_isolation') not like 'read%' then kept := array(select gone.row_key from unnest($1) gone(row_key) union select unnest(kept)); end if;
  if cardinality(kept) > 0 then perform embedder.pipeline_{{id}}_enqueue(kept); end if;
end$f$, jsonb_build_object(
    'id', p.id,
    'take_results', case when p.sidecar then format($f$
  with gone as (
    delete from %s t using unnest($1) gone(row_key) where %s and gone.row_key <> all (kept) returning t.chunk
  ) select count(*) filter (where gone.chunk = 0) into vectors from gone;%s$f$,
    embedder.target_of(p), embedder.key_matches(p.source, 't', 'gone.row_key'),
    embedder.check_sight(p.target_table)) || case when embedder.is_cascaded_to(p) then embedder.recount_statement(p) else '' end else '' end,
    'source', p.source,
    'same_row', embedder.key_matches(p.source, 'source', 'gone.row_key'),
    'filter', embedder.and_filter(p),
    'source_oid', p.source::oid,
    'same_row_if_renamed', quote_literal(embedder.key_matches(p.source, 'source', 'gone.row_key') || embedder.and_filter(p)),
    'letter_key', embedder.letter_key('k.row_key'),
    'longest_key', embedder.longest_key())));

  -- The counts by reading everything. Stable, so that they are of the same moment as the tally that they are compared with.
  perform embedder.create_function(p, 'count', '(out source_rows bigint, out embedded_rows bigint)', ' stable', embedder.fill($f$
begin
  select (select count(*) from {{source}} where true{{filter}}), (select count(*) from {{target}} t where {{has_result}}) into $1, $2;{{check}}
end$f$, jsonb_build_object(
    'source', p.source,
    'filter', embedder.and_filter(p),
    'target', embedder.target_of(p),
    'has_result', embedder.has_result(p, 't'),
    'check', embedder.check_tables(p))));

  -- Puts the tally right, after rows have changed while no trigger saw it.
  perform embedder.create_function(p, 'recount', '() returns void', embedder.key_settings(p.source), embedder.fill($f$
begin
  if current_setting('transaction_isolation') not like 'read%' then{{recount_later}} return; end if;
  delete from embedder.pipeline_{{id}}_empty_row e where not exists (select from {{source}} source where {{row_of_empty}}{{filter}});
  -- In one statement, and so of one moment.
  insert into embedder.pipeline_{{id}}_tally (source_rows, embedded_rows)
  select c.source_rows - t.source_rows - j.fresh, c.embedded_rows - t.embedded_rows
  from embedder.pipeline_{{id}}_count() c,
    (select coalesce(sum(source_rows), 0) as source_rows, coalesce(sum(embedded_rows), 0) as embedded_rows
      from embedder.pipeline_{{id}}_tally) t,
    (select count(*) as fresh from embedder.pipeline_{{id}}_job j
      where j.fresh and exists (select from {{source}} source where {{row_of_job}}{{filter}})) j
  where c.source_rows <> t.source_rows + j.fresh or c.embedded_rows <> t.embedded_rows;
end$f$, jsonb_build_object(
    'id', p.id,
    'recount_later', embedder.recount_statement(p),
    'source', p.source,
    'row_of_job', embedder.key_matches(p.source, 'source', 'j.row_key'),
    'filter', embedder.and_filter(p),
    'row_of_empty', embedder.key_matches(p.source, 'source', 'e.row_key'))));

  perform embedder.create_function(p, 'enqueue', '(row_keys text[]) returns void', '', format(
    e'\nbegin%s\nexception when program_limit_exceeded then\n  perform %s($1, null);\nend',
    embedder.enqueue_statement(p, 'select row_key, false from unnest($1) row_key'), embedder.book(p, 'enqueue_each')));

  -- Puts the dead letters back on the queue.
  perform embedder.create_function(p, 'retry', '() returns bigint', '', format($f$
declare
  row_keys text[];
begin
  with letters as (
    delete from embedder.pipeline_%1$s_dead_letter where attempts > 0 returning row_key
  ) select array_agg(row_key) into row_keys from letters;
  perform embedder.pipeline_%1$s_enqueue(row_keys);
  return coalesce(cardinality(row_keys), 0);
end$f$, p.id));

  -- Notes that a trigger could not do its work: a row of the tally, once in each transaction. So no writer of a broken pipeline waits for
  -- another one, a note comes with the rows that were missed and goes with them, and the rows are looked for when it is seen.
  perform embedder.create_function(p, 'failed', '(operation text, message text) returns void', '', format($f$
begin
  if current_setting('embedder.missed_%1$s', true) is distinct from 'noted' then
    insert into embedder.pipeline_%1$s_tally (missed) values (
      format('its %%s trigger failed, so rows written since are not queued: %%s. Mend the table, then: select embedder.resume_pipeline(%%L)',
        lower($1), $2, %2$L));
    perform set_config('embedder.missed_%1$s', 'noted', true);
  end if;
end$f$, p.id, p.name));

  -- How many of the rows that wait or have failed have a result. A new row does not have one.
  perform embedder.create_function(p, 'stale', '() returns bigint', ' set jit = off', format($f$
begin
  return (
    select count(*) from (
      select j.row_key from embedder.pipeline_%1$s_job j where not j.fresh
      union select d.row_key from embedder.pipeline_%1$s_dead_letter d where d.attempts > 0) k
    where exists (select from %2$s t where %3$s and %4$s));
end$f$, p.id, embedder.target_of(p), embedder.key_matches(p.source, 't', 'k.row_key'), embedder.has_result(p, 't')));
end
$$;

-- The statements that forget all rows, for a trigger.
create or replace function embedder.forget_all_statement(p embedder.pipeline) returns text
language sql immutable set search_path = pg_catalog, pg_temp as $$
  select string_agg(format(e'    delete from %s;', embedder.book(p, b)), e'\n' order by place)
  from unnest(array['job', 'dead_letter', 'empty_row', 'tally']) with ordinality v(b, place)
$$;

-- Removes what a dropped pipeline has left on the books, some thousand rows at a time: the session that drops it holds a lock on the
-- source meanwhile. A worker does the rest.
-- Callable by: workers, with the rights of the schema's owner.
create or replace function embedder.clear_books(pipeline int) returns void
language plpgsql security definer set search_path = pg_catalog, pg_temp as $$
begin
  if exists (select from embedder.pipeline e where e.id = pipeline) then return; end if;
  delete from embedder.job where ctid = any (array(
    select j.ctid from embedder.job j where j.pipeline_id = pipeline limit 2000 for update skip locked));
  -- After the jobs: a worker that fails one now has written its dead letter by then.
  delete from embedder.dead_letter where ctid = any (array(
    select d.ctid from embedder.dead_letter d where d.pipeline_id = pipeline limit 2000 for update skip locked));
  delete from embedder.tally where ctid = any (array(
    select t.ctid from embedder.tally t where t.pipeline_id = pipeline limit 2000 for update skip locked));
  delete from embedder.empty_row where ctid = any (array(
    select e.ctid from embedder.empty_row e where e.pipeline_id = pipeline limit 2000 for update skip locked));
end
$$;
comment on function embedder.clear_books is 'Deletes jobs, dead letters and counts of a pipeline that is gone. Called by workers.';
