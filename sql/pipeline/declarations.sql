-- The declarations a second time, as text: from these comes back what a restore has lost. And what is missing of a pipeline's own objects.

create or replace function embedder.keep_declaration() returns trigger
language plpgsql security definer set search_path = pg_catalog, pg_temp as $$
begin
  if tg_op = 'DELETE' then
    delete from embedder.declaration d where d.id = old.id;
  else
    insert into embedder.declaration values (new.id, to_jsonb(new))
    on conflict (id) do update set declaration = excluded.declaration;
  end if;
  return null;
end
$$;

do $$
begin
  if not exists (select from pg_trigger where tgrelid = 'embedder.pipeline'::regclass and tgname = 'keep_declaration') then
    create trigger keep_declaration after insert or update or delete on embedder.pipeline
      for each row execute function embedder.keep_declaration();
  end if;
end
$$;

-- Brings back the pipelines whose rows a restore has lost, and reports on each. Their tables are found by name.
create or replace function embedder.restore_declarations() returns setof text
language plpgsql set search_path = pg_catalog, pg_temp as $$
declare
  d embedder.declaration;
  p embedder.pipeline;
begin
  insert into embedder.declaration select e.id, to_jsonb(e) from embedder.pipeline e on conflict (id) do nothing;
  -- No number is given out that functions, triggers or jobs of another pipeline still have.
  perform setval(pg_get_serial_sequence('embedder.pipeline', 'id'), greatest(1,
    (select max(id) from embedder.declaration), (select max(pipeline_id) from embedder.job), pg_sequence_last_value(pg_get_serial_sequence('embedder.pipeline', 'id')::regclass),
    (select max(substring(proname from e'^pipeline_(\\d+)_')::int) from pg_proc where pronamespace = 'embedder'::regnamespace)));
  for d in
    select * from embedder.declaration k where not exists (select from embedder.pipeline e where e.id = k.id) order by k.id
  loop
    if to_regclass(d.declaration ->> 'source') is null then
      return next format('pipeline %s cannot be brought back: there is no table %s', d.declaration ->> 'name', d.declaration ->> 'source');
      continue;
    end if;
    begin
      p := jsonb_populate_record(null::embedder.pipeline, d.declaration - array['target_table', 'members', 'fingerprint', 'error', 'error_at', 'trigger_error']);
      p.members := '{}';
      insert into embedder.pipeline overriding system value select p.*;
      select * into p from embedder.pipeline e where e.id = d.id;
      perform embedder.start_backfill(p, stale => true);
      return next format('pipeline %s was lost, and is back', p.name);
    exception when others then
      return next format('pipeline %s cannot be brought back: %s', d.declaration ->> 'name', sqlerrm);
    end;
  end loop;
end
$$;

-- Tables that have triggers of a pipeline that is not there any more.
create or replace function embedder.stray_triggers() returns table (source regclass, pipeline_id int)
language sql stable set search_path = pg_catalog, pg_temp as $$
  select distinct t.tgrelid::regclass, substring(f.proname from e'^pipeline_(\\d+)_')::int
  from pg_trigger t join pg_proc f on f.oid = t.tgfoid
  where f.pronamespace = to_regnamespace('embedder') and f.proname ~ e'^pipeline_\\d+_'
    and not exists (select from embedder.pipeline p where p.id = substring(f.proname from e'^pipeline_(\\d+)_')::int)
$$;

-- What of a pipeline's own is missing or not as it must be, one line each.
-- Callable by: everybody.
create or replace function embedder.pipeline_gaps(p embedder.pipeline) returns setof text
language sql stable set search_path = pg_catalog, pg_temp as $$
  -- The bits of pg_trigger.tgtype.
  select format('%s has no trigger for %s', m.member, e.event)
  from unnest(embedder.members_of(p.source)) m(member), (values ('insert', 4), ('delete', 8), ('update', 16), ('truncate', 32)) e(event, bit)
  where not exists (
    select from pg_trigger t join pg_proc f on f.oid = t.tgfoid
    where t.tgrelid = m.member and t.tgtype & e.bit <> 0
      and f.pronamespace = 'embedder'::regnamespace and f.proname ~ format('^pipeline_%s_', p.id))
  union all
  select format('function embedder.pipeline_%s_%s is missing', p.id, v) from unnest(array['read', 'complete', 'row_key', 'count', 'act']) v
  where not exists (select from pg_proc f where f.pronamespace = 'embedder'::regnamespace and f.proname = format('pipeline_%s_%s', p.id, v))
  union all
  select format('function %s belongs to %s, and %s to %s', f.oid::regprocedure, f.proowner::regrole, p.source, c.relowner::regrole)
  from pg_class c join pg_proc f on f.pronamespace = 'embedder'::regnamespace and f.proname ~ format('^pipeline_%s_', p.id) and f.prosecdef
  where c.oid = p.source and f.proowner <> c.relowner
  union all
  select format('%s has row level security, and its sidecar %s has not', p.source, p.target_table)
  from pg_class c, pg_class t
  where c.oid = p.source and t.oid = p.target_table and p.sidecar and c.relrowsecurity
    and not (t.relrowsecurity and exists (select from pg_policy where polrelid = t.oid and polname = 'pgembedder_source'))
  union all
  select 'it has no view' where p.live and embedder.view_of(p) is null and embedder.view_problem(p) is null
$$;
comment on function embedder.pipeline_gaps is 'What of a pipeline''s own objects is missing or wrong; migrate makes it again.';
