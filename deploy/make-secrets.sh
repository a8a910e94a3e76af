#!/bin/sh
# Makes the secrets that docker-compose.yml reads, in secrets/ beside it: random passwords, and the database's URL with
# one of them in it. What is there already stays as it is.
#
# The folder is closed to other users of this machine. The files in it are not: containers see them with the owner and the
# rights that they have here, and read them as users of their own.
set -eu
cd "$(dirname "$0")/.."
umask 022
mkdir -p -m 700 secrets

random() { head -c 24 /dev/urandom | od -An -tx1 | tr -d ' \n'; }
make() { # FILE TEXT
  [ -s "secrets/$1" ] || printf '%s\n' "$2" >"secrets/$1"
}

make postgres_password "$(random)"
make app_password "$(random)"
make database_url "postgres://app:$(cat secrets/app_password)@db:5432/app"
make http_token "$(random)"
make grafana_password "$(random)"
