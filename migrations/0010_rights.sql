-- A request is known to whoever asks by a secret, not by a number that can be guessed; and says who asks.
delete from embedder.request;
delete from embedder.answer;
alter table embedder.request
  add column secret uuid not null default gen_random_uuid(),
  add column asker text not null default session_user,
  add column backend int not null default pg_backend_pid();
comment on column embedder.request.secret is 'By which its caller takes the answer.';
comment on column embedder.request.asker is 'The role that asks.';
comment on column embedder.request.backend is 'The connection that it came over: it has one at a time.';
alter table embedder.answer add column secret uuid not null;
create unique index request_secret on embedder.request (secret);
create unique index answer_secret on embedder.answer (secret);
