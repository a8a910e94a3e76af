-- The books of a pipeline as its own functions see them: its jobs, dead letters, counts and backfills, through views that show
-- and take the rows of this one pipeline. The views read with the rights of the schema's owner, and only the source's owner,
-- whose functions use them, has rights on them, on just the columns that those write; the view sets the pipeline of a new row. So a user's
-- write does not go through row level security: that would cost more with each pipeline, and `set row_security = off` would make it fail.
create or replace function embedder.book(p embedder.pipeline, name text) returns text
language sql immutable set search_path = pg_catalog, pg_temp
return format('embedder.pipeline_%s_%s', p.id, name);

-- Whether the source's owner has the rights on them. Somebody may have revoked them: on all tables of a schema, or of a role.
create or replace function embedder.books_are_open(p embedder.pipeline) returns boolean
language plpgsql stable set search_path = pg_catalog, pg_temp as $$
begin
  return (
    select coalesce(bool_and(has_table_privilege(s.relowner, c.oid, 'select') and has_table_privilege(s.relowner, c.oid, 'delete')
      and has_any_column_privilege(s.relowner, c.oid, 'insert')
      and (c.relname !~ '_(job|empty_row)$' or has_any_column_privilege(s.relowner, c.oid, 'update'))), false)
    from pg_class s, unnest(array['job', 'dead_letter', 'empty_row', 'tally']) b join pg_class c on c.oid = to_regclass(embedder.book(p, b))
    where s.oid = p.source);
end
$$;

create or replace function embedder.generate_books(p embedder.pipeline) returns void
language plpgsql set search_path = pg_catalog, pg_temp as $$
declare
  owner oid := (select relowner from pg_class where oid = p.source);
  book record;
  grantee oid;
  made_from text;
begin
  for book in select embedder.book(p, b.book) as name, b.* from (values
    ('job', 'job', 'pipeline_id', 'pipeline_id, row_key, fresh, version, due_at, attempts, leased_by, last_error',
      'select, delete, insert (row_key, fresh), update (version, due_at, attempts, leased_by, last_error, fresh)'),
    ('dead_letter', 'dead_letter', 'pipeline_id', 'pipeline_id, row_key, attempts, error',
      'select, delete, insert (row_key, attempts, error)'),
    ('empty_row', 'empty_row', 'pipeline_id', 'pipeline_id, row_key, source_hash',
      'select, delete, insert (row_key, source_hash), update (source_hash)'),
    ('tally', 'tally', 'pipeline_id', 'pipeline_id, source_rows, embedded_rows, done, recount, missed',
      'select, delete, insert (source_rows, embedded_rows, done, recount, missed)'),
    ('unwalked', 'unwalked', 'pipeline_id', 'pipeline_id, after_key, to_key, row_keys, seeks_stale', 'select')) b(book, of_table, id, columns, rights)
  loop
    -- Making it again would wait for every open transaction that has written the source.
    made_from := md5(concat_ws(' ', book.columns, book.rights, owner));
    continue when made_from is not distinct from obj_description(to_regclass(book.name), 'pg_class') and embedder.books_are_open(p) and not exists (
      select from pg_class c, aclexplode(c.relacl) a where c.oid = to_regclass(book.name) and a.grantee not in (owner, c.relowner));
    execute format('create or replace view %s as select %s from embedder.%I where %I = %s',
      book.name, book.columns, book.of_table, book.id, p.id);
    execute format('alter view %s alter column %I set default %s', book.name, book.id, p.id);
    for grantee in
      select distinct a.grantee from pg_class c, aclexplode(c.relacl) a
      where c.oid = book.name::regclass and a.grantee not in (owner, c.relowner)
    loop
      execute format('revoke all on %s from %s', book.name, case grantee when 0 then 'public' else grantee::regrole::text end);
    end loop;
    execute format('grant %s on %s to %s', book.rights, book.name, owner::regrole);
    execute format('comment on view %s is %L', book.name, made_from);
  end loop;
  perform embedder.close_books();
end
$$;
comment on function embedder.generate_books is 'Makes, or makes again, the views through which a pipeline''s own functions reach its jobs, dead letters and counts.';

-- Revokes the rights on whole tables of the books from everybody. Functions of an earlier version need them until the last pipeline
-- has views of its own.
create or replace function embedder.close_books() returns void
language plpgsql set search_path = pg_catalog, pg_temp as $$
begin
  if exists (
    select from pg_class c, aclexplode(c.relacl) a
    where c.oid in ('embedder.job'::regclass, 'embedder.dead_letter'::regclass, 'embedder.tally'::regclass)
      and a.grantee = 0 and a.privilege_type in ('INSERT', 'UPDATE', 'DELETE')
  ) and not exists (select from embedder.pipeline p where to_regclass(embedder.book(p, 'job')) is null) then
    revoke insert, update, delete on embedder.job, embedder.dead_letter, embedder.tally from public;
    -- What migrate has written down of them, a moment before.
    update embedder.applied_object a set definition = o.definition
    from embedder.catalog_objects() o
    where o.kind = 'table' and o.name in ('job', 'dead_letter', 'tally') and (a.kind, a.name) = (o.kind, o.name);
  end if;
end
$$;

-- Takes off the books what cannot be a key any more, since the key has another type. True: there was something.
create or replace function embedder.strike_keys(p embedder.pipeline) returns boolean
language plpgsql set search_path = pg_catalog, pg_temp as $$
declare
  -- As the owner: a cast may run code of the owner's.
  casts text := format('select to_jsonb(count(*) filter (where row(%s) is null))', embedder.key_values(p.source, 'k.row_key'));
  key text;
  struck text[] := '{}';
  answer jsonb;
begin
  begin
    execute format('select embedder.%I($1)', format('pipeline_%s_ask', p.id)) into answer using
      format('%s from (select j.row_key from %s j union all select d.row_key from %s d where d.attempts > 0 union all select e.row_key from %s e) k',
        casts, embedder.book(p, 'job'), embedder.book(p, 'dead_letter'), embedder.book(p, 'empty_row'));
    return false;
  exception when data_exception then null;
  end;
  for key in
    select j.row_key from embedder.job j where j.pipeline_id = p.id
    union select d.row_key from embedder.dead_letter d where d.pipeline_id = p.id and d.attempts > 0
    union select e.row_key from embedder.empty_row e where e.pipeline_id = p.id
  loop
    begin
      execute format('select embedder.%I($1)', format('pipeline_%s_ask', p.id)) into answer using format('%s from (values (%L)) k(row_key)', casts, key);
    exception when data_exception then
      struck := struck || key;
    end;
  end loop;
  delete from embedder.job j where j.pipeline_id = p.id and j.row_key = any (struck);
  delete from embedder.dead_letter d where d.pipeline_id = p.id and d.row_key = any (struck);
  delete from embedder.empty_row e where e.pipeline_id = p.id and e.row_key = any (struck);
  return true;
end
$$;
