-- The tasks. What SQL knows of a task is said here and nowhere else: all other files ask what kind of result it has and what is in
-- this table, never for its name. src/tasks/ says the same to the worker, and test/sql/tasks.test.ts compares the two.
-- docs/architecture.md says how a task is added.

-- name     as the hub calls it
-- input    what of a row the model is given: a text, a pair of texts, or an image
-- result   its kind: vector, labels (a label, its score, the scores of others), or spans (parts of the text, each with a label)
-- columns  of the target, in order, and their types. A column target names the first one, and the others <that name>_<theirs>.
--          The last one is null where a row has no result. "vector" stands for the type and the length that a pipeline asks for.
-- noun     what a result is called in the names of sidecars and views
-- models   other tasks whose models do this one as well
-- needs    the options that must be given, with values that they might have
-- Callable by: everybody.
create or replace function embedder.tasks()
returns table (name text, input text, result text, columns text[], types text[], noun text, models text[], needs jsonb)
language sql immutable parallel safe set search_path = pg_catalog, pg_temp as $$
  select t.name, t.input, t.result, r.columns, r.types, r.noun, t.models, t.needs
  from (values
    (1, 'feature-extraction', 'text', 'vector', '{}'::text[], '{}'::jsonb),
    -- A model that ranks texts gives one number, which is the score of its only label.
    (2, 'text-classification', 'text', 'labels', '{text-ranking}', '{}'),
    -- A model that gives vectors finds the nearest of several labels, too.
    (3, 'zero-shot-classification', 'text', 'labels', '{feature-extraction}', '{"labels": ["sport", "politics"]}'),
    (4, 'token-classification', 'text', 'spans', '{}', '{}')
  ) t(place, name, input, result, models, needs)
  join (values
    ('vector', '{embedding}'::text[], '{vector}'::text[], 'embedding'),
    ('labels', '{label,score,detail}', '{text,real,jsonb}', 'label'),
    ('spans', '{label,score,detail}', '{text,real,jsonb}', 'label')
  ) r(result, columns, types, noun) on r.result = t.result
  order by t.place
$$;
comment on function embedder.tasks is 'The tasks that a pipeline may have, and what each of them gives.';

-- The task of models that rank texts by a query: for calls only, so no pipeline has it.
-- Callable by: everybody.
create or replace function embedder.ranking_task() returns text
language sql immutable parallel safe
return 'text-ranking';

-- The kind of result of a task; null where there is no such task.
-- Callable by: everybody.
create or replace function embedder.result_of(task text) returns text
language sql immutable parallel safe set search_path = pg_catalog, pg_temp as $$
  select t.result from embedder.tasks() t where t.name = task
$$;

-- Callable by: everybody.
create or replace function embedder.noun_of(task text) returns text
language sql immutable parallel safe set search_path = pg_catalog, pg_temp as $$
  select t.noun from embedder.tasks() t where t.name = task
$$;

-- The options of each task, with what their values must be. A worker checks them by the same rules
-- (src/tasks/task-options.ts); test/sql/options.test.ts runs one list of cases against both.
-- Callable by: everybody.
create or replace function embedder.known_options(task text) returns table (option text, wanted text)
language sql immutable set search_path = pg_catalog, pg_temp as $$
  select v.option, v.wanted
  from (values
    ('feature-extraction', 'pooling', '"mean", "cls", "last", "max", "mean_sqrt_len" or "weighted_mean"'),
    ('feature-extraction', 'normalize', 'true or false'),
    ('feature-extraction', 'prompt', 'a string of up to 10000 characters, put before each text'),
    ('feature-extraction', 'dimensions', 'a whole number from 1 to 16000, for sparsevec to 16777216'),
    ('feature-extraction', 'vector_type', '"vector", "halfvec" or "sparsevec"'),
    ('feature-extraction', 'top_k', 'a whole number from 1 to 16000'),
    ('text-classification', 'top_k', 'a whole number from 1 to 99999'),
    ('text-classification', 'multi_label', 'true or false'),
    ('zero-shot-classification', 'labels', 'an array of 1 to 1000 different strings of up to 1000 characters, none of them blank'),
    ('zero-shot-classification', 'hypothesis_template', 'a string of up to 1000 characters with {} for the label'),
    ('zero-shot-classification', 'multi_label', 'true or false'),
    ('zero-shot-classification', 'top_k', 'a whole number from 1 to 99999'),
    ('token-classification', 'aggregation_strategy', '"none", "simple", "first", "average" or "max"')) v(of_task, option, wanted)
  where v.of_task = task
$$;

-- Whether these are all strings, none of them longer than that.
-- Callable by: everybody.
create or replace function embedder.are_strings(list jsonb, longest int) returns boolean
language sql immutable set search_path = pg_catalog, pg_temp as $$
  select coalesce(bool_and(jsonb_typeof(item) = 'string' and length(item #>> '{}') <= longest), true) from jsonb_array_elements(list) item
$$;

-- Whether a value is what known_options says of its option. An option means the same in each task that has it.
-- Callable by: everybody.
create or replace function embedder.fits_option(option text, value jsonb) returns boolean
language sql immutable set search_path = pg_catalog, pg_temp as $$
  -- A JSON null is not a value that an option may have.
  select coalesce(case option
    when 'pooling' then v.text in ('mean', 'cls', 'last', 'max', 'mean_sqrt_len', 'weighted_mean')
    when 'vector_type' then v.text in ('vector', 'halfvec', 'sparsevec')
    when 'aggregation_strategy' then v.text in ('none', 'simple', 'first', 'average', 'max')
    when 'normalize' then v.type = 'boolean'
    when 'multi_label' then v.type = 'boolean'
    when 'prompt' then v.type = 'string' and length(v.text) <= 10000
    when 'hypothesis_template' then v.type = 'string' and position('{}' in v.text) > 0 and length(v.text) <= 1000
    when 'labels' then v.type = 'array' and jsonb_array_length(value) between 1 and 1000 and embedder.are_strings(value, 1000)
      and not exists (select from jsonb_array_elements_text(value) label where btrim(label, e' \t\n\x0b\f\r') = '')
      and jsonb_array_length(value) = (select count(distinct label) from jsonb_array_elements(value) label)
    when 'dimensions' then v.type = 'number' and v.text ~ '^[1-9][0-9]{0,7}$' and v.text::int <= 16777216
    else v.type = 'number' and v.text ~ '^[1-9][0-9]{0,4}$' end, false)
  from (select value #>> '{}' as text, jsonb_typeof(value) as type) v
$$;
