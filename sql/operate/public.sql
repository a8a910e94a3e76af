-- A thin wrapper, so that a cron job or an application writes enqueue_embed(...) without the schema.
do $$
declare
  stranger regprocedure := (select oid from pg_proc
    where pronamespace = to_regnamespace('public') and proname = 'enqueue_embed' and prosrc !~ e'embedder\\.enqueue_embed' and prosqlbody is null limit 1);
begin
  if to_regnamespace('public') is null or not has_schema_privilege('public', 'create') then
    raise notice 'no wrapper public.enqueue_embed: schema public is missing or may not be written; call embedder.enqueue_embed';
    return;
  elsif stranger is not null then
    raise notice 'no wrapper public.enqueue_embed: function % is there already; call embedder.enqueue_embed', stranger;
    return;
  end if;
  execute $f$create or replace function public.enqueue_embed(pipeline text, row_key anyelement) returns boolean
    language sql as 'select embedder.enqueue_embed(pipeline, row_key)'$f$;
  execute $f$create or replace function public.enqueue_embed(pipeline text, row_key text) returns boolean
    language sql as 'select embedder.enqueue_embed(pipeline, row_key)'$f$;
  grant execute on function public.enqueue_embed(text, anyelement), public.enqueue_embed(text, text) to public;
exception when insufficient_privilege then
  raise notice 'no wrapper public.enqueue_embed: %; call embedder.enqueue_embed', sqlerrm;
end
$$;
