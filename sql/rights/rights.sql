-- Who may do what.
--
-- Everybody may use the schema and call the functions for users. These write embedder.pipeline, where row level security lets
-- each role write only the pipelines of tables that it owns (embedder.may_manage); what they may not do themselves they ask
-- for, by embedder.command (sql/pipeline/command.sql). Nobody has a right on a whole table that would let them lock it: that is,
-- none to update or to delete. So no function here that everybody may call has the schema owner's rights, except for those that
-- test/sql/strangers.test.ts lists. Three roles are made
-- where the migrating role may make roles (sql/rights/roles.sql), and are used where they are there:
--   embedder_admin    manages every pipeline
--   embedder_worker   what a worker needs, and no right on anybody's tables
--   embedder_reader   sees every pipeline in embedder.status and embedder.failed_job
-- The owner of the schema is the role that ran migrate first; row level security does not bind it.

do $do$
declare
  t text;
begin
  grant usage on schema embedder to public;
  revoke execute on all functions in schema embedder from public;

  -- The pipelines of one's own tables, and all that belongs to them.
  foreach t in array array['pipeline', 'job', 'dead_letter', 'tally', 'backfill_run', 'backfill_range'] loop
    if not (select relrowsecurity from pg_class where oid = format('embedder.%I', t)::regclass) then
      execute format('alter table embedder.%I enable row level security', t);
    end if;
    perform embedder.assure('policy', 'owner', format('embedder.%I', t)::regclass, format('on embedder.%I using (%s)', t, case t
      when 'pipeline' then 'embedder.may_manage(source)'
      -- The triggers' functions are still those of the owner before, until a worker has seen that the source has another.
      else 'pipeline_id in (select p.id from embedder.pipeline p where embedder.may_manage(p.source)
        or (select pg_get_userbyid(f.proowner) = current_user from pg_proc f where f.oid = to_regproc(format(''embedder.pipeline_%s_act'', p.id))))' end));
    if t in ('pipeline', 'backfill_run', 'backfill_range') then
      execute format('revoke all on embedder.%I from public', t);
    end if;
  end loop;
  grant select on embedder.pipeline, embedder.job, embedder.dead_letter, embedder.tally to public;
  perform embedder.close_books();
  grant select, insert on embedder.command to public;
  -- What the functions for users write; the rest, such as the names of its tables, is written by triggers and workers.
  grant insert (name, generation, live, source, key_columns, input, model, task, target_name, target_column, sidecar, dimensions,
      options, chunking, filter, columns, index, index_options, priority, max_attempts, notify, cutover, drop_old),
    update (name, filter, columns, index, index_options, priority, max_attempts, notify, paused, index_error, trigger_error,
      cutover, drop_old, drop_target)
    on embedder.pipeline to public;
  -- Roles that may read a table may know how it is searched; operators see all.
  perform embedder.assure('policy', 'reader', 'embedder.pipeline', $p$on embedder.pipeline for select using (
    has_table_privilege(source, 'select') or embedder.is_member('embedder_reader') or embedder.is_member('embedder_worker'))$p$);
  perform embedder.assure('policy', 'functions', 'embedder.pipeline', $p$on embedder.pipeline for select using (
    (select pg_get_userbyid(f.proowner) = current_user from pg_proc f where f.oid = to_regproc(format('embedder.pipeline_%s_act', id))))$p$);
  grant select on embedder.model to public;
  -- Whether a trigger has to wake somebody.
  grant select on embedder.asleep to public;
  revoke select (idle, listening, beat_at) on embedder.worker_process from public;
end
$do$;

-- The functions for users, and what these and the triggers call with the caller's rights. Beside each function stands who may call it;
-- where nothing does, only the schema's owner may. test/sql/callers.test.ts compares it with what this file does.
do $do$
declare
  f regprocedure;
begin
  for f in
    select oid from pg_proc where pronamespace = 'embedder'::regnamespace and (
      proname in (
        'create_pipeline', 'alter_pipeline', 'drop_pipeline', 'pause_pipeline', 'resume_pipeline', 'cutover', 'drop_next_generation',
        'backfill', 'retry_failed', 'recount', 'enqueue_embed', 'command', 'schedule_backfill', 'unschedule_backfill', 'cron_job', 'cron_home', 'require_cron',
        'declare_pipeline', 'save_pipeline', 'change_pipeline', 'open_generation', 'next_generation', 'find_pipeline', 'own_pipeline', 'find_target', 'sidecar_place', 'hidden', 'is_hidden', 'hash_column', 'hash_name', 'written_columns',
        'may_manage', 'may_see', 'is_member', 'state_of', 'warning_of', 'stale_rows', 'index_state', 'target_indexes',
        'worker_timeout', 'wake', 'are_woken', 'job_state', 'rows_per_range', 'most_ranges', 'members_of', 'bounded', 'missed_by', 'predicate_of',
        'parse_input', 'parse_template', 'parse_wrapping', 'literal_or_template', 'concatenation', 'foreign_below', 'is_temporal', 'virtual_column', 'column_text', 'one_text', 'input_expression', 'chunk_wrapping', 'column_names', 'used_columns',
        'key_columns', 'key_expression', 'key_values', 'key_matches', 'keys_equal', 'key_settings', 'key_list', 'column_type',
        'wait_for', 'verify', 'verify_counts', 'sample_results', 'embed', 'embed_for', 'embed_sparse', 'embed_sparse_for', 'rerank', 'max_ranked', 'ranked_candidates', 'ranking_task', 'search', 'hybrid_search', 'fused_search', 'search_statement', 'hybrid_statement', 'full_text_index', 'find_searchable',
        'key_object', 'filtered_source', 'filtered_target', 'operator_class', 'distance_operator', 'similarity_expression', 'unrelated_distance', 'distance_expression', 'nearest_statement', 'search_settings', 'exchange_settings',
        'full_text_expression', 'is_chunked', 'words_statement', 'fusion_depth', 'fill', 'query_options',
        'grant_search', 'revoke_search', 'grant_worker', 'revoke_worker', 'worker_grants', 'did_you_mean', 'distance', 'table_named', 'some_words', 'search_failed', 'may_read', 'search_grants', 'dblink_schema', 'loopback_name', 'loopback_functions',
        'vector_type', 'vector_kind', 'is_sparse', 'result_columns', 'result_marker', 'sidecar_columns', 'tasks', 'result_of', 'noun_of', 'one_of', 'known_options', 'fits_option', 'are_strings', 'model_dimensions', 'numbered', 'target_indexes', 'view_name', 'view_of', 'functions_owner', 'view_problem', 'pipeline_gaps', 'our_roles', 'missing_roles', 'catalog_objects', 'lost_objects', 'without_schema', 'made_name', 'sidecar_name')
      or proname like e'check\\_%' and proname not in ('check_query', 'check_ranked', 'check_tables')
      or proname ~ e'^pipeline_\\d+_rows_')
  loop
    execute format('grant execute on function %s to public', f);
  end loop;
end
$do$;

-- The roles.
do $do$
declare
  f regprocedure;
begin
  if exists (select from pg_roles where rolname = 'embedder_loopback') then
    -- An earlier recipe gave it rights on these, and so on what others ask.
    revoke all on embedder.request, embedder.answer, embedder.query_vector from embedder_loopback;
    for f in select embedder.loopback_functions() loop
      execute format('grant execute on function %s to embedder_loopback', f);
    end loop;
  end if;
  if exists (select from pg_roles where rolname = 'embedder_worker') then
    
    grant select, insert, update on embedder.model to embedder_worker;
    grant select, insert, update, delete on embedder.worker_process to embedder_worker;
    for f in
      select oid from pg_proc where pronamespace = 'embedder'::regnamespace
        and proname in ('claim_jobs', 'claim_suspects', 'suspects_wait', 'backfills_due', 'build_waits', 'note_worker', 'claim_backfill', 'begin_batch', 'deregister', 'leased_elsewhere', 'held_jobs', 'renew_leases', 'release_jobs', 'fail_jobs', 'beat', 'set_idle', 'go_quiet', 'rescue_jobs',
          'set_pipeline_error', 'mark_filled', 'end_backfills', 'follow_unseen', 'uncounted_pipelines', 'count_pipeline', 'clear_books', 'gone_pipelines', 'missing_indexes', 'begin_build', 'end_build', 'set_index_error', 'changed_pipelines', 'follow_tables', 'auto_cutover', 'fold_tally', 'refresh_pipeline',
          'queue_metrics', 'recent_rows', 'claim_requests', 'answer_requests', 'answer_sparse', 'answer_ranking', 'refuse_requests', 'release_requests', 'tidy_requests')
    loop
      execute format('alter function %s security definer', f);
      execute format('grant execute on function %s to embedder_worker', f);
    end loop;
  end if;
  -- These show each role what it may see.
  grant select on embedder.status, embedder.waiting_job, embedder.walking_backfill, embedder.standstill, embedder.failed_job, embedder.worker, embedder.applied_file, embedder.applied_object to public;
end
$do$;
