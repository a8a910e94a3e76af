-- The tickets of several customers (tenants) in one table. Row level security keeps them apart, in searches too.
create table if not exists tenant (id int primary key, name text not null, api_key text not null unique);
create table if not exists ticket (
  id bigint generated always as identity primary key,
  tenant_id int not null references tenant,
  title text not null,
  body text not null,
  created_at timestamptz not null default now()
);
create index if not exists ticket_by_tenant on ticket (tenant_id);

-- What is to be done with a ticket, in its own column; and what it says, for searching.
select embedder.create_pipeline('ticket', '{title}\n{body}', name => 'ticket_kind', task => 'zero-shot-classification',
  target_column => 'kind', if_not_exists => true,
  options => '{"labels": ["a bill, a payment or a refund", "an error or a crash", "a question how to do something", "cancel the subscription"],
    "hypothesis_template": "{}"}');
select embedder.create_pipeline('ticket', '{title}\n{body}', name => 'ticket_search', if_not_exists => true);

-- The application's role owns nothing. It sees the tickets of the tenant that its transaction names.
do $$ begin
  if not exists (select from pg_roles where rolname = 'support_app') then create role support_app; end if;
end $$;
grant select, insert, update, delete on ticket to support_app;
grant select on tenant to support_app;
grant select on ticket_search_embedding to support_app;
alter table ticket enable row level security;
drop policy if exists own_tickets on ticket;
create policy own_tickets on ticket to support_app
  using (tenant_id = current_setting('app.tenant')::int) with check (tenant_id = current_setting('app.tenant')::int);

insert into tenant values (1, 'Bakery', 'key-of-the-bakery'), (2, 'Bicycle shop', 'key-of-the-bicycle-shop') on conflict do nothing;
