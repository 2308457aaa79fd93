# shellcheck shell=bash
# Turns a clone into something that runs: npm packages, native parts, dist/. Does only what is out of date, so that
# a second run takes a moment. Sourced after common.sh. Must not need root.

# npm keeps what it installed in node_modules/.package-lock.json: every required package must be there in the locked
# version. Optional ones of other architectures are absent by design.
node_modules_match() {
  [[ -x $KEELSON_ROOT/node_modules/.bin/node && -f $KEELSON_ROOT/node_modules/.package-lock.json ]] || return 1
  "$KEELSON_ROOT/node_modules/.bin/node" -e '
    const { readFileSync } = require("node:fs");
    const [, lock, have] = process.argv.map((path, i) => i === 0 ? {} : JSON.parse(readFileSync(path, "utf8")).packages);
    const wrong = Object.keys(lock).filter((name) => name !== "" &&
      (have[name] === undefined ? !lock[name].optional : have[name].version !== lock[name].version));
    process.exit(wrong.length === 0 ? 0 : 1);
  ' "$KEELSON_ROOT/package-lock.json" "$KEELSON_ROOT/node_modules/.package-lock.json" 2>/dev/null
}

# npm 9 (Debian 12 and 13) unpacks our Node but makes no link to it, unlike npm 11.
link_node() {
  local architecture binary
  case $(uname -m) in
    x86_64) architecture=x64 ;;
    aarch64) architecture=arm64 ;;
    *) return 0 ;;
  esac
  binary=node-linux-$architecture/bin/node
  if [[ ! -e $KEELSON_ROOT/node_modules/.bin/node && -x $KEELSON_ROOT/node_modules/$binary ]]; then
    ln -sf "../$binary" "$KEELSON_ROOT/node_modules/.bin/node"
  fi
}

install_node_modules() {
  node_modules_match && return 0
  say 'installing npm packages (npm ci)'
  # No install script of a dependency is needed, so none runs, whatever npm's version thinks of them.
  (cd "$KEELSON_ROOT" && quietly npm ci --ignore-scripts --no-audit --no-fund) || die 'npm ci failed; see above'
  link_node
  node_modules_match || die "npm ci left node_modules without Node for $(uname -m); Keelson runs on x86_64 and aarch64"
}

build_native() {
  [[ -f $KEELSON_ROOT/native/Makefile ]] || die 'native/Makefile is missing; the clone is incomplete'
  quietly make --no-print-directory -C "$KEELSON_ROOT/native" || die 'the native parts do not build; see above'
}

dist_is_current() {
  local stamp=$KEELSON_ROOT/dist/.built
  [[ -f $stamp ]] || return 1
  # Folders count too: removing a file changes only the folder's time.
  [[ -z $(find "$KEELSON_ROOT/src" "$KEELSON_ROOT/tsconfig.json" "$KEELSON_ROOT/tsconfig.build.json" \
    "$KEELSON_ROOT/node_modules/.package-lock.json" ! -name '*.test.ts' -newer "$stamp" -print -quit) ]]
}

build_dist() {
  dist_is_current && return 0
  say 'compiling src/ to dist/'
  # Compiled beside and swapped in: a keelson that starts meanwhile finds the old or the new one, not half of it.
  local fresh=$KEELSON_ROOT/dist.new old=$KEELSON_ROOT/dist.old
  rm -rf "$fresh" "$old"
  mkdir -p "$fresh"
  touch "$fresh/.built"
  (cd "$KEELSON_ROOT" && quietly npm_tool tsc -p tsconfig.build.json --outDir dist.new) || die 'src/ does not compile; see above'
  [[ -e $KEELSON_ROOT/dist ]] && mv "$KEELSON_ROOT/dist" "$old"
  mv "$fresh" "$KEELSON_ROOT/dist"
  rm -rf "$old"
}

# Everything, one build at a time per clone.
build() {
  local build_lock
  exec {build_lock}<"$KEELSON_ROOT/script/lib/build.sh"
  flock "$build_lock"
  install_node_modules
  build_native
  build_dist
  exec {build_lock}<&-
}
