-- What the triggers for updates do. A table has a row trigger, which keeps nothing of the statement's rows: transition tables go
-- to temporary files, and a temp_file_limit would make updates of other columns fail. It has no column list and no condition: those
-- would keep the owner from changing the columns' types. A partitioned table has one trigger for the statement, with transition
-- tables: a row that moves to another partition has no row trigger for an update.

-- Whether a pipeline's updates are seen row by row.
create or replace function embedder.by_row(p embedder.pipeline) returns boolean
language sql stable set search_path = pg_catalog, pg_temp as $$
  select c.relkind = 'r' from pg_class c where c.oid = p.source
$$;

-- SQL for "one of these columns has changed": as text and byte by byte, since values that are equal may have other texts.
create or replace function embedder.columns_changed(columns text[]) returns text
language sql immutable set search_path = pg_catalog, pg_temp as $$
  select coalesce(string_agg(format(
    'coalesce(old.%1$I::pg_catalog.text operator(pg_catalog.<>) new.%1$I::pg_catalog.text collate pg_catalog."C", (old.%1$I is null) operator(pg_catalog.<>) (new.%1$I is null))',
    c), ' or '), 'false') from unnest(columns) c
$$;

create or replace function embedder.generate_updates(p embedder.pipeline) returns void
language plpgsql set search_path = pg_catalog, pg_temp as $$
begin
  if embedder.by_row(p) then
    perform embedder.generate_row_updates(p);
  else
    perform embedder.generate_statement_updates(p);
  end if;
end
$$;

create or replace function embedder.generate_row_updates(p embedder.pipeline) returns void
language plpgsql set search_path = pg_catalog, pg_temp as $$
declare
  old_key text := embedder.key_expression(p.source, 'old');
  new_key text := embedder.key_expression(p.source, 'new');
  moved text := format('%s operator(pg_catalog.<>) %s', embedder.key_expression(p.source, 'old'), embedder.key_expression(p.source, 'new'));
  doubles boolean := embedder.may_double(p.source);
  forget text := format('perform embedder.%I(array[%s]);', format('pipeline_%s_forget', p.id), old_key);
  arrived text := case when doubles then format('insert into %s (source_rows) values (1);', embedder.book(p, 'tally')) else '' end;
  -- Both keys: a worker finds out which row there is.
  if_long text := embedder.enqueue_each_statement(p, format('values (%s, false), (%s, false)', old_key, new_key)) || embedder.recount_statement(p);
  blindly text := embedder.enqueue_statement(p, format('select %s, false union select %s, false', old_key, new_key)) || embedder.recount_statement(p);
  marker text := embedder.result_marker(p);
  changed text := concat_ws(' or ', embedder.columns_changed(embedder.input_columns(p)), case when not p.sidecar then embedder.lost_result(p, 'old', 'new') end);
  -- Something else than the worker has given a row a vector or taken it away. The worker counts its own writes.
  counted text := case when p.sidecar then '' else format($f$
    if (old.%1$I is null) operator(pg_catalog.<>) (new.%1$I is null) and pg_catalog.current_setting('embedder.counted', true) is distinct from %2$L then
      insert into %3$s (embedded_rows) values (case when new.%1$I is null then -1 else 1 end);
    end if;$f$, marker, p.id, embedder.book(p, 'tally')) end;
begin
  if p.filter is null then
    perform embedder.generate_trigger(p, 'changed', '', embedder.fill($f$
    if {{moved}} then
      {{forget}} {{arrived}}
    end if;
    if {{moved}} or {{changed}} then{{enqueue}}
    end if;{{counted}}$f$, jsonb_build_object(
    'moved', moved,
    'forget', forget,
    'arrived', arrived,
    'changed', changed,
    'enqueue', embedder.enqueue_statement(p, format('select %s, %s', new_key, case when doubles then 'false' else moved end)),
    'counted', counted)), null, if_long);
    return;
  end if;
  perform embedder.generate_trigger(p, 'changed', '', embedder.fill($f$
    was := exists (select from (select old.*) o where ({{filter}}));
    inside := exists (select from (select new.*) n where ({{filter}}));
    arrives := inside and (not was or {{moved}});
    if was and (not inside or {{moved}}) then
      {{forget}}
    end if;
    if arrives then
      null; {{arrived}}
    end if;
    if arrives or inside and ({{changed}}) then{{enqueue}}{{or_empty}}
    end if;{{counted}}$f$, jsonb_build_object(
    'filter', p.filter,
    'moved', moved,
    'forget', forget,
    'arrived', arrived,
    'changed', changed,
    'enqueue', embedder.enqueue_statement(p, format('select %s, %s', new_key, case when doubles then 'false' else 'arrives' end)),
    'or_empty', -- A row outside the filter with a vector: it has just left the filter, or something has given it one. A job empties it.
      case when p.sidecar then '' else format(e'\n    elsif not inside and new.%I is not null and (was or old.%1$I is null) then%s', marker,
        embedder.enqueue_statement(p, format('select %s, false', new_key))) end,
    'counted', counted)), null, if_long, blindly);
