-- How results are written and jobs taken away, in one statement.

-- complete is one statement: it writes the target and deletes the jobs of just those rows whose job still has the
-- version that was claimed. Where the last result column is null the target is emptied. Rows that somebody else has locked
-- are left out (skip locked), so that no open transaction stalls a worker and no worker is part of a deadlock; the caller
-- tries those again. It commits asynchronously: a crash of the server can undo vectors only together with the deletion
-- of their jobs, so they are computed again and nothing is lost.
--
-- Its parameters: $1 row_keys, $2 versions, $3 model, $4 source_hashes, then one array for each of result_columns; of a
-- chunked pipeline in between $5 places (in row_keys, from 1), $6 chunks, $7 texts, $8 starts, $9 ends, $10 headings, $11 hashes.
create or replace function embedder.generate_complete(p embedder.pipeline, writes text) returns void
language plpgsql set search_path = pg_catalog, pg_temp as $$
declare
  columns embedder.result_column[] := embedder.result_columns(p);
  rowwise boolean := p.chunking is null;
  name text := format('pipeline_%s_complete', p.id);
  f regprocedure;
begin
  -- Its parameters change with the task.
  for f in select oid from pg_proc where pronamespace = 'embedder'::regnamespace and proname = name loop
    execute format('drop function %s', f);
  end loop;
  perform embedder.create_function(p, 'complete', format('(text[], bigint[], text, uuid[]%s%s) returns setof text',
      case when rowwise then '' else ', int[], int[], text[], int[], int[], text[], uuid[]' end,
      (select string_agg(format(', %s[]', c.given_type), '' order by c.place) from unnest(columns) c)),
    embedder.key_settings(p.source) || ' set lock_timeout = ''2s'''
      -- To plan it with 512 vectors as constants takes three times as long as to run it. Not so for chunks: there may be thousands,
      -- and they are joined with their rows by hash.
      || case when rowwise then embedder.lookup_once_settings() else embedder.lookup_settings() end,
    embedder.fill($f$
begin{{check}}
  perform set_config('synchronous_commit', 'off', true), set_config('embedder.counted', '{{id}}', true);
  return query
  with held as materialized (
    select {{one_text}}k.row_key, k.source_hash, {{values}}, job.fresh
    from {{given}}
    cross join lateral (
      select j.fresh from embedder.pipeline_{{id}}_job j where j.row_key = k.row_key and j.version = k.version
      offset 0 for update of j skip locked
    ) job
  ), {{writes}}, revived as (
    delete from embedder.pipeline_{{id}}_dead_letter d
    where d.row_key = any (array(select done.row_key from done))
  ), textless as materialized (
    select held.row_key, held.source_hash from held join done on done.row_key = held.row_key
    where held.source_hash is not null and {{is_empty}}
  ), noted as (
    insert into embedder.pipeline_{{id}}_empty_row (row_key, source_hash) select textless.row_key, textless.source_hash from textless
    on conflict (pipeline_id, row_key) do update set source_hash = excluded.source_hash
  ), struck as (
    delete from embedder.pipeline_{{id}}_empty_row e
    where e.row_key = any (array(select done.row_key from done)) and e.row_key <> all (array(select textless.row_key from textless))
  ), gone as (
    -- Not to be counted: rows that were deleted or have left the filter while their job did not change.
    select held.row_key from held
    where held.fresh and {{is_empty}} and not exists (select from {{source}} source where {{same_row}}{{filter}})
  ), asked as (
    -- But rows that a trigger of the user's deletes as they come were taken from the tally before they were on the queue.
    insert into embedder.pipeline_{{id}}_tally (recount) select true from gone limit 1
  ), counted as (
    insert into embedder.pipeline_{{id}}_tally (source_rows, embedded_rows, done)
    select count(*) filter (where done.fresh and done.row_key <> all (array(select gone.row_key from gone))),
      (select vectors.change from vectors), count(*)
    from done having count(*) > 0
  )
  select done.row_key from done;{{check}}
  perform set_config('embedder.counted', '', true);
end$f$, jsonb_build_object(
    'id', p.id,
    'writes', writes,
    'check', embedder.check_tables(p),
    'values', case when rowwise then (select string_agg(format('k.v%s', c.place), ', ' order by c.place) from unnest(columns) c) else 'k.place' end,
    'given', case when rowwise
        -- In the list, where vectors go by one by one; after "from" all of them are copied first. Qualified there, since search_path is the session's.
        then format('(select pg_catalog.unnest($1) as row_key, pg_catalog.unnest($2) as version, pg_catalog.unnest($4) as source_hash, %s) k',
          (select string_agg(format('pg_catalog.unnest($%s) as v%s', c.place + 4, c.place), ', ' order by c.place) from unnest(columns) c))
        else 'unnest($1, $2, $4) with ordinality k(row_key, version, source_hash, place)' end,
    'is_empty', case when rowwise then format('held.v%s is null', cardinality(columns)) else 'not exists (select from given where given.row_key = held.row_key)' end,
    'source', p.source,
    'same_row', embedder.key_matches(p.source, 'source', 'held.row_key'),
    'filter', embedder.and_filter(p),
    'one_text', -- Of several jobs for one key (written as different texts) one is done at a time; the others are tried again after it.
      case when embedder.one_text(p.source) then '' else format('distinct on (%s) ', embedder.key_values(p.source, 'k.row_key')) end)));
  -- Triggers that the user has on the target run inside it, and find what they find in any other session. What stands
  -- above is safe without: each name is qualified or pg_catalog's own.
  execute format('alter function embedder.%I reset search_path', name);
