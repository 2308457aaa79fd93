# shellcheck shell=bash
# The parts of the Debian package, each put into a tree that dpkg-deb packs: see script/package-deb.
# Sourced after common.sh. Must not write anywhere but into the folders that it is given, and must give the same bytes for
# the same sources: no times, no names of folders.

# GNU triplet of Debian's name for an architecture.
triplet_of() {
  case $1 in
    amd64) echo x86_64-linux-gnu ;;
    arm64) echo aarch64-linux-gnu ;;
  esac
}

# The time of the commit, or of the changelog where there is no git.
package_time() {
  git -C "$KEELSON_ROOT" log -1 --format=%ct 2>/dev/null || stat -c %Y "$KEELSON_ROOT/CHANGELOG.md"
}

package_field() {
  run_ts -p 'JSON.parse(require("node:fs").readFileSync(process.argv[1], "utf8"))[process.argv[2]]' \
    "$KEELSON_ROOT/package.json" "$1"
}

# 0.1.0 for the commit with the tag v0.1.0, else 0.1.0+git20261121T134500.a720d64, which is newer than 0.1.0.
package_version() {
  local base commit
  base=$(package_field version)
  commit=$(git -C "$KEELSON_ROOT" rev-parse --short=7 HEAD 2>/dev/null) || { echo "$base" && return; }
  if [[ $(git -C "$KEELSON_ROOT" tag --points-at HEAD) == *"v$base"* ]]; then
    echo "$base"
  else
    echo "$base+git$(date -u -d "@$SOURCE_DATE_EPOCH" +%Y%m%dT%H%M%S).$commit"
  fi
}

# add_native ARCHITECTURE BUILD_FOLDER TARGET
add_native() {
  local triplet tools=()
  triplet=$(triplet_of "$1")
  # musl exists for the machine's own architecture only; glibc's static programs are larger and do the same.
  [[ $1 == "$host_architecture" ]] || tools=("CC=$triplet-gcc" "CNI_CC=$triplet-gcc")
  quietly make -j2 --no-print-directory -C "$KEELSON_ROOT/native" "BUILD=$2" "CXX=$triplet-g++" "${tools[@]}" ||
    die 'the native parts do not build; see above'
  mkdir -p "$3"
  "$triplet-strip" --strip-unneeded -o "$3/keelson.node" "$2/keelson.node"
  chmod 644 "$3/keelson.node"
  install -m 755 "$2/keelson-cni" "$2/keelson-hold" "$3"
}

# add_program WORK PROGRAM: src/ compiled, and with the npm packages that it needs made into a few files (docs/adr/0012).
# They lie two folders below the root, as in a clone: src/agent/install-paths.ts and src/kernel/addon.ts look from there.
add_program() {
  local work=$1 program=$2 esbuild
  (cd "$KEELSON_ROOT" && quietly npm_tool tsc -p tsconfig.build.json --outDir "$work/dist") || die 'src/ does not compile; see above'
  ln -s "$KEELSON_ROOT/node_modules" "$work/node_modules"
  # The binary of this machine: bin/esbuild is a script or that binary, as npm's version has it.
  esbuild=$(find "$KEELSON_ROOT"/node_modules/@esbuild/linux-*/bin/esbuild -print -quit 2>/dev/null)
  [[ -n $esbuild ]] || die 'esbuild is missing; run npm ci in the repository'
  # CommonJS packages call require for Node's own modules. Links are preserved so that no name of our folders gets into files.
  (cd "$work" && quietly "$esbuild" dist/cli/main.js --bundle --splitting --format=esm --platform=node \
    --target=node24 --preserve-symlinks --legal-comments=none --outdir="$program/dist/cli" --metafile="$work/bundle.json" \
    --banner:js="import { createRequire as requireOf } from 'node:module'; const require = requireOf(import.meta.url);") ||
    die 'the program cannot be bundled; see above'
  run_ts -p 'const { name, version, type, license } = JSON.parse(require("node:fs").readFileSync(process.argv[1], "utf8"));
    JSON.stringify({ name, version, type, license })' "$KEELSON_ROOT/package.json" >"$program/package.json"
  install -m 755 "$KEELSON_ROOT/bin/keelson" "$program/bin/keelson"
}

