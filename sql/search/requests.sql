-- Requests: query texts on their way from a session (sql/search/embed.sql) to a worker (src/worker/requests.ts) and back.

-- The key of the cache: a query text as one model gives it with these options.
create or replace function embedder.query_digest(model text, options jsonb, input text) returns bytea
language sql stable set search_path = pg_catalog, pg_temp as $$
  select sha256(convert_to(jsonb_build_array(model, options, input)::text, 'UTF8'))
$$;

-- How many query vectors the cache keeps, and 0 for none.
create or replace function embedder.query_cache_size() returns int
language sql stable set search_path = pg_catalog, pg_temp as $$
  select coalesce(nullif(current_setting('embedder.query_cache_size', true), ''), '10000')::int
$$;
comment on function embedder.query_cache_size is
  'Entries of the cache of query vectors. To change it: alter database ... set embedder.query_cache_size = 50000, then restart the workers.';

-- How many texts of one role may wait at once. The setting is the database's: a session may set its own as it likes.
create or replace function embedder.max_requests() returns int
language sql stable set search_path = pg_catalog, pg_temp as $$
  select coalesce((
    select split_part(s, '=', 2)::int
    from pg_db_role_setting d join pg_database on datname = current_database() and d.setdatabase = pg_database.oid
    cross join unnest(d.setconfig) s
    where d.setrole = 0 and s like e'embedder.max\\_requests=%'), 100)
$$;
comment on function embedder.max_requests is
  'How many query texts of one role may wait for a worker at once. To change it: alter database ... set embedder.max_requests = 500.';

-- The longest text that is embedded as a query, in characters: 64 a token of the model's, of which it reads that many anyway.
create or replace function embedder.query_limit(model text) returns int
language sql stable set search_path = pg_catalog, pg_temp as $$
  select 64 * coalesce((select m.max_tokens from embedder.model m where m.name = model), 512)
$$;

create or replace function embedder.check_query(model text, input text) returns void
language plpgsql stable set search_path = pg_catalog, pg_temp as $$
declare
  most int := embedder.query_limit(model);
begin
  if length(input) > most then
    raise exception 'the text has % characters, and a query for model "%" has up to %', length(input), model, most
      using errcode = 'program_limit_exceeded', hint = format('The model reads the beginning only: give it left(..., %s).', most);
  end if;
end
$$;

