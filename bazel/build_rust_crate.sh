#!/usr/bin/env bash
# Builds a crate into a static library, for rust_crate.bzl.
#
# Usage: build_rust_crate.sh CACHE FOLDER OUTPUT
#
#   CACHE     where tools/install put Cargo and the registry folder with all crates
#   FOLDER    of the crate: Cargo.toml, Cargo.lock, src/, and patches/NAME.patch for each crate that it
#             needs in another form than the registry's
#   OUTPUT    the library; its file name is that which Cargo gives it
set -euo pipefail

cache=$1
folder=$2
output=$3
cargo=$cache/bin/cargo

export HOME=${HOME:-/root} CARGO_HOME=$cache/cargo
export PATH=$HOME/.cargo/bin:$PATH

work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
cp -rL "$folder/Cargo.toml" "$folder/Cargo.lock" "$folder/src" "$work"
chmod -R u+w "$work"

# Cargo has no patch files: a patched crate is a folder that stands in for that of the registry, and
# has no checksum.
patches=("$folder"/patches/*.patch)
if [[ -e ${patches[0]} ]]; then
  echo "[patch.crates-io]" >>"$work/Cargo.toml"
  for patch in "${patches[@]}"; do
    crate=$(basename "$patch" .patch)
    version=$(sed -n "/^name = \"$crate\"\$/{n;s/^version = \"\(.*\)\"\$/\1/p}" "$folder/Cargo.lock")
    cp -rL "$CARGO_HOME"/registry/src/*/"$crate-$version" "$work/$crate"
    chmod -R u+w "$work/$crate"
    patch -s -p1 -d "$work/$crate" <"$patch"
    echo "$crate = { path = \"$crate\" }" >>"$work/Cargo.toml"
    sed -i "/^name = \"$crate\"\$/,/^\$/{/^source =/d;/^checksum =/d}" "$work/Cargo.lock"
  done
fi

# With a target named, RUSTFLAGS are for the crates and not for what runs while they build.
host=$("$cargo" -vV | sed -n 's/^host: //p')
"$cargo" build --quiet --release --locked --offline --target "$host" \
  --manifest-path "$work/Cargo.toml" --target-dir "$work/target"
cp "$work/target/$host/release/$(basename "$output")" "$output"
