-- What the functions for users have done that their callers have no right to do themselves, such as to write the queue or
-- to make a generation the live one. They insert a row into the view embedder.command, and its triggers act on it, in the
-- order of their names:
--   a_find    with the rights of the schema's owner: whose table it is about
--   b_check   with the caller's: whether PostgreSQL knows the caller as somebody who may
--   c_do      with the rights of the schema's owner: does it
-- A security definer function alone could not do this: it does not learn who has called it. So nobody may execute what
-- does the work, and whoever may insert here can do no more than ask.

create or replace view embedder.command as
select null::int as pipeline_id, null::text as pipeline, null::text as verb, null::jsonb as arguments, null::regclass as source,
  null::jsonb as answer
where false;
comment on view embedder.command is 'Written by the functions for users. It has no rows.';

-- Has something done to a generation of a pipeline; or, with its number null, to the pipeline of that name.
-- Callable by: everybody.
create or replace function embedder.command(pipeline_id int, verb text, arguments jsonb default '{}', pipeline text default null) returns jsonb
language sql set search_path = pg_catalog, pg_temp as $$
  insert into embedder.command (pipeline_id, pipeline, verb, arguments) values ($1, $4, $2, $3) returning answer
$$;

create or replace function embedder.find_command() returns trigger
language plpgsql security definer set search_path = pg_catalog, pg_temp as $$
declare
  p embedder.pipeline;
begin
  select * into p from embedder.pipeline e
  where case when new.pipeline_id is null then e.name = new.pipeline and e.live else e.id = new.pipeline_id end;
  new.pipeline_id := p.id;
  new.source := p.source;
  return new;
end
$$;

-- Whoever may write the table may queue its rows; all else is for those who may change the pipeline. Nobody else is told
-- that there is such a pipeline, unless they may know it anyway: find_pipeline raises for them what it does for any name.
-- Callable by: everybody.
create or replace function embedder.check_command() returns trigger
language plpgsql set search_path = pg_catalog, pg_temp as $$
declare
  -- As far as the caller sees it.
  name text := coalesce(new.pipeline, (select e.name from embedder.pipeline e where e.id = new.pipeline_id));
begin
  if new.source is null then
    perform embedder.find_pipeline(name);
  elsif embedder.may_manage(new.source) or not row_security_active('embedder.pipeline') then
    return new;
  elsif new.verb <> 'enqueue' then
    perform embedder.own_pipeline(name);
  elsif has_table_privilege(new.source, 'insert') or has_any_column_privilege(new.source, 'update') then
    return new;
  else
    perform embedder.find_pipeline(name);
    raise exception 'role % may not write %, and so not queue its rows', current_user, new.source using errcode = 'insufficient_privilege',
      hint = format('grant update on %s to %I;', new.source, current_user);
  end if;
  return null;
end
$$;

-- Names are compared as PostgreSQL writes them by default.
create or replace function embedder.do_command() returns trigger
language plpgsql security definer set search_path = pg_catalog, pg_temp set quote_all_identifiers = off as $$
declare
  p embedder.pipeline;
begin
  select * into p from embedder.pipeline e where e.id = new.pipeline_id and e.source = new.source;
  if not found then return null; end if;
  case new.verb
    when 'enqueue' then new.answer := to_jsonb(embedder.enqueue_row(p.name, new.arguments ->> 'row_key'));
    when 'retry' then execute format('select to_jsonb(embedder.%I())', format('pipeline_%s_retry', p.id)) into new.answer;
    when 'backfill' then new.answer := to_jsonb(embedder.start_backfill(p, new.arguments ->> 'condition',
      coalesce((new.arguments ->> 'force')::boolean, false), coalesce((new.arguments ->> 'stale')::boolean, false),
      coalesce((new.arguments ->> 'again')::boolean, false)));
    when 'recount' then perform embedder.correct_tally(p.id);
    when 'resume' then perform embedder.resume_generation(p);
    when 'connect' then perform embedder.connect(p);
    when 'cutover' then perform embedder.make_live(p.id, (new.arguments ->> 'force')::boolean);
    when 'drop' then
      update embedder.pipeline e set drop_target = (new.arguments ->> 'drop_target')::boolean where e.id = p.id;
      delete from embedder.pipeline e where e.id = p.id;
  end case;
  return new;
end
$$;

select embedder.assure('trigger', t.name, 'embedder.command', format('instead of insert on embedder.command for each row execute function embedder.%I()', t.function))
from (values ('a_find', 'find_command'), ('b_check', 'check_command'), ('c_do', 'do_command')) t(name, function);