end
$$;

-- SQL for "something else than the worker has taken away the result of this row, or has put another one in its place", such as an
-- application that writes back the whole row as it has read it, with the vector of an earlier text.
create or replace function embedder.lost_result(p embedder.pipeline, was text, becomes text) returns text
language sql stable set search_path = pg_catalog, pg_temp as $$
  select format('%1$s.%3$I is not null and (%2$s.%3$I is null or %1$s.%3$I operator(%5$s.<>) %2$s.%3$I) and pg_catalog.current_setting(''embedder.counted'', true) is distinct from %4$L',
    was, becomes, embedder.result_marker(p), p.id,
    case (select t.result from embedder.tasks() t where t.name = p.task) when 'vector'
      then (select quote_ident(n.nspname) from pg_extension e join pg_namespace n on n.oid = e.extnamespace where e.extname = 'vector') else 'pg_catalog' end)
$$;

-- The columns of the source that a result is made of.
create or replace function embedder.input_columns(p embedder.pipeline) returns text[]
language sql stable set search_path = pg_catalog, pg_temp as $$
  select array_agg(c.name) from (
    select column_name from embedder.parse_input(p.source, p.input)
    union select t.column_name from embedder.parse_wrapping(p.source, p.chunking ->> 'template') w,
      unnest(array[w.before, w.after]) piece, embedder.parse_template(p.source, piece) t) c(name)
  where c.name is not null
$$;

create or replace function embedder.generate_statement_updates(p embedder.pipeline) returns void
language plpgsql set search_path = pg_catalog, pg_temp as $$
declare
  new_key text := embedder.key_expression(p.source, 'n');
  old_key text := embedder.key_expression(p.source, 'o');
  filtered text := embedder.and_filter(p);
  doubles boolean := embedder.may_double(p.source);
  distinct_rows text := case when doubles then 'distinct' else '' end;
  both_keys text := format('select %s, false from new_rows n union select %s, false from old_rows o', new_key, old_key);
begin
  -- PostgreSQL keeps the plan of the first update of a session, made for its few rows. A nested loop over the old and
  -- new rows would be that plan, and the session's next update, of 100,000 rows, would run for hours.
  perform embedder.generate_trigger(p, 'updated', 'set enable_nestloop = off set enable_hashjoin = on',
    embedder.forget_gone(p, filtered)
    || embedder.enqueue_statement(p, format(
      'select %s new.row_key, %s and old.row_key is null '
      'from (select %s as row_key, %s as input from new_rows n where true%s) new '
      'left join (select %s as row_key, %s as input from old_rows o where true%s) old on old.row_key = new.row_key '
      'where old.row_key is null or new.input is distinct from old.input',
      distinct_rows, (not doubles)::text, new_key, embedder.watched_expression(p, 'n'), filtered,
      old_key, embedder.watched_expression(p, 'o'), filtered))
    || case when doubles then format($f$
    insert into %s (source_rows)
    select count(*) from new_rows n where not exists (select from old_rows o where %s = %s%s)%s having count(*) > 0;$f$,
      embedder.book(p, 'tally'), old_key, new_key, filtered, filtered) else '' end
    || case when p.sidecar then '' else
      -- A row outside the filter with a vector: it has just left the filter, or something has given it one. A job empties it.
      case when p.filter is null then '' else embedder.enqueue_statement(p, format(
        'select %s %s, false from new_rows n where (%s) is not true and %s',
        distinct_rows, new_key, p.filter, embedder.has_result(p, 'n'))) end
      -- And a row inside the filter that has lost its vector.
      || embedder.enqueue_statement(p, format(
        'select %s %s, false from new_rows n where true%s and exists (select from old_rows o where %s = %s and %s)',
        distinct_rows, new_key, filtered, old_key, new_key, embedder.lost_result(p, 'o', 'n')))
      || embedder.tally_vectors(p, format(
        '(select count(*) from new_rows n where %s) - (select count(*) from old_rows o where %s)',
        embedder.has_result(p, 'n'), embedder.has_result(p, 'o'))) end,
    null, embedder.enqueue_each_statement(p, both_keys) || embedder.recount_statement(p),
    embedder.enqueue_statement(p, both_keys) || embedder.recount_statement(p));
end
$$;

-- The statements that forget the rows whose key has become another, or that have left the filter.
create or replace function embedder.forget_gone(p embedder.pipeline, filtered text) returns text
language sql stable set search_path = pg_catalog, pg_temp as $$
  select format($f$
    gone := array(select %2$s from old_rows o where true%4$s
      and not exists (select from new_rows n where %1$s = %2$s%4$s));
    if cardinality(gone) > 0 then perform embedder.%3$I(gone); end if;$f$,
    embedder.key_expression(p.source, 'n'), embedder.key_expression(p.source, 'o'), format('pipeline_%s_forget', p.id), filtered)
$$;