end
$$;

-- The result columns of a row named row_alias, cast to the target's types.
create or replace function embedder.result_values(p embedder.pipeline, row_alias text) returns text
language sql stable set search_path = pg_catalog, pg_temp as $$
  select string_agg(format('%s.v%s::%s', row_alias, c.place, c.type_name), ', ' order by c.place) from unnest(embedder.result_columns(p)) c
$$;

create or replace function embedder.write_to_sidecar(p embedder.pipeline) returns text
language sql stable set search_path = pg_catalog, pg_temp as $$
  select embedder.fill($f$done as (
    delete from embedder.pipeline_{{id}}_job j where j.row_key = any (array(select held.row_key from held))
    returning j.row_key, j.fresh
  ), written as (
    insert into {{target}} ({{keys}}, chunk, {{columns}}, model, source_hash, embedded_at)
    select {{key_values}}, 0, {{values}}, $3, held.source_hash, now() from held where held.v{{last}} is not null
    on conflict ({{keys}}, chunk) do update
      set {{set_columns}}, model = excluded.model, source_hash = excluded.source_hash, embedded_at = excluded.embedded_at
    returning (xmax = 0) as added
  ), emptied as (
    delete from {{target}} t using held where held.v{{last}} is null and {{same_target_row}} returning 1
  ), vectors as (
    select (select count(*) from written where written.added) - (select count(*) from emptied) as change
  )$f$, jsonb_build_object(
    'id', p.id,
    'target', embedder.target_of(p),
    'keys', embedder.key_list(p.source),
    'columns', string_agg(quote_ident(c.column_name), ', ' order by c.place),
    'key_values', embedder.key_values(p.source, 'held.row_key'),
    'same_target_row', embedder.key_matches(p.source, 't', 'held.row_key'),
    'values', embedder.result_values(p, 'held'),
    'last', max(c.place),
    'set_columns', string_agg(format('%1$I = excluded.%1$I', c.column_name), ', ' order by c.place)))
  from unnest(embedder.result_columns(p)) c
$$;

-- Whether a chunk was written by this pipeline, and not by an earlier one that has left its sidecar, perhaps with the same model
-- and other options: only then does the same text have the same vector.
create or replace function embedder.is_own_chunk(p embedder.pipeline, row_alias text) returns text
language sql stable set search_path = pg_catalog, pg_temp as $$
  select format('%1$s.model = %2$L and %1$s.embedded_at >= to_timestamp(%3$s)', row_alias, p.model, extract(epoch from p.created_at))
$$;

