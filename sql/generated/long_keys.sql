-- Keys that are too long for the queue. An index entry holds 2,704 bytes, and a longer key where it can be compressed; an entry of the queue has
-- a column more than one of the source, and holds a key of several columns as text. A row whose key does not fit has no job. It has a dead
-- letter under the beginning of its key with a hash of the whole, and without an attempt. No row is found by such a key: so whatever
-- looks for the rows of dead letters leaves those without an attempt alone.

-- Keys of up to so many bytes fit in any case.
create or replace function embedder.longest_key() returns int
language sql immutable
return 2600;

-- SQL for the key of the dead letter of a row whose key does not fit.
create or replace function embedder.letter_key(row_key text) returns text
language sql immutable set search_path = pg_catalog, pg_temp
return format('left(%1$s, 200) || ''... '' || md5(%1$s)', row_key);

-- enqueue_each(row_keys, fresh) does what enqueue does where that has met a key that does not fit.
create or replace function embedder.generate_long_keys(p embedder.pipeline) returns void
language plpgsql set search_path = pg_catalog, pg_temp as $$
begin
  perform embedder.create_function(p, 'enqueue_each', '(row_keys text[], fresh boolean[]) returns void', embedder.key_settings(p.source), embedder.fill($f$
declare
  long record;
begin{{enqueue_fitting}}
  for long in
    select k.row_key, coalesce(bool_or(k.fresh), false) as fresh from unnest($1, $2) k(row_key, fresh)
    where octet_length(k.row_key) > {{longest_key}} group by k.row_key
  loop
    begin{{enqueue_long}}
    exception when program_limit_exceeded then
      if exists (select from {{source}} source where {{same_row}}{{filter}}) then
        insert into {{dead_letters}} (row_key, attempts, error)
        values ({{letter_key}}, 0, format('its key has %s bytes, more than an index entry holds: the row is not embedded', octet_length(long.row_key)))
        on conflict (pipeline_id, row_key) do nothing;
        if long.fresh then insert into {{tally}} (source_rows) values (1); end if;
      else
        delete from {{dead_letters}} d where d.row_key = {{letter_key}};
      end if;
    end;
  end loop;
end$f$, jsonb_build_object(
    'longest_key', embedder.longest_key(),
    'enqueue_fitting', embedder.enqueue_statement(p, format('select k.row_key, coalesce(bool_or(k.fresh), false) from unnest($1, $2) k(row_key, fresh) '
      'where octet_length(k.row_key) <= %s group by k.row_key', embedder.longest_key())),
    'enqueue_long', embedder.enqueue_statement(p, 'select long.row_key, long.fresh'),
    'source', p.source,
    'same_row', embedder.key_matches(p.source, 'source', 'long.row_key'),
    'filter', embedder.and_filter(p),
    'dead_letters', embedder.book(p, 'dead_letter'),
    'tally', embedder.book(p, 'tally'),
    'letter_key', embedder.letter_key('long.row_key'))));
end
$$;

-- The statement that calls it; due is a query for (row_key, fresh).
create or replace function embedder.enqueue_each_statement(p embedder.pipeline, due text) returns text
language sql immutable set search_path = pg_catalog, pg_temp
return format(e'\n      perform %s(pg_catalog.array_agg(d.row_key), pg_catalog.array_agg(d.fresh)) from (%s) d(row_key, fresh);', embedder.book(p, 'enqueue_each'), due);