-- The texts of a request that ranks them. embedder.rerank has cut them; whoever posts a request by another way has not.
create or replace function embedder.check_ranked(model text, texts jsonb) returns void
language plpgsql stable set search_path = pg_catalog, pg_temp as $$
begin
  if texts is null then return; end if;
  if jsonb_typeof(texts) <> 'array' or jsonb_array_length(texts) > embedder.max_ranked() or exists (
    select from jsonb_array_elements(texts) t where jsonb_typeof(t) <> 'string' or length(t #>> '{}') > embedder.query_limit(model)) then
    raise exception 'a request has up to % texts of up to % characters', embedder.max_ranked(), embedder.query_limit(model)
      using errcode = 'program_limit_exceeded';
  end if;
end
$$;

-- These four are what the second connection does. Its role (docs/search.md) may execute them and has no other right here: so
-- it cannot read what others ask, nor write a vector that they would get.

drop function if exists embedder.post_request(text, jsonb, text, interval);
drop function if exists embedder.take_answer(bigint);
drop function if exists embedder.drop_request(bigint);

-- Puts a text on the list and wakes the workers. Returns the secret with which its answer can be taken, or null when no worker
-- runs. A connection has one text on the list, which replaces that of a call that was interrupted.
create or replace function embedder.post_request(asker text, model text, options jsonb, input text, patience interval) returns uuid
language plpgsql security definer set search_path = pg_catalog, pg_temp as $$
declare
  request_secret uuid;
begin
  if not exists (select from embedder.worker_process where beat_at >= now() - embedder.worker_timeout()) then
    return null;
  end if;
  perform embedder.check_query(post_request.model, post_request.input);
  perform embedder.check_ranked(post_request.model, post_request.options -> 'texts');
  delete from embedder.request r where r.backend = pg_backend_pid();
  if (select count(*) from embedder.request r where r.asker = post_request.asker and r.expires_at > now()) >= embedder.max_requests() then
    raise exception 'role % has % texts waiting to be embedded already', asker, embedder.max_requests() using errcode = 'configuration_limit_exceeded',
      hint = format('Try again soon, start more workers, or let more wait: alter database %I set embedder.max_requests = ...;', current_database());
  end if;
  insert into embedder.request (asker, model, options, input, expires_at)
  values (post_request.asker, post_request.model, post_request.options, post_request.input, now() + least(patience, interval '1 hour'))
  returning secret into request_secret;
  perform pg_notify('embedder_job', 'request');
  return request_secret;
end
$$;

-- What became of a request; no row while it waits. It is taken off the list with that.
create or replace function embedder.take_answer(request uuid)
returns table (embedding text, error text, hint text, sqlstate text)
language sql security definer set search_path = pg_catalog, pg_temp as $$
  delete from embedder.answer a where a.secret = request returning coalesce(a.embedding::text, a.sparse, a.scores::text), a.error, a.hint, a.sqlstate
$$;

create or replace function embedder.drop_request(request uuid) returns void
language sql security definer set search_path = pg_catalog, pg_temp as $$
  delete from embedder.request r where r.secret = request
$$;

-- Claims up to max_requests requests for a worker, the oldest first, and no more than about a million characters: it has
-- them all in memory.
-- Callable by: workers, with the rights of the schema's owner.
create or replace function embedder.claim_requests(worker int, max_requests int)
returns table (id bigint, model text, options jsonb, input text)
language sql set search_path = pg_catalog, pg_temp as $$
  with free as materialized (
    select d.id, length(d.input) + length(d.options::text) as size from embedder.request d
    where d.claimed_by is null and d.expires_at > now()
    order by d.id limit max_requests for update skip locked
  )
  update embedder.request r set claimed_by = worker
  from (select f.id, sum(f.size) over (order by f.id) - f.size as before from free f) taken
  where r.id = taken.id and taken.before < 1000000
  returning r.id, r.model, r.options, r.input
$$;
comment on function embedder.claim_requests is 'Gives a worker query texts to embed.';

-- Puts claimed requests back for another worker.
-- Callable by: workers, with the rights of the schema's owner.
create or replace function embedder.release_requests(ids bigint[]) returns void
language sql set search_path = pg_catalog, pg_temp as $$
  update embedder.request set claimed_by = null where id = any (ids);
  select pg_notify('embedder_job', 'request');
$$;

-- Callable by: workers, with the rights of the schema's owner.
create or replace function embedder.refuse_requests(ids bigint[], error text, hint text, sqlstate text) returns void
language sql set search_path = pg_catalog, pg_temp as $$
  with refused as (
    delete from embedder.request r where r.id = any (ids) returning r.id, r.secret, r.expires_at
  )
  insert into embedder.answer (request_id, secret, error, hint, sqlstate, expires_at)
  select f.id, f.secret, refuse_requests.error, refuse_requests.hint, refuse_requests.sqlstate, f.expires_at from refused f
$$;
comment on function embedder.refuse_requests is 'Answers requests with an error.';

-- Answers requests with their vectors, and keeps these for the next who asks the same. Sparse vectors come as text.
-- Callable by: workers, with the rights of the schema's owner (answer_requests, answer_sparse).
do $do$
declare
  f record;
begin
  for f in select * from (values ('answer_requests', embedder.vector_type(), 'embedding'), ('answer_sparse', 'text', 'sparse')) v(name, type, kept_in) loop
    perform embedder.create_function(format('%s(ids bigint[], embeddings %s[]) returns void', f.name, f.type), '', embedder.fill($f$
begin
  perform set_config('synchronous_commit', 'off', true);
  with answered as (
    delete from embedder.request r using unnest($1, $2) given(id, vector) where r.id = given.id
    returning r.id, r.secret, r.expires_at, given.vector, r.model, embedder.query_digest(r.model, r.options, r.input) as digest
  ), answers as (
    insert into embedder.answer (request_id, secret, {{kept_in}}, expires_at)
    select a.id, a.secret, a.vector, a.expires_at from answered a
  )
  insert into embedder.query_vector (digest, model, {{kept_in}})
  select distinct on (a.digest) a.digest, a.model, a.vector from answered a where embedder.query_cache_size() > 0
  -- In one order, so that two workers with the same texts do not wait for each other.
  order by a.digest
  on conflict (digest) do nothing;
end$f$, jsonb_build_object('kept_in', f.kept_in)));
  end loop;
end
$do$;

-- Answers a request with the scores of its texts.
-- Callable by: workers, with the rights of the schema's owner.
create or replace function embedder.answer_ranking(id bigint, scores real[]) returns void
language plpgsql set search_path = pg_catalog, pg_temp as $$
begin
  perform set_config('synchronous_commit', 'off', true);
  with answered as (
    delete from embedder.request r where r.id = answer_ranking.id returning r.id, r.secret, r.expires_at
  )
  insert into embedder.answer (request_id, secret, scores, expires_at)
  select a.id, a.secret, answer_ranking.scores, a.expires_at from answered a;
end
$$;
comment on function embedder.answer_ranking is 'Answers a request to rank texts; null for a text that the model could not read.';

-- Notes that a cached vector was used, at most once a minute: else all sessions would write the row of a popular query.
create or replace function embedder.touch_query_vector(wanted bytea) returns void
language sql security definer set search_path = pg_catalog, pg_temp as $$
  update embedder.query_vector q set used_at = now() where q.digest = wanted and q.used_at < now() - interval '1 minute'
$$;

-- Removes what callers have left behind who were killed or cut off, and the cache's entries beyond its size, those that
-- were not asked for the longest first. Workers call it with their heartbeat; till then the cache may be larger.
-- Callable by: workers, with the rights of the schema's owner.
create or replace function embedder.tidy_requests() returns void
language sql set search_path = pg_catalog, pg_temp as $$
  delete from embedder.request where expires_at < now();
  delete from embedder.answer where expires_at < now();
  delete from embedder.query_vector q using (
    select digest from embedder.query_vector order by used_at desc, digest offset embedder.query_cache_size()
  ) excess
  where q.digest = excess.digest
$$;
comment on function embedder.tidy_requests is 'Removes requests that nobody waits for, and query vectors beyond the size of the cache.';