-- Replaces exactly the chunks of each row. A chunk that comes without a vector keeps the one that a chunk of the same
-- text has; where that is gone meanwhile, its row is left out and tried again. A chunk that has not moved is not written, except
-- for the hash of the whole text on chunk 0: in an update of its own, which leaves the vector and its index alone.
create or replace function embedder.write_chunks(p embedder.pipeline) returns text
language sql stable set search_path = pg_catalog, pg_temp as $$
  select embedder.fill($f$given as materialized (
    select held.row_key, held.source_hash, g.chunk, g.chunk_text, g.chunk_start, g.chunk_end, g.heading, g.input_hash, {{kept_values}}
    from (select pg_catalog.unnest($5) as place, pg_catalog.unnest($6) as chunk, pg_catalog.unnest($7) as chunk_text, pg_catalog.unnest($8) as chunk_start, pg_catalog.unnest($9) as chunk_end,
      pg_catalog.unnest($10) as heading, pg_catalog.unnest($11) as input_hash, {{given_values}}) g
    join held on held.place = g.place
    left join lateral (
      select {{kept_columns}} from {{target}} t where g.v{{last}} is null and t.input_hash = g.input_hash and {{is_own_chunk}} and t.{{marker}} is not null and {{same_target_row}} limit 1
    ) kept on true
  ), lacking as (
    select distinct given.row_key from given where given.v{{last}} is null
  ), done as (
    delete from embedder.pipeline_{{id}}_job j
    where j.row_key = any (array(select held.row_key from held where held.row_key not in (select lacking.row_key from lacking)))
    returning j.row_key, j.fresh
  ), written as (
    insert into {{target}} as t ({{keys}}, chunk, chunk_text, chunk_start, chunk_end, heading, input_hash, {{columns}}, model, source_hash, embedded_at)
    select {{given_keys}}, given.chunk, given.chunk_text, given.chunk_start, given.chunk_end, given.heading, given.input_hash, {{values}}, $3,
      case given.chunk when 0 then given.source_hash end, now()
    from given where given.row_key not in (select lacking.row_key from lacking)
    on conflict ({{keys}}, chunk) do update
      set chunk_text = excluded.chunk_text, chunk_start = excluded.chunk_start, chunk_end = excluded.chunk_end,
        heading = excluded.heading, input_hash = excluded.input_hash, {{set_columns}}, model = excluded.model, source_hash = excluded.source_hash,
        embedded_at = excluded.embedded_at
      where (t.input_hash, t.chunk_text, t.chunk_start, t.chunk_end, t.heading)
        is distinct from (excluded.input_hash, excluded.chunk_text, excluded.chunk_start, excluded.chunk_end, excluded.heading)
        or t.{{marker}} is null or not ({{is_own_chunk}})
    returning t.chunk, (t.xmax = 0) as added
  ), rehashed as (
    update {{target}} t set source_hash = given.source_hash
    from given where given.chunk = 0 and t.chunk = 0 and {{same_given_row}} and given.row_key not in (select lacking.row_key from lacking)
      and t.source_hash is distinct from given.source_hash and t.{{marker}} is not null and {{is_own_chunk}}
      and (t.input_hash, t.chunk_text, t.chunk_start, t.chunk_end, t.heading)
        is not distinct from (given.input_hash, given.chunk_text, given.chunk_start, given.chunk_end, given.heading)
  ), removed as (
    delete from {{target}} t using held
    where {{same_target_row}} and held.row_key not in (select lacking.row_key from lacking)
      and not exists (select from given where given.row_key = held.row_key and given.chunk = t.chunk)
    returning t.chunk
  ), vectors as (
    select (select count(*) from written where written.added and written.chunk = 0)
      - (select count(*) from removed where removed.chunk = 0) as change
  )$f$, jsonb_build_object(
    'id', p.id,
    'target', embedder.target_of(p),
    'keys', embedder.key_list(p.source),
    'columns', string_agg(quote_ident(c.column_name), ', ' order by c.place),
    'given_keys', embedder.key_values(p.source, 'given.row_key'),
    'same_target_row', embedder.key_matches(p.source, 't', 'held.row_key'),
    'kept_values', string_agg(format('coalesce(g.v%1$s::%2$s, kept.%3$I) as v%1$s', c.place, c.type_name, c.column_name), ', ' order by c.place),
    'given_values', string_agg(format('pg_catalog.unnest($%s) as v%s', c.place + 11, c.place), ', ' order by c.place),
    'kept_columns', string_agg(format('t.%I', c.column_name), ', ' order by c.place),
    'last', max(c.place),
    'values', embedder.result_values(p, 'given'),
    'set_columns', string_agg(format('%1$I = excluded.%1$I', c.column_name), ', ' order by c.place),
    'marker', quote_ident(embedder.result_marker(p)),
    'same_given_row', embedder.key_matches(p.source, 't', 'given.row_key'),
    'is_own_chunk', embedder.is_own_chunk(p, 't')))
  from unnest(embedder.result_columns(p)) c
$$;

create or replace function embedder.write_to_column(p embedder.pipeline) returns text
language sql stable set search_path = pg_catalog, pg_temp as $$
  select embedder.fill($f$locked as materialized (
    select held.*, source.had
    from held
    cross join lateral (
      select (source.{{marker}} is not null) as had from {{target}} source where {{same_held_row}} offset 0 for no key update of source skip locked
    ) source
  ), settled as (
    select held.row_key from held
    where held.row_key in (select locked.row_key from locked) or not exists (select from {{target}} source where {{same_held_row}})
  ), done as (
    delete from embedder.pipeline_{{id}}_job j where j.row_key = any (array(select settled.row_key from settled))
    returning j.row_key, j.fresh
  ), written as (
    update {{target}} source set {{set_columns}}, {{hash_column}} = case when locked.v{{last}} is not null then locked.source_hash end from locked where {{same_locked_row}}
  ), vectors as (
    select {{change}} as change
  )$f$, jsonb_build_object(
    'id', p.id,
    'target', embedder.target_of(p),
    'same_held_row', embedder.key_matches(p.source, 'source', 'held.row_key'),
    'set_columns', string_agg(format('%I = locked.v%s::%s', c.column_name, c.place, c.type_name), ', ' order by c.place),
    'same_locked_row', embedder.key_matches(p.source, 'source', 'locked.row_key'),
    'hash_column', quote_ident(embedder.hash_column(p)),
    'last', max(c.place),
    'marker', quote_ident(embedder.result_marker(p)),
    'change', -- A trigger counts all other writes, and passes over this one; on a partitioned table it is the trigger for all updates.
    case when embedder.by_row(p) then format('(select count(*) filter (where locked.v%1$s is not null) - count(*) filter (where locked.had) from locked)', max(c.place))
      else '0::bigint' end))
  from unnest(embedder.result_columns(p)) c
$$;
