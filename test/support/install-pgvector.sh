#!/usr/bin/env bash
# Installs PostgreSQL with pgvector (and pg_cron, where it can be had) on Debian or Ubuntu. Needs root.
#
# Run by the tests' global setup when the machine has no server with pgvector; may be run by hand. Running it
# again changes nothing, and two runs at once wait for each other.
#
# Debian 12 has PostgreSQL 15 and no pgvector. The source package of the next release builds against 15 in
# seconds, so it is fetched with the machine's own apt sources, pointed at that release, in a private folder:
# the machine's own package lists never learn of the other release.
set -euo pipefail
export DEBIAN_FRONTEND=noninteractive

say() { echo "[postgres] $*"; }
die() { echo "[postgres] $*" >&2; exit 1; }

[ "$(id -u)" = 0 ] || die "installing PostgreSQL needs root: run this as root, or set TEST_DATABASE_URL"
command -v apt-get >/dev/null || die "no apt-get here: install PostgreSQL with pgvector, or set TEST_DATABASE_URL"

exec 9>/var/lock/pgembedder-install-pgvector.lock
flock 9

work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT

# A run beside this one may hold apt's own lock: wait for it instead of failing.
apt() { apt-get -o DPkg::Lock::Timeout=600 -qq "$@" </dev/null; }
install_packages() {
  apt install -y --no-install-recommends "$@" >"$work/install.log" 2>&1 && return
  cat "$work/install.log" >&2
  return 1
}
available() { apt-cache show "$1" >/dev/null 2>&1; }
newest_server() { ls -d /usr/lib/postgresql/*/bin/postgres 2>/dev/null | cut -d/ -f5 | sort -n | tail -1; }
has_vector() { [ -e "/usr/share/postgresql/$1/extension/vector.control" ]; }

major=$(newest_server)
if [ -n "$major" ] && has_vector "$major"; then
  exit 0
fi

say "updating the package lists"
apt update >/dev/null
if [ -z "$major" ]; then
  say "installing PostgreSQL"
  install_packages postgresql
  major=$(newest_server)
fi

# pg_cron is only used by a few tests, so being without it is no reason to stop.
if available "postgresql-$major-cron"; then
  say "installing pg_cron for PostgreSQL $major"
  install_packages "postgresql-$major-cron" || say "pg_cron could not be installed; going on without it"
fi

if available "postgresql-$major-pgvector"; then
  say "installing pgvector for PostgreSQL $major"
  install_packages "postgresql-$major-pgvector"
  exit 0
fi

. /etc/os-release
suite=${VERSION_CODENAME:-}
case "$suite" in
  bullseye | bookworm) next=trixie ;;
  *) die "no pgvector package for PostgreSQL $major on ${PRETTY_NAME:-this system}: install pgvector, or set TEST_DATABASE_URL" ;;
esac

say "installing the compiler and the headers of PostgreSQL $major"
install_packages "postgresql-server-dev-$major" gcc make libc6-dev debian-archive-keyring

mkdir -p "$work/parts" "$work/lists/partial" "$work/cache/archives/partial" "$work/source"

shopt -s nullglob
# deb822 files: each stanza that serves this suite, as a deb-src stanza of the next one.
for file in /etc/apt/sources.list.d/*.sources; do
  awk -v RS= -v ORS='\n\n' -v suite="$suite" -v next_suite="$next" '
    $0 ~ "(^|\n)Suites:[^\n]*[ \t]" suite "([ \t\n]|$)" && tolower($0) !~ /(^|\n)enabled:[ \t]*no/ {
      sub(/(^|\n)Types:[^\n]*/, "\nTypes: deb-src")
      sub(/(^|\n)Suites:[^\n]*/, "\nSuites: " next_suite)
      sub(/^\n/, "")
      print
    }' "$file"
done >"$work/parts/next.sources"
# One-line files: `deb [options] address suite components`.
for file in /etc/apt/sources.list /etc/apt/sources.list.d/*.list; do
  [ -e "$file" ] || continue
  sed -nE "s/^deb[[:space:]]+((\[[^]]*\][[:space:]]+)?[^[:space:]]+[[:space:]]+)$suite[[:space:]]/deb-src \1$next /p" "$file"
done >"$work/parts/next.list"
[ -s "$work/parts/next.sources" ] || [ -s "$work/parts/next.list" ] ||
  die "no apt source of $suite found to fetch the pgvector source package with: install pgvector, or set TEST_DATABASE_URL"

private=(-o Dir::Etc::sourcelist=/dev/null -o "Dir::Etc::sourceparts=$work/parts"
  -o "Dir::State::lists=$work/lists" -o "Dir::Cache=$work/cache" -o APT::Sandbox::User=root)
say "fetching the source package of pgvector from $next"
(
  cd "$work/source"
  apt "${private[@]}" update
  apt "${private[@]}" source --download-only pgvector
) >"$work/fetch.log" 2>&1 || {
  cat "$work/fetch.log" >&2
  die "the source package of pgvector could not be fetched from $next: install pgvector, or set TEST_DATABASE_URL"
}

say "building pgvector for PostgreSQL $major"
# OPTFLAGS= : no -march=native, since a machine's disk may be handed on to one with another processor.
{
  mkdir "$work/build"
  tar -xf "$work"/source/pgvector_*.orig.tar.* -C "$work/build" --strip-components=1
  make -C "$work/build" -j"$(nproc)" OPTFLAGS= with_llvm=no "PG_CONFIG=/usr/lib/postgresql/$major/bin/pg_config"
  make -C "$work/build" install OPTFLAGS= with_llvm=no "PG_CONFIG=/usr/lib/postgresql/$major/bin/pg_config"
} >"$work/build.log" 2>&1 || {
  tail -40 "$work/build.log" >&2
  die "pgvector could not be built against PostgreSQL $major: install pgvector, or set TEST_DATABASE_URL"
}
has_vector "$major" || die "pgvector was built, and vector.control is still not in PostgreSQL $major's folder"
say "installed pgvector $(sed -nE "s/^default_version *= *'(.*)'/\1/p" "/usr/share/postgresql/$major/extension/vector.control") for PostgreSQL $major"
