-- SQL is made here out of templates in which {{name}} stands for a piece of SQL. format() would number them, and nobody can keep
-- fifteen numbers in mind; it is used where there are few.

-- The template with its pieces, which are SQL already: names and texts are quoted by whoever gives them. A null stands for
-- nothing. In one pass, so that what a piece holds is never taken for a placeholder.
-- Callable by: everybody.
create or replace function embedder.fill(template text, pieces jsonb) returns text
language plpgsql immutable set search_path = pg_catalog, pg_temp as $$
declare
  filled text;
  unknown text[];
begin
  select string_agg(m.part[1] || coalesce(pieces ->> m.part[2], ''), '' order by m.place),
    array_agg(m.part[2]) filter (where m.part[2] is not null and not pieces ? m.part[2])
  into filled, unknown
  from regexp_matches(template, e'(.*?)(?:\\{\\{(\\w+)\\}\\}|$)', 'g') with ordinality m(part, place);
  if unknown is not null then
    raise exception 'no piece is given for {{%}}', unknown[1] using errcode = 'invalid_parameter_value';
  end if;
  return filled;
end
$$;
comment on function embedder.fill is 'A template of SQL with its pieces: {{name}} becomes pieces ->> ''name''.';
