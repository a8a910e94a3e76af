-- Names that were meant: for the hints of errors about names that are not there.

-- How many letters must be put in, left out, exchanged or swapped with their neighbour to make one name of another.
-- Callable by: everybody.
create or replace function embedder.distance(one text, other text) returns int
language plpgsql immutable set search_path = pg_catalog, pg_temp as $$
declare
  before int[];
  above int[] := array(select generate_series(0, length(other)));
  row int[];
begin
  for i in 1..length(one) loop
    row := array[i];
    for j in 1..length(other) loop
      row := row || least(row[j] + 1, above[j + 1] + 1, above[j] + (substr(one, i, 1) <> substr(other, j, 1))::int,
        case when i > 1 and j > 1 and substr(one, i, 1) = substr(other, j - 1, 1) and substr(one, i - 1, 1) = substr(other, j, 1) then before[j - 1] + 1 end);
    end loop;
    before := above;
    above := row;
  end loop;
  return above[length(other) + 1];
end
$$;

-- 'Did you mean "title"? ', or nothing where no name is near: a third of its letters may be wrong, or it is a part of one. What
-- stands before the first / or : of a name may be left out, as people do with models. Those that are equally near are all named,
-- three at most. src/nearest.ts does the same, and test/sql/nearest.test.ts runs one list of cases against both.
-- Callable by: everybody.
create or replace function embedder.did_you_mean(wanted text, names text[]) returns text
language sql immutable set search_path = pg_catalog, pg_temp as $$
  with part as (
    select name, lower(left(own.part, 63)) as part, own.cut, lower(left(wanted, 63)) as typed
    from unnest(names) name, lateral (values (name, 0), (substring(name from '[/:](.+)$'), 1)) own(part, cut) where own.part <> ''
  ), near as (
    (select name, cut, typed, embedder.distance(typed, part) as far from part where abs(length(part) - length(typed)) <= 3 limit 200)
  ), ranked as (
    select name, 2 * far + cut as rank from near where far <= greatest(1, length(typed) / 3) and far < length(typed)
    union all
    -- A beginning is nearer than two wrong letters.
    select name, case when strpos(part, typed) = 1 then 3 + cut else 1000 end from part where length(typed) >= 3 and strpos(part, typed) > 0
  ), best as (
    select name, min(rank) as rank from ranked group by name order by rank, length(name), name collate "C" limit 3
  )
  select coalesce('Did you mean ' || string_agg(format('"%s"', name), ' or ' order by length(name), name collate "C") || '? ', '')
  from best where rank = (select min(rank) from best)
$$;
comment on function embedder.did_you_mean is 'The beginning of a hint: the names that are nearest to one that is not there.';

-- The table of this name, as the caller's search_path finds it. @throws undefined_table, with the nearest name
-- Callable by: everybody.
create or replace function embedder.table_named(relation text) returns regclass
language plpgsql stable as $$
declare
  found pg_catalog.regclass := pg_catalog.to_regclass(relation);
begin
  if found is null then
    raise exception 'table "%" does not exist', relation using errcode = 'undefined_table',
      hint = pg_catalog.concat(embedder.did_you_mean(relation, array(
        select case when pg_catalog.pg_table_is_visible(c.oid) then c.relname::pg_catalog.text else c.oid::pg_catalog.regclass::pg_catalog.text end
        from pg_catalog.pg_class c
        where c.relkind operator(pg_catalog.=) any ('{r,p}') and c.relnamespace::pg_catalog.regnamespace::pg_catalog.text operator(pg_catalog.!~) '^(pg_|information_schema$|embedder$)')),
        'Write schema.table where it is not in the search_path.');
  end if;
  return found;
end
$$;
comment on function embedder.table_named is 'The table of a name. Raises undefined_table, with the name that was meant.';
