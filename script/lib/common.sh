# shellcheck shell=bash
# What every script here shares: where the repository is, where downloads are kept, how progress is shown.
# Sourced, never run. Must not install or start anything.

set -euo pipefail

KEELSON_ROOT=$(cd "$(dirname "${BASH_SOURCE[0]}")/../.." && pwd)
KEELSON_CACHE=${KEELSON_CACHE:-/var/cache/keelson}
export KEELSON_ROOT KEELSON_CACHE

# sbin has nft, ip, runc. node_modules/.bin stays out of the search path: an npm package there calls itself `nft` too.
PATH="$PATH:/usr/sbin:/sbin"
export PATH

# Runs a command of an npm package (tsc, biome, ava) with our pinned Node, whatever `node` the machine has.
npm_tool() {
  local name=$1
  shift
  "$KEELSON_ROOT/node_modules/.bin/node" "$(readlink -f "$KEELSON_ROOT/node_modules/.bin/$name")" "$@"
}

# Runs a TypeScript file of the repository.
run_ts() {
  "$KEELSON_ROOT/node_modules/.bin/node" "$@"
}

started_at=${EPOCHREALTIME/[.,]/}

# Seconds since the script started, with one digit.
elapsed() {
  local micros=$((${EPOCHREALTIME/[.,]/} - started_at))
  printf '%d.%d' $((micros / 1000000)) $((micros / 100000 % 10))
}

# One progress line with the time it was printed at; on stderr, so that stdout stays for answers.
say() {
  printf '[%6ss] %s\n' "$(elapsed)" "$*" >&2
}

# Prints what is wrong and what to do, and ends the script.
die() {
  printf 'error: %s\n' "$*" >&2
  exit 1
}

need_root() {
  [[ $EUID -eq 0 ]] || die "$1 needs root; run: sudo $1"
}

# Runs a command with its output in a log that is shown only when it fails.
quietly() {
  local log status=0
  log=$(mktemp)
  "$@" >"$log" 2>&1 || status=$?
  if ((status != 0)); then
    printf 'failed (exit %d): %s\n' "$status" "$*" >&2
    tail -n 40 "$log" >&2
  fi
  rm -f "$log"
  return "$status"
}
