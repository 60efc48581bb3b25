#!/usr/bin/env bash
# A decode kernel that spills is found, one for prompts may, and an empty report is no success.
set -euo pipefail

report=$TEST_TMPDIR/report
check=(/usr/bin/python3 tests/gpu/kernel_resources.py "$report")

kernel() { # MANGLED-NAME SPILLED-BYTES
  cat <<TEXT
ptxas info    : Compiling entry function '$1' for 'sm_90a'
ptxas info    : Function properties for $1
    $2 bytes stack frame, $2 bytes spill stores, $2 bytes spill loads
ptxas info    : Used 96 registers, used 1 barriers, 4096 bytes smem
TEXT
}

kernel _Z12StreamKernelIfEvPf 0 >"$report"
"${check[@]}" | grep -q 'StreamKernel<float> .* sm_90a .* 96 .* 4096 .* 0'
kernel _Z12StreamKernelIfEvPf 8 >>"$report"
if "${check[@]}" >"$TEST_TMPDIR/out" 2>&1; then exit 1; fi
grep -q 'StreamKernel<float> for sm_90a spills 16 bytes' "$TEST_TMPDIR/out"
kernel _Z21PromptAttentionKernelIfEvPf 8 >"$report"
"${check[@]}" >/dev/null
: >"$report"
if "${check[@]}" >/dev/null 2>&1; then exit 1; fi
