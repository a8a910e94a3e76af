-- Counts that are to be made anew, and tables that a publication of all tables may hold.

alter table embedder.tally add column recount boolean not null default false;
comment on column embedder.tally.recount is 'The counts are to be made anew by reading the tables: something was done that cannot be counted where it was done. A worker does it.';

-- It has no key, and where a publication holds all tables, rows of a table without an identity cannot be deleted.
alter table embedder.tally replica identity full;

-- They have other results, or are no more.
drop function if exists embedder.key_columns(regclass), embedder.fold_tally(), embedder.check_names(embedder.pipeline);
