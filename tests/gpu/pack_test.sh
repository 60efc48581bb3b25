#!/usr/bin/env bash
# The programs that tests/gpu/run.sh takes to a machine with a GPU start from a pack, and without a
# GPU each says that there is none. The pack is small enough to travel.
set -euo pipefail

work=$TEST_TMPDIR/work
mkdir -p "$work/tests/gpu" "$work/bin"
cp tests/gpu/run.sh tests/gpu/peer.py "$work/tests/gpu/"
for program in "$@"; do install -m 755 "$program" "$work/bin/"; done
cd "$work"
PHALANX_GPU_PROGRAMS=$work/bin tests/gpu/run.sh --dry-run
# The sources, some 12 MiB, travel too.
size=$(du -sm gpu-pack.tar.gz | cut -f1)
((size <= 48)) || {
  echo "the pack has $size MiB" >&2
  exit 1
}
