-- Changes of source and target that fire no trigger of ours, as far as they leave a mark in the catalogs: a stale backfill then finds
-- which rows they concern.

-- What changes with them, and neither with VACUUM, ANALYZE or an index, nor with rows: of the source and its partitions
--   when each was attached (a partition may be written while it is detached for a moment)
--   when our triggers were last made, disabled or enabled
--   their files, and the target's: alter column ... type ... using, set logged, truncate under replica, cluster, a target replaced
--   what generated columns are computed by; and, where a table is unlogged, the last crash, which has emptied it
-- As the text of a jsonb object: a mark for each table of the source, by its oid, and one for the rest.
create or replace function embedder.marks_of(p embedder.pipeline) returns text
language plpgsql stable set search_path = pg_catalog, pg_temp as $$
begin
  return (
    select (jsonb_object_agg(m::oid, md5(concat_ws(' ',
        (select string_agg(concat(i.inhparent, ':', i.xmin), ',' order by i.inhparent) from pg_inherits i where i.inhrelid = m),
        (select string_agg(concat(t.oid, ':', t.xmin, ':', t.tgenabled), ',' order by t.oid)
          from pg_trigger t where t.tgrelid = m and t.tgname ~ format('^embedder_%s_', p.id)),
        (select c.relfilenode from pg_class c where c.oid = m),
        (select string_agg(concat(d.adnum, ':', d.adbin), ',' order by d.adnum)
          from pg_attrdef d join pg_attribute a on a.attrelid = d.adrelid and a.attnum = d.adnum
          where a.attrelid = m and a.attgenerated <> '' and p.columns ? a.attname))))
      || jsonb_build_object('rest', md5(concat_ws(' ',
        (select c.relfilenode from pg_class c where c.oid = p.target_table),
        (select s.id from embedder.since_crash s
          where exists (select from pg_class c where c.oid = any (p.target_table || embedder.members_of(p.source)) and c.relpersistence = 'u'))))))::text
    from unnest(embedder.members_of(p.source)) m);
end
$$;

-- As an earlier state of this file had them.
update embedder.pipeline set marks = null where marks not like '{%';

-- Whether rows may have changed unseen between two sets of marks. Tables that have come or gone in between are looked at where the tables
-- are followed (sql/pipeline/life.sql): an empty partition brings nothing.
create or replace function embedder.marks_differ(before text, after text) returns boolean
language sql immutable set search_path = pg_catalog, pg_temp as $$
  select exists (select from jsonb_each_text(before::jsonb) b where after::jsonb ->> b.key <> b.value)
$$;

-- Begins a stale backfill for each pipeline whose marks have changed. Called by workers; a pipeline that is in error, or whose functions
-- are to be made again first, is left for later.
-- Callable by: workers, with the rights of the schema's owner.
create or replace function embedder.follow_unseen() returns table (name text, problem text)
language plpgsql security definer set search_path = pg_catalog, pg_temp as $$
#variable_conflict use_variable
declare
  p embedder.pipeline;
begin
  insert into embedder.since_crash default values on conflict do nothing;
  for p in
    select * from embedder.pipeline e
    where e.error is null and e.marks is distinct from embedder.marks_of(e) and e.fingerprint = embedder.fingerprint_of(e)
    order by e.id for update skip locked
  loop
    name := p.name;
    problem := null;
    begin
      -- Null, and so no difference: of a pipeline that is new.
      if embedder.marks_differ(p.marks, embedder.marks_of(p)) then
        perform embedder.start_backfill(p, stale => true, again => true);
        return next;
      end if;
      update embedder.pipeline e set marks = embedder.marks_of(e) where e.id = p.id;
    exception when others then
      problem := sqlerrm;
      return next;
    end;
  end loop;
end
$$;
comment on function embedder.follow_unseen is 'Has rows looked at that may have changed while no trigger saw it. Called by workers.';

-- What keeps changes of the source from the pipeline, as far as it can be known beforehand; null for nothing.
-- Callable by: everybody.
create or replace function embedder.warning_of(p embedder.pipeline) returns text
language sql stable set search_path = pg_catalog, pg_temp as $$
  select nullif(concat_ws('; ',
    (select format('triggers of pgembedder on %s are disabled, so that changes there are not queued: alter table %s enable trigger user',
        string_agg(distinct t.tgrelid::regclass::text, ', '), min(t.tgrelid::regclass::text))
      from pg_trigger t where t.tgrelid = any (m.members) and t.tgenabled in ('D', 'R') and t.tgname ~ format('^embedder_%s_', p.id)
      having count(*) > 0),
    (select format('logical replication writes %s, which fires no trigger: let pg_cron call embedder.backfill(%L, stale => true)',
        string_agg(s.srrelid::regclass::text, ', ' order by s.srrelid), p.name)
      from pg_subscription_rel s where s.srrelid = any (m.members) having count(*) > 0)), '')
  from (select embedder.members_of(p.source) as members) m
$$;
