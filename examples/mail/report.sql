-- How well the labels tell spam. Precision: of what was called spam, how much is. Recall: of the spam, how much was called so.
select count(*)::int as messages,
  round(count(*) filter (where spam and called)::numeric / nullif(count(*) filter (where called), 0), 3)::float as precision,
  round(count(*) filter (where spam and called)::numeric / nullif(count(*) filter (where spam), 0), 3)::float as recall
from (
  select spam, kind in ('an offer to make money fast', 'an advertisement with a low price', 'a loan or a mortgage', 'pills and weight loss',
    'adult content') as called
  from mail where kind is not null) judged;
