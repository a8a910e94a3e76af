-- What the worker calls for a batch of one pipeline, generated for it as in sql/generated/triggers.sql:
--   row_key(given)                            a key as a user writes it -> the row key
--   read(row_keys, max_characters)            the input of each row that exists, with its place in row_keys and the hash
--                                             of all that its result is made of (null where the filter leaves it out)
--   complete(row_keys, versions, model, ...)  writes a batch; gives back the row keys that are done (sql/queue/complete.sql)

create or replace function embedder.generate_functions(p embedder.pipeline) returns void
language plpgsql set search_path = pg_catalog, pg_temp as $$
begin
  perform embedder.generate_books(p);
  perform embedder.generate_actor(p);
  perform embedder.generate_triggers(p);
  perform embedder.generate_row_key(p);
  perform embedder.generate_read(p);
  perform embedder.generate_backfill(p);
  perform embedder.generate_verify(p);
  perform embedder.generate_complete(p, case
    when p.chunking is not null then embedder.write_chunks(p)
    when p.sidecar then embedder.write_to_sidecar(p)
    else embedder.write_to_column(p) end);
  perform embedder.own_functions(p);
  -- Of an earlier version.
  if to_regclass(embedder.book(p, 'self')) is not null then execute format('drop view %s', embedder.book(p, 'self')); end if;
end
$$;
comment on function embedder.generate_functions is 'Makes, or makes again, all functions of a pipeline''s own.';

create or replace function embedder.generate_row_key(p embedder.pipeline) returns void
language plpgsql set search_path = pg_catalog, pg_temp as $$
begin
  perform embedder.create_function(p, 'row_key', '(given text) returns text', embedder.key_settings(p.source),
    -- As the row itself has it, if it is there: 1.5 and 1.50 are one key and two texts. Null where a column is missing.
    -- Locked, so that nobody deletes it meanwhile: the trigger would not see the job, and a vector would stay behind.
    format(e'\nbegin return (select coalesce((select %s from %s source where %s for key share), %s) from (select %s) k(%s) where k.* is not null); end',
      embedder.key_expression(p.source, 'source'), p.source, embedder.key_matches(p.source, 'source', '$1'),
      embedder.key_expression(p.source, 'k'), embedder.key_values(p.source, '$1'), embedder.key_list(p.source)));
end
$$;

-- The columns of the key, quoted, with commas.
-- Callable by: everybody.
create or replace function embedder.key_list(source regclass, row_alias text default null) returns text
language sql stable set search_path = pg_catalog, pg_temp as $$
  select string_agg(coalesce(row_alias || '.', '') || quote_ident(column_name), ', ' order by place) from embedder.key_columns(source)
$$;

-- read and complete give up on a table that somebody has locked as a whole: the worker's other pipelines must not wait.
--
-- Of a chunked pipeline, read gives beside the text what stands before and after each chunk, and the hashes of the
-- chunks that are there: those need no new vector.
create or replace function embedder.generate_read(p embedder.pipeline) returns void
language plpgsql set search_path = pg_catalog, pg_temp as $$
declare
  around text[] := embedder.chunk_wrapping(p, 'source');
  hash text := embedder.hash_expression(p, 'source');
begin
  perform embedder.create_function(p, 'read', format('(row_keys text[], max_characters int) returns table (place int, input text, source_hash uuid%s)',
      case when p.chunking is not null then ', before text, after text, hashes uuid[]' else '' end),
    embedder.key_settings(p.source) || embedder.lookup_settings() || ' set lock_timeout = ''2s''',
    embedder.fill($f$
begin{{check}}
  return query
    select k.place::int, row.*
    from unnest($1) with ordinality k(row_key, place)
    -- offset 0: from the keys to the rows, in this order, whatever the planner believes of the table's size.
    cross join lateral (select left({{input}}, $2), {{hash}}{{chunks}} from {{source}} source where {{same_row}} offset 0) row;{{check}}
end$f$, jsonb_build_object(
    'input', embedder.input_of(p, 'source'),
    'source', p.source,
    'same_row', embedder.key_matches(p.source, 'source', 'k.row_key'),
    'check', embedder.check_tables(p),
    'chunks', case when p.chunking is not null then format(', %s, %s, array(select t.input_hash from %s t where %s and t.%I is not null and %s)',
        around[1], around[2], embedder.target_of(p), embedder.keys_equal(p.source, 'source', 't'),
        embedder.result_marker(p), embedder.is_own_chunk(p, 't')) else '' end,
    'hash', -- Of the whole text: two texts may differ only after the cut.
      case when p.filter is null then hash else format('case when (%s) then %s end', p.filter, hash) end)));
end
$$;

-- What functions check before and after they read. Afterwards as well, since by then they hold locks that keep both from changing.
--
-- Functions hold the names of tables. When a table was renamed and another one has taken its name, they would read and
-- write that one; so they refuse, and the worker has them made again. And where row level security binds the owner, rows that
-- are there look like rows that are gone, and their results would be taken away.
create or replace function embedder.check_tables(p embedder.pipeline) returns text
language sql stable set search_path = pg_catalog, pg_temp as $$
  select format($f$
  if to_regclass(%L) is distinct from %s::regclass or to_regclass(%L) is distinct from %s::regclass then
    raise undefined_table using message = 'a table of the pipeline was renamed';
  end if;%s$f$, p.source, p.source::oid, embedder.target_of(p), p.target_table::oid, embedder.check_sight(p.source) || embedder.check_sight(p.target_table))
$$;

-- Callable by: everybody.
create or replace function embedder.check_sight(relation regclass) returns text
language sql stable set search_path = pg_catalog, pg_temp as $$
  select format($f$
  if row_security_active(%s::oid) then
    raise insufficient_privilege using message = %L;
  end if;$f$, relation::oid, embedder.hidden(relation))
$$;

-- Callable by: everybody.
create or replace function embedder.hidden(relation regclass) returns text
language sql stable set search_path = pg_catalog, pg_temp as $$
  select format('row level security of %s binds its owner too, so that rows which are there look gone', relation)
$$;

-- The same as a function.
-- Callable by: everybody.
create or replace function embedder.is_hidden(relation regclass) returns boolean
language plpgsql stable set search_path = pg_catalog, pg_temp as $$
begin
  return (
    select c.relrowsecurity and c.relforcerowsecurity and not r.rolsuper and not r.rolbypassrls
    from pg_class c join pg_roles r on r.oid = c.relowner where c.oid = relation);
end
$$;
