-- What the worker calls for a batch of one pipeline, generated for it as in 04_triggers.sql:
--   row_key(given)                                  a key as a user writes it -> the row key
--   enqueue_all()                                   queues every row of the source; gives back how many
--   read(row_keys, max_characters)                  the input of each row that exists, with its place in row_keys
--   complete(row_keys, versions, embeddings, model) writes a batch; gives back the row keys that are done

create or replace function embedder.generate_functions(p embedder.pipeline) returns void
language plpgsql set search_path = pg_catalog, pg_temp as $$
begin
  perform embedder.generate_triggers(p);
  perform embedder.generate_row_key(p);
  perform embedder.generate_read(p);
  perform embedder.generate_enqueue_all(p);
  perform embedder.generate_complete(p,
    case when p.sidecar then embedder.write_to_sidecar(p) else embedder.write_to_column(p) end);
end
$$;
comment on function embedder.generate_functions is 'Makes, or makes again, all functions of a pipeline''s own.';

create or replace function embedder.generate_row_key(p embedder.pipeline) returns void
language plpgsql set search_path = pg_catalog, pg_temp as $$
begin
  perform embedder.create_function(
    format('%I(given text) returns text', format('pipeline_%s_row_key', p.id)),
    'security definer ' || embedder.key_settings(p.source),
    -- As the row itself has it, if it is there: 1.5 and 1.50 are one key and two texts. Null where a column is missing.
    -- Locked, so that nobody is deleting it meanwhile: its trigger would not see the job, and a vector would stay behind.
    format(e'\nbegin return (select coalesce((select %s from %s source where %s for key share), %s) from (select %s) k(%s) where k.* is not null); end',
      embedder.key_expression(p.source, 'source'), p.source, embedder.key_matches(p.source, 'source', '$1'),
      embedder.key_expression(p.source, 'k'), embedder.key_values(p.source, '$1'),
      (select string_agg(quote_ident(column_name), ', ' order by place) from embedder.key_columns(p.source))));
end
$$;

create or replace function embedder.generate_enqueue_all(p embedder.pipeline) returns void
language plpgsql set search_path = pg_catalog, pg_temp as $$
begin
  perform embedder.create_function(
    format('%I() returns bigint', format('pipeline_%s_enqueue_all', p.id)),
    embedder.key_settings(p.source),
    format(e'\ndeclare queued bigint;\nbegin%s\n  return queued;\nend',
      embedder.enqueue_statement(
        format('select %s, %s from %s source', p.id, embedder.key_expression(p.source, 'source'), p.source),
        'get diagnostics queued = row_count;')));
end
$$;

-- read and complete give up on a table that somebody has locked as a whole: the worker's other pipelines must not wait.
create or replace function embedder.generate_read(p embedder.pipeline) returns void
language plpgsql set search_path = pg_catalog, pg_temp as $$
begin
  perform embedder.create_function(
    format('%I(row_keys text[], max_characters int) returns table (place int, input text)',
      format('pipeline_%s_read', p.id)),
    embedder.key_settings(p.source) || embedder.lookup_settings() || ' set lock_timeout = ''2s''',
    format($f$
begin%4$s
  return query
    select k.place::int, row.input
    from unnest($1) with ordinality k(row_key, place)
    -- offset 0: from the keys to the rows, in this order, whatever the planner believes of the table's size.
    cross join lateral (select left(%1$s, $2) as input from %2$s source where %3$s offset 0) row;
end$f$,
      embedder.input_expression(p.source, p.input, 'source'), p.source,
      embedder.key_matches(p.source, 'source', 'k.row_key'), embedder.check_names(p)));
end
$$;

-- Functions hold the names of tables. When a table was renamed and another one has taken its name, they would read and
-- write that one; so they refuse, and the worker has them made again.
create or replace function embedder.check_names(p embedder.pipeline) returns text
language sql stable set search_path = pg_catalog, pg_temp as $$
  select format($f$
  if to_regclass(%L) is distinct from %s::regclass or to_regclass(%L) is distinct from %s::regclass then
    raise undefined_table using message = 'a table of the pipeline was renamed';
  end if;$f$, p.source, p.source::oid, p.target_table, p.target_table::oid)
