-- A thin wrapper, so that a cron job or an application writes enqueue_embed(...) without the schema.
do $$
begin
  if to_regnamespace('public') is null or not has_schema_privilege('public', 'create') then
    raise notice 'no wrapper public.enqueue_embed: schema public is missing or may not be written; call embedder.enqueue_embed';
    return;
  end if;
  execute $f$create or replace function public.enqueue_embed(pipeline text, row_key anyelement) returns boolean
    language sql as 'select embedder.enqueue_embed(pipeline, row_key)'$f$;
  execute $f$create or replace function public.enqueue_embed(pipeline text, row_key text) returns boolean
    language sql return embedder.enqueue_embed(pipeline, row_key)$f$;
end
$$;
