# Sourced by compose.sh: podman, buildah and podman-compose where there is no Docker engine, with images, containers and
# networks in a folder of their own. Needs root on Debian. Sets WORK, the folder, which goes when the script ends.

WORK=$(mktemp -d /tmp/pgembedder-compose.XXXXXX)

remove_all() {
  set +e
  if [ -e "$WORK/storage.conf" ]; then
    podman rm -af -t 0
    podman volume rm -af
    podman network prune -f
    podman rmi -af
  fi >/dev/null 2>&1
  rm -rf "$WORK"
}
trap remove_all EXIT

install_tools() {
  local tools=(podman buildah runc netavark aardvark-dns catatonit iptables debootstrap python3-venv postgresql-client)
  if ! dpkg -s "${tools[@]}" >/dev/null 2>&1; then
    [ "$(id -u)" = 0 ] || { echo "test:compose needs root, to install ${tools[*]}" >&2; exit 1; }
    { apt-get update && DEBIAN_FRONTEND=noninteractive apt-get -o DPkg::Lock::Timeout=600 install -y --no-install-recommends "${tools[@]}"; } \
      >"$WORK/install.log" 2>&1 || { tail -20 "$WORK/install.log" >&2; exit 1; }
  fi
  python3 -m venv "$WORK/venv"
  "$WORK/venv/bin/pip" install --quiet podman-compose==1.6.0
}

# Overlay is quicker and smaller, vfs works everywhere: in a container of somebody else's there is no overlay on overlay.
storage_driver() {
  mkdir -p "$WORK"/probe/{lower,upper,work,merged}
  if mount -t overlay overlay -o "lowerdir=$WORK/probe/lower,upperdir=$WORK/probe/upper,workdir=$WORK/probe/work" "$WORK/probe/merged" 2>/dev/null; then
    umount "$WORK/probe/merged"
    echo overlay
  else
    echo vfs
  fi
}

configure_podman() {
  mkdir -p "$WORK/images" "$WORK/run" "$WORK/networks"
  printf '[storage]\ndriver = "%s"\ngraphroot = "%s"\nrunroot = "%s"\n' "$(storage_driver)" "$WORK/images" "$WORK/run" >"$WORK/storage.conf"
  # The limits: a sandbox may allow fewer files and processes than podman asks for. No systemd, and crun fails in some sandboxes.
  cat >"$WORK/containers.conf" <<CONF
[containers]
default_ulimits = ["nofile=1024:1024", "nproc=1024:1024"]
[engine]
runtime = "runc"
cgroup_manager = "cgroupfs"
events_logger = "file"
[network]
network_backend = "netavark"
network_config_dir = "$WORK/networks"
CONF
  echo 'unqualified-search-registries = ["docker.io"]' >"$WORK/registries.conf"
  export CONTAINERS_STORAGE_CONF=$WORK/storage.conf CONTAINERS_CONF=$WORK/containers.conf CONTAINERS_REGISTRIES_CONF=$WORK/registries.conf
  export BUILDAH_ISOLATION=chroot
}

# This machine's npm settings, for the builds: a registry of its own, and the certificates that the base images got.
npm_settings() {
  local user
  user=$(npm config get userconfig 2>/dev/null)
  { if [ -e "$user" ]; then grep -v '^cafile' "$user" || true; fi
    echo "registry=$(npm config get registry 2>/dev/null)"
    echo cafile=/etc/ssl/certs/ca-certificates.crt; } >"$WORK/npmrc"
}

compose() { "$WORK/venv/bin/podman-compose" --podman-build-args "--layers=false --pull=never --secret id=npmrc,src=$WORK/npmrc" "$@" 2> >(quiet >&2); }

# What is known and no fault: no systemd runs the health checks (compose.sh does), and this podman cannot wait for them.
quiet() { grep -v -e systemd -e 'connect to syslog' -e "doesn't support healthy" || true; }
