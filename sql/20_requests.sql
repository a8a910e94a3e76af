-- Requests: query texts on their way from a session (21_embed.sql) to a worker (src/worker/requests.ts) and back.

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

-- Puts a text on the list and wakes the workers. Returns its number, or null where no worker runs.
create or replace function embedder.post_request(model text, options jsonb, input text, patience interval) returns bigint
language plpgsql set search_path = pg_catalog, pg_temp as $$
declare
  request_id bigint;
begin
  if not exists (select from embedder.worker_process where beat_at >= now() - embedder.worker_timeout()) then
    return null;
  end if;
  insert into embedder.request (model, options, input, expires_at)
  values (post_request.model, post_request.options, post_request.input, now() + patience)
  returning id into request_id;
  perform pg_notify('embedder_job', 'request');
  return request_id;
end
$$;

-- What became of a request; no row while it waits. It is taken off the list with that.
create or replace function embedder.take_answer(request bigint)
returns table (embedding text, error text, hint text, sqlstate text)
language sql set search_path = pg_catalog, pg_temp as $$
  delete from embedder.answer a where a.request_id = request returning a.embedding::text, a.error, a.hint, a.sqlstate
$$;

create or replace function embedder.drop_request(request bigint) returns void
language sql set search_path = pg_catalog, pg_temp as $$
  delete from embedder.request r where r.id = request
$$;

-- Claims up to max_requests requests for a worker, the oldest first.
create or replace function embedder.claim_requests(worker int, max_requests int)
returns table (id bigint, model text, options jsonb, input text)
language sql set search_path = pg_catalog, pg_temp as $$
  update embedder.request r set claimed_by = worker
  where r.id in (
    select d.id from embedder.request d
    where d.claimed_by is null and d.expires_at > now()
    order by d.id limit max_requests for update skip locked)
  returning r.id, r.model, r.options, r.input
$$;
comment on function embedder.claim_requests is 'Gives a worker query texts to embed.';

-- Puts claimed requests back for another worker.
create or replace function embedder.release_requests(ids bigint[]) returns void
language sql set search_path = pg_catalog, pg_temp as $$
  update embedder.request set claimed_by = null where id = any (ids);
  select pg_notify('embedder_job', 'request');
$$;

create or replace function embedder.refuse_requests(ids bigint[], error text, hint text, sqlstate text) returns void
language sql set search_path = pg_catalog, pg_temp as $$
  with refused as (
    delete from embedder.request r where r.id = any (ids) returning r.id, r.expires_at
  )
  insert into embedder.answer (request_id, error, hint, sqlstate, expires_at)
  select f.id, refuse_requests.error, refuse_requests.hint, refuse_requests.sqlstate, f.expires_at from refused f
$$;
comment on function embedder.refuse_requests is 'Answers requests with an error.';

-- Answers requests with their vectors, and keeps these for the next who asks the same.
do $do$
begin
  perform embedder.create_function(
    format('answer_requests(ids bigint[], embeddings %s[]) returns void', embedder.vector_type()), '', $f$
begin
  perform set_config('synchronous_commit', 'off', true);
  with answered as (
    delete from embedder.request r using unnest($1, $2) given(id, embedding) where r.id = given.id
    returning r.id, r.expires_at, given.embedding, r.model, embedder.query_digest(r.model, r.options, r.input) as digest
  ), answers as (
    insert into embedder.answer (request_id, embedding, expires_at)
    select a.id, a.embedding, a.expires_at from answered a
  )
  insert into embedder.query_vector (digest, model, embedding)
  select distinct on (a.digest) a.digest, a.model, a.embedding from answered a where embedder.query_cache_size() > 0
  -- In one order, so that two workers with the same texts do not wait for each other.
  order by a.digest
  on conflict (digest) do nothing;
end$f$);
end
$do$;

-- Notes that a cached vector was asked for. To the minute: a popular query must not be a row that all write.
create or replace function embedder.touch_query_vector(wanted bytea) returns void
language sql set search_path = pg_catalog, pg_temp as $$
  update embedder.query_vector q set used_at = now() where q.digest = wanted and q.used_at < now() - interval '1 minute'
$$;

-- Removes what callers have left behind who were killed or cut off, and the cache's entries beyond its size, those that
-- were not asked for the longest first. Workers call it with their heartbeat; till then the cache may be larger.
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
