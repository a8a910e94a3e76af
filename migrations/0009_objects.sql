-- What migrate has left, so that doctor and the next migrate can tell what is missing or different; the declarations once more,
-- as text that any restore takes; and a cache of query vectors that a standby can read.

create table embedder.applied_object (
  kind text not null,
  name text not null,
  definition text not null,
  of_version int,
  primary key (kind, name)
);
comment on table embedder.applied_object is 'The objects of this schema as migrate has left them.';
comment on column embedder.applied_object.of_version is 'The major version of PostgreSQL that gave this definition, where another one writes it in other words.';

-- No column of a type that needs a table to be there: where one table was left out of a dump, the rows of embedder.pipeline
-- cannot be read, and all declarations would be lost with it.
create table embedder.declaration (
  id int primary key,
  declaration jsonb not null
);
comment on table embedder.declaration is 'The rows of embedder.pipeline as text. migrate brings back by it what a restore has lost.';

-- Logged, since a standby sees no unlogged table.
alter table embedder.query_vector set logged;
