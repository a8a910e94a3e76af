#!/usr/bin/env bash
# Puts SwiftShader, a Vulkan that runs on the CPU, into the folder $1 on Debian, and installs Vulkan's loader. Needs root.
#
# Run by test/support/software-vulkan.ts when the machine has none; may be run by hand. Running it again changes
# nothing, and two runs at once wait for each other.
#
# SwiftShader comes with Chromium and nowhere else. Its two files are taken out of the package: what Chromium itself
# asks for is ten times as much.
set -euo pipefail
export DEBIAN_FRONTEND=noninteractive

target=$1
loader() { ldconfig -p | grep -q 'libvulkan\.so\.1'; }
complete() { [ -e "$target/vk_swiftshader_icd.json" ] && loader; }

exec 9>/var/lock/pgembedder-install-swiftshader.lock
flock 9
complete && exit 0

work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
apt() { apt-get -o DPkg::Lock::Timeout=600 -o APT::Sandbox::User=root -qq "$@" </dev/null; }

apt update >/dev/null
loader || apt install -y --no-install-recommends libvulkan1 >/dev/null
if ! [ -e "$target/vk_swiftshader_icd.json" ]; then
  # In which of Chromium's packages it lies has changed before.
  for package in chromium-common chromium; do
    (cd "$work" && apt download "$package" && dpkg-deb -x "$package"_*.deb .) >/dev/null
    [ -e "$work/usr/lib/chromium/libvk_swiftshader.so" ] && break
  done
  mkdir -p "$target"
  # The description last: with it the folder counts as complete.
  cp "$work/usr/lib/chromium/libvk_swiftshader.so" "$target/"
  cp "$work/usr/lib/chromium/vk_swiftshader_icd.json" "$target/"
fi
complete
