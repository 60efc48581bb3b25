#!/usr/bin/env bash
# Both benches measure every case that they name, on the emulator.
set -euo pipefail
"$1" --tiny --saturated_seconds 1 --kv_cache_dtype int8 | tee "$TEST_TMPDIR/engine"
for line in 'decode +batch +1 ' 'decode +batch +4 ' 'prefill +prompt' 'saturated +prompt'; do
  grep -qE "^$line" "$TEST_TMPDIR/engine"
done
"$2" --tiny | tee "$TEST_TMPDIR/kernels"
for line in copy 'q, k and v' 'gate and up' down logits norm attention 'greedy tokens' 'tokens, top_p'; do
  grep -q "^$line" "$TEST_TMPDIR/kernels"
done
