#!/usr/bin/env bash
# Stands in for the public image's entrypoint in the local test image, as far as deploy/ uses it: on an empty data folder
# a cluster with the superuser POSTGRES_USER, its password from POSTGRES_PASSWORD_FILE, the database POSTGRES_DB, and
# the scripts of /docker-entrypoint-initdb.d, run against a server with the command's own flags that only the
# unix socket reaches. Then the server itself.
set -euo pipefail

user=${POSTGRES_USER:-postgres}
database=${POSTGRES_DB:-$user}

mkdir -p /run/postgresql
if [ "$1" = postgres ] && [ ! -s "$PGDATA/PG_VERSION" ]; then
  # shellcheck disable=SC2086 # several flags
  initdb --username="$user" --pwfile="$POSTGRES_PASSWORD_FILE" --encoding=UTF8 ${POSTGRES_INITDB_ARGS:-}
  echo 'host all all all scram-sha-256' >>"$PGDATA/pg_hba.conf"
  echo "listen_addresses = '*'" >>"$PGDATA/postgresql.conf"
  pg_ctl -D "$PGDATA" -w start -o "$(printf '%q ' "${@:2}") -c listen_addresses=''"
  export POSTGRES_DB=$database POSTGRES_USER=$user
  if [ "$database" != postgres ]; then
    psql -v ON_ERROR_STOP=1 -U "$user" -d postgres -v database="$database" <<<'create database :"database"'
  fi
  for file in /docker-entrypoint-initdb.d/*; do
    echo "running $file"
    case "$file" in
      *.sh) if [ -x "$file" ]; then "$file"; else . "$file"; fi ;;
      *.sql) psql -v ON_ERROR_STOP=1 -U "$user" -d "$database" -f "$file" ;;
    esac
  done
  pg_ctl -D "$PGDATA" -w -m fast stop
fi
exec "$@"
