-- Query texts that wait for a worker, and the vectors of those that were answered. Unlogged: neither is worth a flush of
-- the log, and after a crash of the server nobody waits any more.

create unlogged table embedder.request (
  id bigint generated always as identity primary key,
  model text not null,
  options jsonb not null,
  input text not null,
  expires_at timestamptz not null,
  claimed_by int
) with (
  -- A queue that is mostly empty, as embedder.job is.
  autovacuum_vacuum_scale_factor = 0,
  autovacuum_vacuum_threshold = 1000
);
comment on table embedder.request is 'Query texts that wait for a running worker; see embedder.embed.';
comment on column embedder.request.expires_at is 'When its caller stops waiting.';
comment on column embedder.request.claimed_by is 'The worker that embeds it; null when nobody does yet.';

-- The vectors have no fixed length, and the type may live in any schema.
do $$
begin
  execute format($f$
    create unlogged table embedder.answer (
      request_id bigint primary key,
      embedding %1$s.vector,
      error text,
      hint text,
      sqlstate text,
      expires_at timestamptz not null
    ) with (autovacuum_vacuum_scale_factor = 0, autovacuum_vacuum_threshold = 1000);
    create unlogged table embedder.query_vector (
      digest bytea primary key,
      model text not null,
      embedding %1$s.vector not null,
      used_at timestamptz not null default now()
    )$f$,
    (select quote_ident(n.nspname) from pg_extension e join pg_namespace n on n.oid = e.extnamespace where e.extname = 'vector'));
end
$$;
comment on table embedder.answer is 'What became of a request, until its caller takes it.';
comment on table embedder.query_vector is
  'The cache of query vectors. To clear it: truncate embedder.query_vector, or delete the rows of one model.';
comment on column embedder.query_vector.digest is 'Of model, options and text; the text itself is not kept.';
comment on column embedder.query_vector.used_at is 'When it was last asked for, to the minute.';
create index query_vector_used on embedder.query_vector (used_at, digest);
