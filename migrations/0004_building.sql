-- One worker at a time builds indexes. It says so on the register, and not by a session's lock, which a pooler in
-- transaction mode does not keep.

alter table embedder.worker_process add column building boolean not null default false;
comment on column embedder.worker_process.building is 'The worker builds indexes; while its heartbeat comes, no other one does.';
