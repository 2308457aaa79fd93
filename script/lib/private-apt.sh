# shellcheck shell=bash
# An apt with sources and state of its own below $KEELSON_CACHE: packages of any Debian suite can be downloaded and
# unpacked while the machine's own sources, lists and installed packages stay as they are.
# Sourced after common.sh. Must not install anything. Verifies what it downloads by Debian's archive key.

debian_mirror=${KEELSON_DEBIAN_MIRROR:-http://deb.debian.org/debian}
debian_keyring=/usr/share/keyrings/debian-archive-keyring.gpg

# private_apt_open SUITE FOLDER [TYPES]: makes the state in FOLDER and reads the suite's lists. TYPES: deb, `deb deb-src`.
private_apt_open() {
  local suite=$1 types=${3:-deb}
  private_apt_root=$2
  [[ -r $debian_keyring ]] || die "$debian_keyring is missing; run: apt-get install debian-archive-keyring"
  mkdir -p "$private_apt_root"/{sources,lists/partial,cache/archives/partial}
  : >"$private_apt_root/status"
  printf 'Types: %s\nURIs: %s\nSuites: %s\nComponents: main\nSigned-By: %s\n' \
    "$types" "$debian_mirror" "$suite" "$debian_keyring" >"$private_apt_root/sources/debian.sources"
  quietly private_apt update || die "the package lists of Debian $suite cannot be read from $debian_mirror"
}

# apt-get with that state.
private_apt() {
  apt-get -q -o Dir::Etc::SourceList=/dev/null -o Dir::Etc::SourceParts="$private_apt_root/sources" \
    -o Dir::Etc::Preferences=/dev/null -o Dir::Etc::PreferencesParts=/dev/null \
    -o Dir::State::Lists="$private_apt_root/lists" -o Dir::State::status="$private_apt_root/status" \
    -o Dir::Cache="$private_apt_root/cache" -o Acquire::Languages=none -o Acquire::Retries=3 \
    -o APT::Sandbox::User=root "$@"
}
