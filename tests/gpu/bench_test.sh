#!/usr/bin/env bash
# Both benches measure every case that they name, on the emulator; the engine's with two ranks on one
# GPU too, as run.sh asks for them.
set -euo pipefail
"$1" --device cuda --synthetic tiny --synthetic_type bf16 --max_seqs 4 --max_step_tokens 64 \
  --kv_cache_tokens 1024 --prefill 100 --batches 1,4 --depths 32 --steps 4 --repeats 1 \
  --saturated_seconds 1 | tee "$TEST_TMPDIR/engine"
for line in 'prefill +1 +100 ' 'decode +1 +32 ' 'decode +4 +32 ' 'saturated +4 '; do
  grep -qE "^$line.*[0-9]$" "$TEST_TMPDIR/engine"
done
"$3" gguf "$TEST_TMPDIR/tiny.gguf"
"$1" --device cuda --tp 2 --devices 0,0 --model "$TEST_TMPDIR/tiny.gguf" --max_seqs 4 \
  --max_step_tokens 64 --kv_cache_tokens 1024 --batches 1,4 --depths 32 --prefill 64 --repeats 1 \
  --steps 4 | tee "$TEST_TMPDIR/ranks"
for line in 'prefill +1 +64 ' 'decode +1 +32 ' 'decode +4 +32 '; do
  grep -qE "^$line.*[0-9]$" "$TEST_TMPDIR/ranks"
done
"$2" --tiny | tee "$TEST_TMPDIR/kernels"
for line in copy 'q, k and v' 'gate and up' down logits norm attention 'greedy tokens' 'tokens, top_p'; do
  grep -q "^$line" "$TEST_TMPDIR/kernels"
done
