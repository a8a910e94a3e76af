-- An emptied queue is not cut down to size: that takes a lock which everybody waits for, on standbys too, and it grows again.
alter table embedder.job set (vacuum_truncate = off);
alter table embedder.tally set (vacuum_truncate = off);
alter table embedder.request set (vacuum_truncate = off);
alter table embedder.answer set (vacuum_truncate = off);
