-- Whether workers tell of each batch that they have done, on the channel embedder_done. Null for no: functions use the table's row type, so a
-- column comes without a default.
alter table embedder.pipeline add column notify boolean;
comment on column embedder.pipeline.notify is 'Whether each completed batch is told by NOTIFY on the channel embedder_done; null for no.';