$$;

-- complete is one statement: it writes the target and deletes the jobs of just those rows whose job still has the
-- version that was claimed. A null embedding empties the target. Rows that somebody else has locked are left out
-- (skip locked), so that no open transaction stalls a worker and no worker is part of a deadlock; the caller tries
-- those again. It commits asynchronously: a crash of the server can undo vectors only together with the deletion of
-- their jobs, so they are computed again and nothing is lost.
create or replace function embedder.generate_complete(p embedder.pipeline, writes text) returns void
language plpgsql set search_path = pg_catalog, pg_temp as $$
begin
  perform embedder.create_function(
    format('%I(row_keys text[], versions xid8[], embeddings %s[], model text) returns setof text',
      format('pipeline_%s_complete', p.id), embedder.vector_type()),
    embedder.key_settings(p.source) || embedder.lookup_settings() || ' set lock_timeout = ''2s''',
    format($f$
begin%3$s
  perform set_config('synchronous_commit', 'off', true);
  return query
  with held as materialized (
    select k.row_key, k.embedding
    from unnest($1, $2, $3) k(row_key, version, embedding)
    cross join lateral (
      select from embedder.job j where j.pipeline_id = %1$s and j.row_key = k.row_key and j.version = k.version
      offset 0 for update of j skip locked
    ) job
  ), %2$s, revived as (
    delete from embedder.dead_letter d
    where d.pipeline_id = %1$s and d.row_key = any (array(select done.row_key from done))
  )
  select done.row_key from done;
end$f$, p.id, writes, embedder.check_names(p)));
  -- Triggers that the user has on the target run inside it, and find what they find in any other session. What stands
  -- above is safe without: each name is qualified or pg_catalog's own.
  execute format('alter function embedder.%I(text[], xid8[], %s[], text) reset search_path',
    format('pipeline_%s_complete', p.id), embedder.vector_type());
end
$$;

create or replace function embedder.write_to_sidecar(p embedder.pipeline) returns text
language sql stable set search_path = pg_catalog, pg_temp as $$
  select format($f$done as (
    delete from embedder.job j where j.pipeline_id = %1$s and j.row_key = any (array(select held.row_key from held))
    returning j.row_key
  ), written as (
    insert into %2$s (%3$s, chunk, %4$I, model, embedded_at)
    select %5$s, 0, held.embedding, $4, now() from held where held.embedding is not null
    on conflict (%3$s, chunk) do update
      set %4$I = excluded.%4$I, model = excluded.model, embedded_at = excluded.embedded_at
  ), emptied as (
    delete from %2$s t using held where held.embedding is null and %6$s
  )$f$,
    p.id, p.target_table,
    (select string_agg(quote_ident(column_name), ', ' order by place) from embedder.key_columns(p.source)),
    p.target_column,
    embedder.key_values(p.source, 'held.row_key'), embedder.key_matches(p.source, 't', 'held.row_key'))
$$;

create or replace function embedder.write_to_column(p embedder.pipeline) returns text
language sql stable set search_path = pg_catalog, pg_temp as $$
  select format($f$locked as materialized (
    select held.row_key, held.embedding
    from held
    cross join lateral (
      select from %2$s source where %3$s offset 0 for no key update of source skip locked
    ) source
  ), settled as (
    select held.row_key from held
    where held.row_key in (select locked.row_key from locked) or not exists (select from %2$s source where %3$s)
  ), done as (
    delete from embedder.job j where j.pipeline_id = %1$s and j.row_key = any (array(select settled.row_key from settled))
    returning j.row_key
  ), written as (
    update %2$s source set %4$I = locked.embedding from locked where %5$s
  )$f$,
    p.id, p.target_table, embedder.key_matches(p.source, 'source', 'held.row_key'), p.target_column,
    embedder.key_matches(p.source, 'source', 'locked.row_key'))
$$;