# The folder of the npm package with Node.js: the installed one, or the one that package-lock.json names, by its hash.
node_package() {
  local name=node-linux-${1/amd64/x64} work=$2 version integrity archive
  if [[ -x $KEELSON_ROOT/node_modules/$name/bin/node ]]; then
    echo "$KEELSON_ROOT/node_modules/$name"
    return
  fi
  read -r version integrity < <(run_ts -p 'const { version, integrity } =
    JSON.parse(require("node:fs").readFileSync(process.argv[1], "utf8")).packages["node_modules/" + process.argv[2]];
    version + " " + integrity' "$KEELSON_ROOT/package-lock.json" "$name")
  archive=$KEELSON_CACHE/$name-$version.tgz
  if [[ ! -f $archive ]]; then
    say "downloading $name $version"
    mkdir -p "$KEELSON_CACHE"
    (cd "$work" && quietly npm pack --silent "$name@$version") || die "npm cannot download $name $version"
    mv "$work/${archive##*/}" "$archive"
  fi
  [[ sha512-$(openssl dgst -sha512 -binary "$archive" | base64 -w0) == "$integrity" ]] ||
    die "$archive is not what package-lock.json names; remove it and run this again"
  mkdir "$work/node"
  tar -xzf "$archive" -C "$work/node" --strip-components=1
  echo "$work/node"
}

# add_node ARCHITECTURE WORK PROGRAM: the binary without symbols that only debuggers read, and libatomic.so.1, which a
# minimal Debian lacks, beside it where only this binary looks.
add_node() {
  local triplet source library
  triplet=$(triplet_of "$1")
  source=$(node_package "$1" "$2")
  cp "$source/LICENSE" "$2/node-license"
  "$triplet-strip" --strip-all -o "$3/bin/node" "$source/bin/node"
  # shellcheck disable=SC2016 # $ORIGIN is the dynamic linker's
  patchelf --set-rpath '$ORIGIN/../lib' "$3/bin/node"
  chmod 755 "$3/bin/node"
  library=$(readlink -f "$("$triplet-gcc" -print-file-name=libatomic.so.1)")
  [[ -f $library ]] || die "libatomic.so.1 for $1 is missing; install libatomic1"
  install -D -m 644 "$library" "$3/lib/libatomic.so.1"
}

# The commands are links: the program finds out by which it was called.
add_commands() {
  mkdir -p "$1/usr/bin"
  ln -s ../lib/keelson/bin/keelson "$1/usr/bin/keelson"
  ln -s ../lib/keelson/bin/keelson "$1/usr/bin/kubelet"
}

add_units() {
  install -D -m 644 -t "$1/usr/lib/systemd/system" "$KEELSON_ROOT"/systemd/*.service
  install -D -m 644 "$KEELSON_ROOT/packaging/keelson.default" "$1/etc/default/keelson"
  mkdir -p "$1/etc/keelson/pods" "$1/etc/kubernetes/manifests"
}

# add_documents TREE VERSION METAFILE ARCHITECTURE
add_documents() {
  local doc=$1/usr/share/doc/keelson man=$1/usr/share/man/man8 date
  mkdir -p "$doc" "$man" "$1/usr/share/lintian/overrides"
  install -m 644 "$KEELSON_ROOT"/docs/*.md "$doc"
  cp -R "$KEELSON_ROOT/deploy" "$doc/deploy"
  cp -R "$KEELSON_ROOT/examples" "$doc/examples"
  gzip -9n <"$KEELSON_ROOT/CHANGELOG.md" >"$doc/CHANGELOG.md.gz"
  date=$(date -R -u -d "@$SOURCE_DATE_EPOCH")
  printf 'keelson (%s) unstable; urgency=medium\n\n  * See CHANGELOG.md.gz.\n\n -- %s  %s\n' \
    "$2" "$(sed -n 's/^Maintainer: //p' "$KEELSON_ROOT/packaging/control")" "$date" | gzip -9n >"$doc/changelog.gz"
  run_ts "$KEELSON_ROOT/script/lib/write-copyright.ts" --metafile "$3" --node-license "$work/node-license" \
    --libc "$([[ $4 == "$host_architecture" ]] && command -v musl-gcc >/dev/null && echo musl || echo glibc)" >"$doc/copyright"
  sed -e "s/@VERSION@/$2/" -e "s/@DATE@/$(date -u -d "@$SOURCE_DATE_EPOCH" +%F)/" "$KEELSON_ROOT/packaging/keelson.8" |
    gzip -9n >"$man/keelson.8.gz"
  ln -s keelson.8.gz "$man/kubelet.8.gz"
  install -m 644 "$KEELSON_ROOT/packaging/lintian-overrides" "$1/usr/share/lintian/overrides/keelson"
}

# newest_symbol_version PREFIX FILE...: the greatest version that the files ask of a library, e.g. GLIBC_2.36 -> 2.36.
newest_symbol_version() {
  local prefix=$1
  shift
  readelf -VW "$@" 2>/dev/null | grep -oE "Name: ${prefix}_[0-9.]+" | sed "s/.*_//" | sort -uV | tail -n 1
}

# GCC's release whose libstdc++ brought the symbol version (GCC's "ABI Policy and Guidelines").
libstdcxx_release() {
  case $1 in
    3.4.30) echo 12 ;;
    3.4.31) echo 13.1 ;;
    3.4.32) echo 13.2 ;;
    3.4.33) echo 14 ;;
    3.4.34) echo 15 ;;
    3.4.[0-9] | 3.4.[12][0-9]) echo 11 ;;
    *) die "libstdc++ with GLIBCXX_$1 is unknown to script/lib/package-parts.sh; add its release" ;;
  esac
}

# add_control TREE VERSION ARCHITECTURE
add_control() {
  local program=$1/usr/lib/keelson libc libstdcxx size name
  local files=("$program/bin/node" "$program/lib/libatomic.so.1" "$program/native/build/keelson.node")
  libc=$(newest_symbol_version GLIBC "${files[@]}")
  libstdcxx=$(libstdcxx_release "$(newest_symbol_version GLIBCXX "${files[@]}")")
  size=$(find "$1" -path "$1/DEBIAN" -prune -o -type f -printf '%s\n' | awk '{ kib += int(($1 + 1023) / 1024) } END { print kib }')
  sed -e "s/@VERSION@/$2/" -e "s/@ARCHITECTURE@/$3/" -e "s/@INSTALLED_SIZE@/$size/" \
    -e "s/@KUBERNETES_VERSION@/$(kubernetes_version)/" \
    -e "s/@DEPENDS@/libc6 (>= $libc), libgcc-s1, libstdc++6 (>= $libstdcxx)/" \
    "$KEELSON_ROOT/packaging/control" >"$1/DEBIAN/control"
  echo /etc/default/keelson >"$1/DEBIAN/conffiles"
  for name in postinst prerm postrm; do install -m 755 "$KEELSON_ROOT/packaging/$name" "$1/DEBIAN/$name"; done
  (cd "$1" && find . -path ./DEBIAN -prune -o -type f -printf '%P\0' | sort -z | xargs -0 md5sum >DEBIAN/md5sums)
}

# What `kubelet --version` says, without the v: the package stands in for that kubelet.
kubernetes_version() {
  local versions
  mapfile -t versions < <(grep -rhoP "^export const kubernetesVersion = 'v\K[0-9.]+(?=';)" "$KEELSON_ROOT/src")
  ((${#versions[@]} == 1)) || die 'src/ must have one `export const kubernetesVersion`'
  echo "${versions[0]}"
}
