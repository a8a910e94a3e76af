-- Sparse vectors: which models give them, and those of query texts. As text, since pgvector has the type from 0.7 on.
alter table embedder.model add column sparse boolean;
comment on column embedder.model.sparse is 'Whether its vectors are sparse. Null: an earlier version has seen it, which did not say.';
alter table embedder.answer add column sparse text;
comment on column embedder.answer.sparse is 'The vector where it is a sparse one.';
alter table embedder.query_vector alter column embedding drop not null, add column sparse text;
comment on column embedder.query_vector.sparse is 'The vector where it is a sparse one; embedding is null then.';
