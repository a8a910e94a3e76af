-- What embedder.verify (sql/generated/verify.sql) asks of the queue.

-- SQL for "nobody is about to work on this row": there is no job of it, no dead letter, and no backfill has yet to look at it.
-- row_key and keys are SQL for those of the row; stale: the backfill has to be one that looks for stale results.
create or replace function embedder.is_settled(p embedder.pipeline, row_key text, keys text, stale boolean) returns text
language sql stable set search_path = pg_catalog, pg_temp as $$
  select format('not exists (select from %1$s j where j.row_key = %2$s) and not exists (select from %3$s d where d.row_key = %2$s)'
    ' and not exists (select from %4$s w where %5$s case when w.row_keys is not null then %2$s = any (w.row_keys)'
    ' else coalesce((%6$s) > (%7$s), true) and coalesce((%6$s) <= (%8$s), true) end)',
    embedder.book(p, 'job'), row_key, embedder.book(p, 'dead_letter'), embedder.book(p, 'unwalked'), case when stale then 'w.seeks_stale and' end,
    keys, embedder.key_values(p.source, 'w.after_key'), embedder.key_values(p.source, 'w.to_key'))
$$;

-- The faults of the queue: jobs and dead letters of rows that are not there. A job takes away the result of such a row; without one
-- it is of no use. A key that is too long cannot be looked up.
create or replace function embedder.queue_faults(p embedder.pipeline) returns text
language sql stable set search_path = pg_catalog, pg_temp as $$
  select format($f$
      select j.row_key, 'orphan_job' from %1$s j
      where not exists (select from %2$s source where %3$s%4$s offset 0) and not exists (select from %5$s t where %6$s and %7$s offset 0)
      union all
      select d.row_key, 'orphan_dead_letter' from %8$s d
      where d.attempts > 0 and not exists (select from %2$s source where %9$s%4$s offset 0)$f$,
    embedder.book(p, 'job'), p.source, embedder.key_matches(p.source, 'source', 'j.row_key'), embedder.and_filter(p),
    embedder.target_of(p), embedder.key_matches(p.source, 't', 'j.row_key'), embedder.has_result(p, 't'),
    embedder.book(p, 'dead_letter'), embedder.key_matches(p.source, 'source', 'd.row_key'))
$$;
