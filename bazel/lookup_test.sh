#!/usr/bin/env bash
# A running Bazel server notices what is installed after its first build: libraries that pkg-config
# knows, and files that tools/install fetches. Works in a workspace of its own, whose list of
# installed packages and libraries are files in a temporary folder.
set -euo pipefail

root=$PWD
scratch=$(mktemp -d "${TEST_TMPDIR:-/tmp}/lookup.XXXXXX")
libraries=$scratch/libraries
packages=$scratch/packages
export HOME=$scratch PHALANX_CACHE=$scratch/cache PKG_CONFIG_LIBDIR=$libraries
mkdir -p "$libraries" "$packages" "$PHALANX_CACHE/bin" "$PHALANX_CACHE/models" "$scratch/workspace"

cd "$scratch/workspace"
cp -rL "$root/bazel" .
sed "s|/var/lib/dpkg|$packages|" "$root/WORKSPACE" >WORKSPACE
grep -q "$packages" WORKSPACE
touch BUILD.bazel

run_bazel() {
  bazel --nohome_rc --output_user_root="$scratch/bazel" --max_idle_secs=60 "$@" 2>>"$scratch/log"
}
trap 'run_bazel shutdown' EXIT

install_library() { # NAME
  printf 'Name: %s\nDescription: -\nVersion: 1\nLibs: -l%s\n' "$1" "$1" >"$libraries/$1.pc"
  echo "Package: lib$1-dev" >>"$packages/status"
}

failed=0
expect() { # WHAT PATTERN TEXT
  if ! grep -qE "$2" <<<"$3"; then
    printf 'FAIL %s: no "%s" in\n%s\n' "$1" "$2" "$3"
    failed=1
  fi
}

pid() { run_bazel info server_pid; }
library() { run_bazel query --output=build "@system//:$1" || tail "$scratch/log"; }
files() { run_bazel query "deps(@assets//:$1)" || tail "$scratch/log"; }

install_library gtest
first=$(pid)
expect "an installed library" 'linkopts = \["-lgtest"\]' "$(library gtest)"
expect "a missing library" 'gmock_missing.h' "$(library gmock)"

install_library gmock
expect "a library installed later" 'linkopts = \["-lgmock"\]' "$(library gmock)"
expect "another that stays" 'linkopts = \["-lgtest"\]' "$(library gtest)"

rm "$libraries/gmock.pc"
sed -i '/gmock/d' "$packages/status"
expect "a library that was removed" 'gmock_missing.h' "$(library gmock)"

files chat_templates >/dev/null
mkdir "$PHALANX_CACHE/templates"
touch "$PHALANX_CACHE/templates/later.jinja"
expect "a template that was fetched later" 'templates/later.jinja' "$(files chat_templates)"

expect "one server all the time" "^$first\$" "$(pid)"
exit "$failed"
