-- Each pipeline has functions of its own, named embedder.pipeline_<id>_<verb>, so that their SQL is static and typed.
-- They are made again whenever the pipeline changes, and by every migration, and run with the rights of the source's
-- owner: what the input, the filter or a type of the user's own may do there, its owner may do. Here: what the triggers on
-- the source run.
--   inserted, deleted, truncated            one trigger each, once a statement
--   changed, once a row; or updated          for updates (sql/generated/updates.sql)
--   removed, once a row                     instead of deleted, above a foreign table
--   pruned                                  instead of truncated on a partition or child
--   enqueue_each(row_keys, fresh)           sql/generated/long_keys.sql
--   forget(row_keys)                        drops jobs, dead letters and sidecar rows of rows that are gone

create or replace function embedder.create_function(head text, settings text, body text) returns void
language plpgsql set search_path = pg_catalog, pg_temp as $$
begin
  execute format('create or replace function embedder.%s language plpgsql set search_path = pg_catalog, pg_temp %s as %L',
    -- Parameters are written $1, $2: a name in the body always means the user's column of that name.
    head, settings, '#variable_conflict use_column' || body);
end
$$;

create or replace function embedder.create_function(p embedder.pipeline, verb text, head text, settings text, body text) returns void
language sql set search_path = pg_catalog, pg_temp as $$
  -- Its owner, who may alter it, could make it run with the rights of its caller, who may be the schema's owner: then it
  -- must do nothing. Every name is qualified, since the owner may set a search_path as well. The owner is written down here: a
  -- transaction above READ COMMITTED may be older than the function, and then does not find it in pg_proc. It is looked up
  -- as well, since the function may have another owner by now.
  select embedder.create_function(format('%I%s', format('pipeline_%s_%s', p.id, verb), head), 'security definer ' || settings,
    format($f$
begin
  if not coalesce(pg_catalog.to_regrole(pg_catalog.quote_ident(current_user))::pg_catalog.oid operator(pg_catalog.=) %L::pg_catalog.oid, false) and not exists (
    select from pg_catalog.pg_proc f
    where f.oid operator(pg_catalog.=) %L::pg_catalog.regproc::pg_catalog.oid
      and pg_catalog.pg_get_userbyid(f.proowner) operator(pg_catalog.=) current_user
  ) then
    raise insufficient_privilege using message = 'a function of a pipeline runs as its owner only';
  end if;%s;
end$f$, (select c.relowner from pg_class c where c.oid = p.source), format('embedder.pipeline_%s_%s', p.id, verb), body))
$$;

-- Functions that do a statement with the rights of the source's owner. Whatever runs code of that owner's (a filter, a
-- trigger or an index of the sidecar's, a cast or a domain of the key's) is done through these by what runs with the rights of
-- the schema's owner.
--   act(statement)   does it
--   ask(statement)   gives back its one value
create or replace function embedder.generate_actor(p embedder.pipeline) returns void
language plpgsql set search_path = pg_catalog, pg_temp as $$
begin
  perform embedder.create_function(p, 'act', '(statement text) returns void', '', e'\nbegin execute $1; end');
  perform embedder.create_function(p, 'ask', '(statement text, out answer jsonb)', '', e'\nbegin execute $1 into $2; end');
  perform embedder.own_functions(p);
end
$$;

create or replace function embedder.act_as_owner(p embedder.pipeline, statement text) returns void
language plpgsql set search_path = pg_catalog, pg_temp as $$
begin
  execute format('select embedder.%I($1)', format('pipeline_%s_act', p.id)) using statement;
end
$$;

create or replace function embedder.generate_triggers(p embedder.pipeline) returns void
language plpgsql set search_path = pg_catalog, pg_temp as $$
declare
  new_key text := embedder.key_expression(p.source, 'n');
  old_key text := embedder.key_expression(p.source, 'o');
  filtered text := embedder.and_filter(p);
  -- A deferrable key can be double for a moment inside a transaction: ON CONFLICT takes each key once, and a job cannot stand for
  -- two new rows. So these are counted at once.
  doubles boolean := (select not indimmediate from pg_index where indrelid = p.source and indisprimary);
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
    format(e'\n    insert into %s (row_key, fresh) %s;%s', embedder.book(p, 'job'), inserted, embedder.wake_statement()) || counted,
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

  -- Above a foreign table: PostgreSQL keeps no row of one in a transition table, and refuses the statement.
  perform embedder.generate_trigger(p, 'removed', '', format($f$
    if %2$s then perform embedder.%1$I(array[%3$s]); end if;$f$,
    format('pipeline_%s_forget', p.id), case when p.filter is null then 'true' else format('exists (select from (select old.*) o where (%s))', p.filter) end,
    embedder.key_expression(p.source, 'old'))
    || case when p.sidecar then '' else
      embedder.tally_vectors(p, format('case when %s then -1 else 0 end', embedder.has_result(p, 'old'))) end,
    null, null, embedder.enqueue_statement(p, format('select %s, false', embedder.key_expression(p.source, 'old'))) || embedder.recount_statement(p));

  perform embedder.generate_trigger(p, 'truncated', '', format($f$
    -- A parent of an old-style inheritance can be truncated alone.
    if exists (select from pg_class c join pg_inherits i on i.inhparent = c.oid where c.oid = tg_relid and c.relkind = 'r') then%3$s
      return null;
    end if;
    delete from embedder.pipeline_%1$s_job;
    delete from embedder.pipeline_%1$s_dead_letter;
    delete from embedder.pipeline_%1$s_empty_row;
    delete from embedder.pipeline_%1$s_tally;%2$s
    -- It does not see rows that came after its snapshot: their jobs find the rows gone.
    if current_setting('transaction_isolation') not like 'read%%' then%3$s end if;$f$,
    p.id, case when p.sidecar then format(' truncate %s;', embedder.target_of(p)) else '' end, embedder.recount_statement(p)));

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

