-- Each pipeline has functions of its own, named embedder.pipeline_<id>_<verb>, so that their SQL is static and typed.
-- They are made again whenever the pipeline changes, and by every migration, and run with the rights of the source's
-- owner: what the input, the filter or a type of the user's own may do there, its owner may do. Here: what the triggers on
-- the source run.
--   inserted, deleted, truncated            one trigger each, once a statement
--   changed, once a row; or updated          for updates (sql/generated/updates.sql)
--   removed, once a row                     instead of deleted, above a foreign table and below a parent
--   pruned                                  instead of truncated on a partition or child
--   enqueue_each(row_keys, fresh)           sql/generated/long_keys.sql
--   forget(row_keys)                        drops jobs, dead letters and sidecar rows of rows that are gone

create or replace function embedder.generate_triggers(p embedder.pipeline) returns void
language plpgsql set search_path = pg_catalog, pg_temp as $$
declare
  new_key text := embedder.key_expression(p.source, 'n');
  old_key text := embedder.key_expression(p.source, 'o');
  filtered text := embedder.and_filter(p);
  -- A deferrable key can be double for a moment inside a transaction: ON CONFLICT takes each key once, and a job cannot stand for
  -- two new rows. So these are counted at once.
  doubles boolean := embedder.may_double(p.source);
  distinct_rows text := case when doubles then 'distinct' else '' end;
  -- For an input or a filter that cannot be computed any more: all rows are queued, and wait until it can be.
  everything text := format('select %s %s', distinct_rows, new_key);
  inserted text := format('select %s %s, %s from new_rows n where true%s', distinct_rows, new_key, (not doubles)::text, filtered);
  counted text := case when doubles then format(e'\n    insert into %s (source_rows) select count(*) from new_rows n where true%s having count(*) > 0;',
      embedder.book(p, 'tally'), filtered) else '' end
    || case when p.sidecar then '' else
      embedder.tally_vectors(p, format('(select pg_catalog.count(*) from new_rows n where %s)', embedder.has_result(p, 'n'))) end;
begin
  -- A new row has no job, as a rule: a plain insert, which takes 5 us less than an upsert, and the upsert where it has.
  perform embedder.generate_trigger(p, 'inserted', '',
    embedder.enqueue_new_statement(p, inserted) || counted,
    embedder.enqueue_statement(p, inserted) || counted,
    embedder.enqueue_each_statement(p, inserted) || counted,
    case when p.filter is not null then embedder.enqueue_statement(p, everything || ', false from new_rows n') || embedder.recount_statement(p) end);

  perform embedder.generate_updates(p);

  perform embedder.generate_trigger(p, 'deleted', '', format($f$
    perform embedder.%I(array(select %s from old_rows o where true%s));$f$,
    format('pipeline_%s_forget', p.id), old_key, filtered)
    || case when p.sidecar then '' else
      embedder.tally_vectors(p, format('-(select count(*) from old_rows o where %s)', embedder.has_result(p, 'o'))) end,
    null, null, embedder.enqueue_statement(p, format('select distinct %s, false from old_rows o', old_key)) || embedder.recount_statement(p));

  -- Above a foreign table: PostgreSQL keeps no row of one in a transition table, and refuses the statement. And below a parent, since a
  -- statement on that fires no statement trigger here.
  perform embedder.generate_trigger(p, 'removed', '', format($f$
    if %2$s then perform embedder.%1$I(array[%3$s]); end if;$f$,
    format('pipeline_%s_forget', p.id), case when p.filter is null then 'true' else format('exists (select from (select old.*) o where (%s))', p.filter) end,
    embedder.key_expression(p.source, 'old'))
    || case when p.sidecar then '' else
      embedder.tally_vectors(p, format('case when %s then -1 else 0 end', embedder.has_result(p, 'old'))) end,
    null, null, embedder.enqueue_statement(p, format('select %s, false', embedder.key_expression(p.source, 'old'))) || embedder.recount_statement(p));

  perform embedder.generate_trigger(p, 'truncated', '', format($f$
    -- A dump of the source that was restored beside it has its triggers too.
    if tg_relid <> %4$s and tg_relid is distinct from to_regclass(%5$L) then return null; end if;
    -- A parent of an old-style inheritance can be truncated alone.
    if exists (select from pg_class c join pg_inherits i on i.inhparent = c.oid where c.oid = tg_relid and c.relkind = 'r') then%3$s
      return null;
    end if;
%1$s%2$s
    -- It does not see rows that came after its snapshot: their jobs find the rows gone.
    if current_setting('transaction_isolation') not like 'read%%' then%3$s end if;$f$,
    embedder.forget_all_statement(p), case when p.sidecar then format(e'\n    truncate %s;', embedder.target_of(p)) else '' end, embedder.recount_statement(p), p.source::oid, p.source));

  -- To find the results of its rows everything would be read. A worker does, since the table has another file (sql/pipeline/unseen.sql).
  perform embedder.generate_trigger(p, 'pruned', '', embedder.recount_statement(p));
  perform embedder.generate_long_keys(p);
  -- Of an earlier version.
  if to_regproc(format('embedder.pipeline_%s_prune', p.id)) is not null then
    execute format('drop function embedder.%I()', format('pipeline_%s_prune', p.id));
  end if;
  perform embedder.generate_forget(p);
