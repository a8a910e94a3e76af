-- The states of a job, and what takes it from one to the next. A row of embedder.job says that a row of a source is to be looked
-- at: whoever writes the source makes it, a worker takes it away. There is at most one for a key of a pipeline.
--
--   state     columns                                    it is there because
--   due       due_at <= now(), leased_by null            somebody asked for the row, or a delay is over
--             due_at <= now(), leased_by a worker        a lease has run out: due again, within the same attempt
--   delayed   due_at > now(),  leased_by null            an attempt has failed and the next one is later; or it was given back
--   leased    due_at > now(),  leased_by a worker        a worker has claimed it, until due_at
--
-- Beside the state: version, a random number that becomes another one whenever somebody asks for the row; attempts, of which
-- a claim counts one; fresh, that the row is not counted in embedder.tally yet; suspect, the number of the group that
-- the job is worked on with, since a worker has died with one of them.
--
--   step       from -> to               by                                      what it does
--   enqueue    none, any -> due         triggers (generated/), enqueue_embed,   another version, no attempts, no lease, no error
--                                       retry_failed
--   claim      due -> leased            claim_jobs, claim_suspects              a lease; one attempt, unless a lease had run out
--              none -> leased           claim_backfill                          a job made for a row of a backfill
--   renew      leased -> leased         renew_leases                            a later due_at
--   complete   leased, due -> none      complete (generated/)                   writes the result, of the version claimed only
--   fail       leased -> delayed        fail_jobs                               an error, and a due_at that is later each time
--   bury       leased -> none           fail_jobs                               a dead letter, when no attempt is left
--   release    leased -> delayed, due   release_jobs                            takes the attempt back
--   expire     leased -> due            time
--   free       leased -> due            free_jobs                               its worker is not on the register; takes the attempt back
--   suspect    leased -> due            suspect_jobs                            its worker died at work on it: it gets a group
--   recall     leased -> due            recall_jobs                             another version, where texts may have changed unseen
--   forget     any -> none              forget, prune (generated/)              the row is gone, or has left the filter
--
-- What holds in each state:
--   - A result is written only in the transaction that takes the job of the claimed version away. So a row that has changed since
--     is never covered by an older text: its job has another version, and stays.
--   - A row whose result is missing or older than its text has a job or a dead letter, or lies in a range of a backfill.
--   - A job that nobody works on is due at a time that comes: by due_at, which every lease has too.

-- Callable by: everybody.
create or replace function embedder.job_state(j embedder.job) returns text
language sql stable
return case
  when j.due_at <= now() then 'due'
  when j.leased_by is null then 'delayed'
  else 'leased'
end;
comment on function embedder.job_state is 'due, delayed (a backoff) or leased; see sql/queue/states.sql.';
