-- Rows that triggers have missed are noted by each transaction for itself.

alter table embedder.tally add column missed text;
comment on column embedder.tally.missed is 'Why a trigger could not queue rows of this transaction. A worker looks for them.';
create index tally_missed on embedder.tally (pipeline_id) where missed is not null;