end
$$;
comment on function embedder.generate_triggers is 'Makes, or makes again, the functions that a pipeline''s triggers run.';

-- Whether a row of the target has a result.
create or replace function embedder.has_result(p embedder.pipeline, row_alias text) returns text
language sql stable set search_path = pg_catalog, pg_temp as $$
  select case when p.sidecar then format('%s.chunk = 0', row_alias)
    else format('%s.%I is not null', row_alias, embedder.result_marker(p)) end
$$;

-- A trigger runs inside the user's own statement and must never make it fail. When a job is there already, it does if_queued instead; when a
-- key does not fit into the queue, if_long; when the input or the filter cannot be computed, blindly. When that fails as well, it writes the
-- error on the pipeline and lets the statement pass. An error that is not the pipeline's (a serialization failure, the user's lock_timeout, a
-- full disk) is raised as in any other statement.
-- A table of somebody else must not have it as a trigger: it works with the rights of the source's owner.
--
-- SET clauses cost each insert 3 us. So the insert trigger has none, not even for search_path, where the key's type is
-- a plain one: then its body names the schema of everything in it, the operators included.
drop function if exists embedder.generate_trigger(embedder.pipeline, text, text, text, text, text);

create or replace function embedder.generate_trigger(
  p embedder.pipeline, verb text, settings text, body text, if_queued text default null, if_long text default null, blindly text default null)
returns void
language plpgsql set search_path = pg_catalog, pg_temp as $$
declare
  name text := format('pipeline_%s_%s', p.id, verb);
  lean boolean := verb in ('inserted', 'changed') and p.filter is null and embedder.key_settings(p.source) = '' and cardinality(p.key_columns) = 1
    and (verb = 'inserted' or embedder.input_settings(p) = '');
  -- Handlers of an exception, the outermost last: each condition has statements, which have the handlers after it.
  handlers text := format($f$
  when transaction_rollback or lock_not_available or insufficient_resources then raise;
  when others then
    perform embedder.pipeline_%s_failed(tg_op, sqlerrm);
    return null;$f$, p.id);
  alternative record;
begin
  for alternative in
    select * from (values ('program_limit_exceeded', if_long), ('unique_violation', if_queued), ('undefined_column or data_exception', blindly))
      v(condition, statements) where statements is not null
  loop
    handlers := format($f$
  when %s then
    begin%s
      return null;
    exception%s
    end;$f$, alternative.condition, alternative.statements, handlers) || handlers;
  end loop;
  execute format('create or replace function embedder.%I() returns trigger language plpgsql security definer %s as %L',
    name,
    case when lean then '' else 'set search_path = pg_catalog, pg_temp set jit = off ' || embedder.key_settings(p.source) || embedder.filter_settings(p) || embedder.input_settings(p) || settings end,
    format($f$#variable_conflict use_column
declare
  gone text[];
  was boolean;
  inside boolean;
  arrives boolean;
begin%s
  return null;
exception%s
end$f$, body, handlers));
  execute format('revoke all on function embedder.%I() from public', name);
end
$$;

-- The tables that need the triggers: the source and what is below it, since a statement fires the triggers of just the
-- table that it names.
-- Callable by: everybody.
create or replace function embedder.members_of(source regclass) returns regclass[]
language plpgsql stable set search_path = pg_catalog, pg_temp as $$
begin
  return (
    with recursive below as (
      select source::oid as member
      union select i.inhrelid from below b join pg_inherits i on i.inhparent = b.member and not i.inhdetachpending
    ) select array_agg(c.oid::regclass order by c.oid) from below b join pg_class c on c.oid = b.member and c.relkind in ('r', 'p'));
end
$$;

-- Whether rows of a table can be changed through a parent that is not one of its members.
create or replace function embedder.has_other_parents(source regclass) returns boolean
language plpgsql stable set search_path = pg_catalog, pg_temp as $$
declare
  members regclass[] := embedder.members_of(source);
begin
  return exists (select from pg_inherits i where i.inhrelid = any (members) and i.inhparent <> all (members));
end
$$;

