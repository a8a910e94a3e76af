#!/usr/bin/env bash
# Run once, by the base image's entrypoint, on an empty data folder: the extensions, which only a superuser may make,
# and the role `app`, which owns the database. pgembedder and your application log in as that role; it is no superuser.
set -euo pipefail

: "${APP_PASSWORD_FILE:?names the file that holds the password of role app}"
psql -v ON_ERROR_STOP=1 --username "$POSTGRES_USER" --dbname "$POSTGRES_DB" -v database="$POSTGRES_DB" <<'SQL'
\set password `cat "$APP_PASSWORD_FILE"`
create extension vector;
create extension pg_cron;
create extension dblink;

create role app login password :'password';
alter database :"database" owner to app;
alter schema public owner to app;

-- Jobs by the clock: select cron.schedule(...).
grant usage on schema cron to app;

-- embedder.embed asks a worker over a second connection to this very server, see docs/search.md. It logs in as app, by its
-- password: the superuser stays out of reach.
create server embedder_loopback foreign data wrapper dblink_fdw
  options (host '127.0.0.1', port '5432', dbname :'database');
create user mapping for app server embedder_loopback options (user 'app', password :'password');
grant usage on foreign server embedder_loopback to app;

-- The roles that migrate makes where it may: app may not make roles.
create role embedder_admin nologin;
create role embedder_worker nologin;
create role embedder_reader nologin;
SQL
