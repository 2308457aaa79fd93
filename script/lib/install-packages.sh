# shellcheck shell=bash
# Installs the Debian/Ubuntu packages that Keelson, its demo and its tests need, and only those that are missing.
# Sourced after common.sh. Must not start or enable a service that the machine did not have: it is the user's machine.

run_packages=(
  ca-certificates libatomic1 g++ make musl-tools containerd runc nftables iproute2 util-linux busybox-static procps curl
)
test_packages=(
  docker-registry apache2-utils skopeo containernetworking-plugins tcpdump jq debian-archive-keyring dpkg-dev openssl patchelf ufw
)
# What script/package-deb needs; the libraries of another architecture come with its compiler.
package_packages=(ca-certificates libatomic1 g++ make musl-tools binutils patchelf openssl xz-utils)
cross_packages=(g++-aarch64-linux-gnu)
# Machines of script/lab.
lab_packages=(qemu-system-x86 qemu-utils mmdebstrap debian-archive-keyring openssh-client e2fsprogs)
# Services that these packages bring along. They are switched off again, unless they were there before.
service_units=(containerd docker-registry nftables)

policy_file=/usr/sbin/policy-rc.d
policy_mark='# written by keelson script/lib/install-packages.sh'

is_installed() {
  [[ $(dpkg-query -W -f '${db:Status-Status}' "$1" 2>/dev/null) == installed ]]
}

# busybox-static and busybox exclude each other, and only the static one serves as a container image.
# docker.io and containerd.io (Docker's own package) bring a containerd too: leave what the user has.
is_provided() {
  case $1 in
    containerd) is_installed containerd || command -v containerd >/dev/null ;;
    runc) is_installed runc || command -v runc >/dev/null ;;
    *) is_installed "$1" ;;
  esac
}

missing_packages() {
  local package
  for package in "$@"; do
    is_provided "$package" || echo "$package"
  done
}

unit_exists() {
  [[ -e /lib/systemd/system/$1.service || -e /etc/systemd/system/$1.service ]]
}

# invoke-rc.d asks this file; 101 means: do not start. A file of the user's own stays as it is.
forbid_service_starts() {
  [[ -e $policy_file ]] && return 0
  printf '#!/bin/sh\n%s\nexit 101\n' "$policy_mark" >"$policy_file"
  chmod 755 "$policy_file"
}

allow_service_starts() {
  if [[ -e $policy_file ]] && grep -qF "$policy_mark" "$policy_file"; then rm -f "$policy_file"; fi
}

# Waits for another apt or dpkg (unattended-upgrades on a fresh machine) instead of failing on its lock.
apt_quiet() {
  local attempt log
  log=$(mktemp)
  for attempt in 1 2 3 4 5 6 7 8 9 10; do
    if DEBIAN_FRONTEND=noninteractive apt-get -qq -y -o DPkg::Lock::Timeout=300 -o Acquire::Retries=2 \
      -o Acquire::http::Timeout=30 -o Acquire::https::Timeout=30 -o Dpkg::Use-Pty=0 "$@" >"$log" 2>&1; then
      rm -f "$log"
      return 0
    fi
    grep -q 'Could not get lock' "$log" || break
    say "another apt is running, waiting (attempt $attempt)"
    sleep 10
  done
  apt_failure=$(tail -n 15 "$log")
  rm -f "$log"
  return 1
}

# install_packages run|test|package|cross-package|lab: `test` adds to `run` what only the tests need.
install_packages() {
  local wanted missing=() new_units=() unit
  case $1 in
    run) wanted=("${run_packages[@]}") ;;
    test) wanted=("${run_packages[@]}" "${test_packages[@]}") ;;
    package) wanted=("${package_packages[@]}") ;;
    cross-package) wanted=("${cross_packages[@]}") ;;
    lab) wanted=("${lab_packages[@]}") ;;
  esac
  # Debian's Node is used for one thing: `npm ci`, which brings our own. So it is not wanted where npm or the result is.
  if ! command -v npm >/dev/null && [[ ! -x $KEELSON_ROOT/node_modules/.bin/node ]]; then wanted+=(nodejs npm); fi
  mapfile -t missing < <(missing_packages "${wanted[@]}")
  ((${#missing[@]} == 0)) && return 0

  command -v apt-get >/dev/null ||
    die "these packages are missing and this system has no apt-get: ${missing[*]}; install them by hand and run this again"
  [[ $EUID -eq 0 ]] || die "packages are missing (${missing[*]}); run this script as root once, or: apt-get install ${missing[*]}"

  mkdir -p "$KEELSON_CACHE"
  exec {install_lock}>"$KEELSON_CACHE/install.lock"
  flock "$install_lock"
  mapfile -t missing < <(missing_packages "${wanted[@]}")
  if ((${#missing[@]} > 0)); then
    for unit in "${service_units[@]}"; do
      unit_exists "$unit" || new_units+=("$unit")
    done
    say "installing ${#missing[@]} packages: ${missing[*]}"
    # A broken third-party source makes `update` fail although Debian's own lists arrived; the install decides.
    if ! apt_quiet update; then say "apt-get update reported a problem, going on: $(tail -n 1 <<<"$apt_failure")"; fi
    forbid_service_starts
    trap 'allow_service_starts' EXIT
    if ! apt_quiet install --no-install-recommends "${missing[@]}"; then
      printf '%s\n' "$apt_failure" >&2
      die "apt-get could not install: ${missing[*]}; repair apt (see above) and run this again"
    fi
    allow_service_starts
    trap - EXIT
    for unit in "${new_units[@]}"; do
      if command -v systemctl >/dev/null; then
        if unit_exists "$unit"; then quietly systemctl disable "$unit.service" || true; fi
      else
        rm -f /etc/systemd/system/*.wants/"$unit.service"
      fi
    done
    say "packages installed"
  fi
  exec {install_lock}>&-
}
