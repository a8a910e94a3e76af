-- The names of the tables, views and functions that are made for a pipeline.

-- base and suffix as one name, whole and unique. PostgreSQL counts 63 bytes and cuts what is longer, also where that makes
-- two names one. So a base that is too long is cut here, between two characters, and a hash of the whole name follows.
-- Callable by: everybody.
create or replace function embedder.made_name(base text, suffix text) returns text
language sql immutable set search_path = pg_catalog, pg_temp as $$
  select case when octet_length(base || suffix) <= 63 then base || suffix
    else (
      select left(base, n) || '_' || left(md5(base || suffix), 8) || suffix
      from generate_series(least(length(base), 63), 0, -1) n
      where octet_length(left(base, n)) + 9 + octet_length(suffix) <= 63 limit 1) end
$$;
comment on function embedder.made_name is 'A name of at most 63 bytes: base and suffix, with a hash between them where the base had to be cut.';

-- Callable by: everybody.
create or replace function embedder.sidecar_name(p embedder.pipeline) returns text
language sql immutable set search_path = pg_catalog, pg_temp as $$
  select embedder.made_name(p.name, '_' || embedder.noun_of(p.task))
$$;

-- Callable by: everybody.
create or replace function embedder.view_name(p embedder.pipeline) returns text
language sql immutable set search_path = pg_catalog, pg_temp as $$
  select embedder.made_name(p.name, '_with_' || embedder.noun_of(p.task))
$$;

-- The name of a target of a generation that is not the live one.
-- Callable by: everybody.
create or replace function embedder.numbered(target_name text, generation int) returns text
language sql immutable set search_path = pg_catalog, pg_temp as $$
  select embedder.made_name(target_name, '_' || generation)
$$;

-- The target as a pipeline's functions name it. A cutover makes the functions for the name that the target is about to have; only
-- then p has that name (embedder.as_live), and never in a row of embedder.pipeline.
create or replace function embedder.target_of(p embedder.pipeline) returns text
language sql stable set search_path = pg_catalog, pg_temp as $$
  select case p.cutover when 'under way' then p.target_name else p.target_table::text end
$$;

-- Checks a name that a user gave: PostgreSQL would cut one that is too long without an error.
-- Callable by: everybody.
create or replace function embedder.check_length(kind text, name text) returns void
language plpgsql immutable set search_path = pg_catalog, pg_temp as $$
begin
  if octet_length(name) not between 1 and 63 then
    raise exception 'the name of a % has 1 to 63 bytes, and "%" has %', kind, name, octet_length(name)
      using errcode = 'invalid_name', hint = 'A character that is not ASCII takes 2 to 4 bytes.';
  end if;
end
$$;
