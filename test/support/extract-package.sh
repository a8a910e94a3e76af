#!/usr/bin/env bash
# Unpacks a Debian package, with those that it needs and the machine lacks, into a folder. Nothing is installed and no
# service started. Needs root, as apt does for its lists. A second run finds the folder and changes nothing.
#
#   extract-package.sh PACKAGE FOLDER
set -euo pipefail
export DEBIAN_FRONTEND=noninteractive
package=$1 folder=$2

mkdir -p "$(dirname "$folder")"
exec 9>"$folder.lock"
flock 9
[ ! -e "$folder" ] || exit 0

work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
# apt's own user fetches.
chmod 755 "$work"
mkdir -p "$work/cache/archives/partial"
apt() { apt-get -o DPkg::Lock::Timeout=600 -o Dir::Cache="$work/cache" -qq "$@" </dev/null; }
fetch() { apt install --no-install-recommends --download-only -y "$package" >"$work/log" 2>&1; }
# Lists that are missing or of long ago name files that are gone.
fetch || { apt update >"$work/log" 2>&1 && fetch; } || { cat "$work/log" >&2; exit 1; }
for archive in "$work"/cache/archives/*.deb; do
  dpkg-deb -x "$archive" "$work/root"
done
mv "$work/root" "$folder"
