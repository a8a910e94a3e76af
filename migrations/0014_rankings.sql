-- The scores of texts that were compared with a query (embedder.rerank); null for a text that the model could not read.
alter table embedder.answer add column scores real[];
comment on column embedder.answer.scores is 'Of a request to rank texts: a number for each of them, in their order.';