-- Our triggers as they are there, with the table and the number of the pipeline; but for those that only another role may drop.
create or replace function embedder.present_triggers() returns table (pipeline_id int, relation oid, name name)
language plpgsql stable set search_path = pg_catalog, pg_temp as $$
begin
  return query
    select substring(f.proname from e'^pipeline_(\\d+)_')::int, t.tgrelid, t.tgname
    from pg_trigger t join pg_proc f on f.oid = t.tgfoid join pg_class c on c.oid = t.tgrelid
    where f.pronamespace = 'embedder'::regnamespace and f.proname ~ e'^pipeline_\\d+_' and t.tgname ~ e'^embedder_\\d+_'
      and pg_has_role(c.relowner, 'MEMBER');
end
$$;

-- The pipelines that have a trigger too few or too many: somebody has dropped one, or a dump was restored under another name.
create or replace function embedder.mistriggered_pipelines() returns setof int
language plpgsql stable set search_path = pg_catalog, pg_temp as $$
begin
  return query
    select coalesce(w.id, t.pipeline_id)
    from (select p.id, m::oid as relation from embedder.pipeline p, unnest(p.members) m) w
    full join (select t.pipeline_id, t.relation, count(*) from embedder.present_triggers() t group by 1, 2) t
      on t.pipeline_id = w.id and t.relation = w.relation
    -- Each member has one for inserts, deletes, updates and truncations.
    where t.count is distinct from 4 or w.id is null;
end
$$;

-- Gives each member its triggers, and takes them from tables that are not members any more. Only tables whose triggers are not as
-- they should be are locked. True: there were such tables.
drop function if exists embedder.place_triggers(embedder.pipeline);

create or replace function embedder.place_triggers(p embedder.pipeline) returns boolean
language plpgsql set search_path = pg_catalog, pg_temp as $$
declare
  wanted regclass[] := embedder.members_of(p.source);
  row_deletes boolean := embedder.foreign_below(p.source) is not null or embedder.has_other_parents(p.source);
  changed regclass[];
  statements text[];
begin
  with wanted_triggers as (
    select m.member, t.definition, t.function,
      format('embedder_%s_%s', p.id, t.verb) as name
    from unnest(wanted) m(member), lateral (
      select v.verb, format('after %s on %s %s for each statement', v.event, m.member, v.tables) as definition,
        format('pipeline_%s_%s', p.id, case when v.verb = 'truncated' and m.member <> p.source then 'pruned' else v.verb end) as function
      from (values
        ('inserted', 'insert', 'referencing new table as new_rows'),
        ('deleted', 'delete', 'referencing old table as old_rows'),
        ('truncated', 'truncate', '')) v(verb, event, tables)
      where v.verb <> 'deleted' or not row_deletes
      union all
      select 'removed', format('after delete on %s for each row', m.member), format('pipeline_%s_removed', p.id) where row_deletes
      union all
      select case when embedder.by_row(p) then 'changed' else 'updated' end,
        format(case when embedder.by_row(p) then 'after update on %s for each row'
          else 'after update on %s referencing old table as old_rows new table as new_rows for each statement' end, m.member),
        format('pipeline_%s_%s', p.id, case when embedder.by_row(p) then 'changed' else 'updated' end)) t
  )
  select array_agg(distinct c.member), array_agg(c.statement) into changed, statements from (
    select t.relation::regclass as member, format('drop trigger %I on %s', t.name, t.relation::regclass) as statement
    from embedder.present_triggers() t
    where t.pipeline_id = p.id and not exists (select from wanted_triggers w where w.member = t.relation and w.name = t.name)
    union all
    select w.member, format('create trigger %I %s execute function embedder.%I()', w.name, w.definition, w.function)
    from wanted_triggers w
    where not exists (select from pg_trigger t where t.tgrelid = w.member and t.tgname = w.name)) c;
  perform embedder.briefly(coalesce(changed, '{}'), coalesce(statements, '{}'));
  return changed is not null;
end
$$;

create or replace function embedder.drop_functions(pipeline_id int) returns void
language plpgsql set search_path = pg_catalog, pg_temp as $$
declare
  f record;
begin
  for f in
    select tgname as name, tgrelid::regclass as relation from pg_trigger where tgname ~ format('^embedder_%s_', pipeline_id)
  loop
    execute format('drop trigger %I on %s', f.name, f.relation);
  end loop;
  for f in
    select oid::regprocedure as name from pg_proc
    where pronamespace = 'embedder'::regnamespace and proname ~ format('^pipeline_%s_', pipeline_id)
  loop
    -- The view that stands on one of them is gone already, unless its source is gone.
    execute format('drop function %s cascade', f.name);
  end loop;
  for f in
    select oid::regclass as name from pg_class
    where relnamespace = 'embedder'::regnamespace and relname ~ format('^pipeline_%s_', pipeline_id) and relkind = 'v'
  loop
    execute format('drop view %s', f.name);
  end loop;
end
$$;