-- The statement that counts a change of the number of vectors in a target column, which anybody may write.
create or replace function embedder.tally_vectors(p embedder.pipeline, change text) returns text
language sql stable set search_path = pg_catalog, pg_temp as $$
  select format($f$
    insert into %s (embedded_rows)
    select t.change from (select %s) t(change) where t.change operator(pg_catalog.<>) 0;$f$, embedder.book(p, 'tally'), change)
$$;

-- The statement that asks a worker to count again.
create or replace function embedder.recount_statement(p embedder.pipeline) returns text
language sql immutable set search_path = pg_catalog, pg_temp as $$
  select format(e'\n    insert into %s (recount) values (true);', embedder.book(p, 'tally'))
$$;

-- forget takes rows off the books that are gone or have left the filter; its list may name a key more than once. A key that a row
-- has nevertheless (a deferrable key was double for a moment, or went to another row) is queued instead.
--
-- Above READ COMMITTED all of them are queued as well. What came after the snapshot is invisible there: a job then makes
-- PostgreSQL raise 40001, and a result is emptied when a worker finds the row gone.
create or replace function embedder.generate_forget(p embedder.pipeline) returns void
language plpgsql set search_path = pg_catalog, pg_temp as $$
begin
  -- One plan of lookups for all calls: it may be called for each row of a large update.
  perform embedder.create_function(p, 'forget', '(row_keys text[]) returns void',
    embedder.key_settings(p.source) || replace(embedder.lookup_settings(), 'custom', 'generic') || ' set enable_hashjoin = off set enable_mergejoin = off',
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
    embedder.check_sight(p.target_table)) else '' end,
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

  -- Notes that a trigger could not do its work. Only the first one writes, and nobody waits for it: the writers of a broken
  -- pipeline must not queue behind each other.
  perform embedder.create_function(p, 'failed', '(operation text, message text) returns void', '', format($f$
begin
  update embedder.pipeline_%1$s_self p set
    trigger_error = format('its %%s trigger failed, so rows written since are not queued: %%s. Mend the table, then: select embedder.resume_pipeline(%%L)',
      lower($1), $2, p.name)
  where p.id = (select s.id from embedder.pipeline_%1$s_self s where s.trigger_error is null for update skip locked);
end$f$, p.id));

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

-- For functions that look rows up by a list of keys. Through the index, and planned again each time: a plan made while a
-- table was small would read the whole table each time when it has grown, until the next ANALYZE. No JIT: switching a plan off
-- raises its cost, and compiling for that cost takes 100 times as long as the lookup.
create or replace function embedder.lookup_settings() returns text
language sql immutable
return ' set plan_cache_mode = force_custom_plan set enable_seqscan = off set jit = off';

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
  lean boolean := verb in ('inserted', 'changed') and p.filter is null and embedder.key_settings(p.source) = '' and cardinality(p.key_columns) = 1;
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
    case when lean then '' else 'set search_path = pg_catalog, pg_temp set jit = off ' || embedder.key_settings(p.source) || settings end,
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

-- Gives each member its triggers, and takes them from tables that are not members any more. Only tables whose triggers are not as
-- they should be are locked. True: there were such tables.
drop function if exists embedder.place_triggers(embedder.pipeline);
create or replace function embedder.place_triggers(p embedder.pipeline) returns boolean
language plpgsql set search_path = pg_catalog, pg_temp as $$
declare
  wanted regclass[] := embedder.members_of(p.source);
  above_foreign boolean := embedder.foreign_below(p.source) is not null;
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
      where v.verb <> 'deleted' or not above_foreign
      union all
      select 'removed', format('after delete on %s for each row', m.member), format('pipeline_%s_removed', p.id) where above_foreign
      union all
      select case when embedder.by_row(p) then 'changed' else 'updated' end,
        format(case when embedder.by_row(p) then 'after update on %s for each row'
          else 'after update on %s referencing old table as old_rows new table as new_rows for each statement' end, m.member),
        format('pipeline_%s_%s', p.id, case when embedder.by_row(p) then 'changed' else 'updated' end)) t
  )
  select array_agg(distinct c.member), array_agg(c.statement) into changed, statements from (
    select t.tgrelid::regclass as member, format('drop trigger %I on %s', t.tgname, t.tgrelid::regclass) as statement
    from pg_trigger t
    where t.tgname ~ format('^embedder_%s_', p.id) and not exists (select from wanted_triggers w where w.member = t.tgrelid and w.name = t.tgname)
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
