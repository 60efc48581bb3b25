#!/usr/bin/env bash
# One worker program for machines with and without GPUs: it needs no NVIDIA library to start, and
# has code for the GPUs that it was built for.
set -euo pipefail
worker=$1
cuobjdump=$2

if ldd "$worker" | grep -iE 'cuda|nccl|cublas|nvidia'; then
  echo "the worker cannot start without these" >&2
  exit 1
fi
"$worker" --help >"$TEST_TMPDIR/help"
grep -q -- '--device' "$TEST_TMPDIR/help"

"$cuobjdump" --list-elf "$worker" | grep -oE 'sm_[0-9]+a?' | sort | uniq -c | tee "$TEST_TMPDIR/architectures"
for architecture in sm_80 sm_90a; do
  grep -q " $architecture\$" "$TEST_TMPDIR/architectures" || {
    echo "no code for $architecture" >&2
    exit 1
  }
done
