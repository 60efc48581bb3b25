#!/usr/bin/env bash
# Tests and measures the CUDA backend on a machine with a GPU, which needs neither Bazel nor gRPC nor
# a network: what it runs was built and packed on another machine.
#
# Usage: tests/gpu/run.sh --pack      builds the programs and puts them into gpu-pack/, with their
#                                     libraries; on a machine with Bazel and tools/install test
#        tests/gpu/run.sh --dry-run   packs, and runs what can run without a GPU
#        tests/gpu/run.sh [FOLDER]    runs it all and writes the report to FOLDER (default gpu-report)
#
# It prints as it goes and ends within 8 minutes: each part has a limit of its own.
set -uo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/../.." || exit 1

readonly PACK=gpu-pack
# Seconds for each part, 8 minutes together.
readonly SUITE_LIMIT=60 SANITIZER_LIMIT=60 KERNELS_LIMIT=75 ENGINE_LIMIT=150 PEER_LIMIT=120
readonly PROGRAMS=(//kernels/cuda/testing:gpu_op_suite //kernels/cuda/testing:kernel_bench
  //worker/bench:gpu_engine_bench)

# Builds the programs, unless PHALANX_GPU_PROGRAMS is the folder of those that were. They travel
# without their symbols, which are a tenth of them.
pack() {
  local bin program path library
  rm -rf "$PACK"
  mkdir -p "$PACK/lib"
  if [[ -n ${PHALANX_GPU_PROGRAMS:-} ]]; then
    install -s -m 755 "$PHALANX_GPU_PROGRAMS"/* "$PACK/"
  else
    bazel build "${PROGRAMS[@]}" || return 1
    bin=$(bazel info bazel-bin 2>/dev/null)
    for program in "${PROGRAMS[@]}"; do
      path=${program#//}
      install -s -m 755 "$bin/${path/:/\/}" "$PACK/"
    done
  fi
  # All but the C library, which is older here than it may be there.
  for program in "$PACK"/*; do
    [[ -f $program ]] || continue
    while read -r library; do
      cp -L "$library" "$PACK/lib/"
    done < <(ldd "$program" | awk '{print $3}' | grep -vE '/(libc|libm|libdl|librt|libpthread)\.so' | grep '^/')
  done
  cp tests/gpu/peer.py "$PACK/"
  du -sh "$PACK" | sed 's/^/packed: /'
}

section() { printf '\n=== %s (%(%H:%M:%S)T)\n' "$1" -1; }

# Runs a part, with a limit, and says how it ended.
part() { # NAME SECONDS COMMAND...
  local name=$1 limit=$2 code
  shift 2
  section "$name"
  LD_LIBRARY_PATH=$PWD/$PACK/lib:${LD_LIBRARY_PATH:-} timeout "$limit" "$@" 2>&1
  code=$?
  case $code in
    0) echo "--- $name: done" ;;
    124) echo "--- $name: stopped after $limit s" ;;
    *) echo "--- $name: FAILED with $code" ;;
  esac
  return "$code"
}

run_all() {
  local failed=0
  section "machine"
  date -u
  git log -1 --format='commit %h %s' 2>/dev/null
  nvidia-smi --query-gpu=name,driver_version,memory.total,clocks.sm,clocks.mem,power.limit --format=csv
  # Without the tests that end processes on purpose, and without those that pass, which are many.
  part "ops against the reference" "$SUITE_LIMIT" "$PACK/gpu_op_suite" --gtest_brief=1 \
    --gtest_filter='-*EndsTheProcess*' || failed=1
  if command -v compute-sanitizer >/dev/null; then
    local some='*BFloat16Test.AttentionOfManyTokens*:*BFloat16Test.LinearAdd*:*DrawTokens*:*CutSums*'
    part "memory accesses" "$SANITIZER_LIMIT" compute-sanitizer --tool memcheck --error-exitcode 9 \
      "$PACK/gpu_op_suite" --gtest_brief=1 --gtest_filter="$some" || failed=1
    part "races in shared memory" "$SANITIZER_LIMIT" compute-sanitizer --tool racecheck \
      --error-exitcode 9 "$PACK/gpu_op_suite" --gtest_brief=1 --gtest_filter="$some" || failed=1
  else
    echo "there is no compute-sanitizer here"
  fi
  part "kernels" "$KERNELS_LIMIT" "$PACK/kernel_bench" || failed=1
  local -a engine=("$PACK/gpu_engine_bench" --device cuda --synthetic phi4_mini --max_seqs 256
    --max_step_tokens 8192 --kv_cache_tokens 600000 --batches "1,8,32,128" --repeats 1)
  part "engine, bf16 weights" "$ENGINE_LIMIT" "${engine[@]}" --synthetic_type bf16 \
    --prefill 1024,8192 --depths 1024,8192 --steps 100 --saturated_seconds 20 || failed=1
  part "engine, 8-bit weights" "$((ENGINE_LIMIT / 3))" "${engine[@]}" --synthetic_type q8_0 \
    --prefill 0 --depths 1024 --steps 200 || failed=1
  if python3 -c 'import torch' 2>/dev/null; then
    part "PyTorch, the same shape" "$PEER_LIMIT" python3 "$PACK/peer.py" || failed=1
  else
    echo "there is no PyTorch here to compare with"
  fi
  section "end"
  return "$failed"
}

case ${1:-} in
  -h | --help)
    sed -n '2,/^set/{/^set/d;s/^# \{0,1\}//;p}' "${BASH_SOURCE[0]}"
    ;;
  --pack)
    pack
    ;;
  --dry-run)
    pack || exit 1
    # Each program starts with the libraries of the pack and says that there is no GPU.
    for program in gpu_op_suite kernel_bench gpu_engine_bench; do
      options=()
      [[ $program != gpu_engine_bench ]] || options=(--device cuda --synthetic tiny)
      output=$(part "$program" 60 "$PACK/$program" "${options[@]}")
      grep -qE 'no NVIDIA driver|driver|no GPU' <<<"$output" || {
        echo "$program did not say that there is no GPU:" >&2
        echo "$output" >&2
        exit 1
      }
    done
    python3 -m py_compile "$PACK/peer.py"
    echo "all programs start"
    ;;
  -*)
    echo "run.sh: unknown option $1. Try --help." >&2
    exit 2
    ;;
  *)
    report=${1:-gpu-report}
    [[ -x $PACK/gpu_op_suite ]] || {
      echo "run.sh: there is no $PACK: run tests/gpu/run.sh --pack first" >&2
      exit 2
    }
    mkdir -p "$report"
    run_all 2>&1 | tee "$report/report.txt"
    exit "${PIPESTATUS[0]}"
    ;;
esac
