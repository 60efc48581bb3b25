#!/usr/bin/env bash
# Tests and measures the CUDA backend on a machine with a GPU, which needs neither Bazel nor gRPC nor
# a network: what it runs was built and packed on another machine.
#
# Usage: tests/gpu/run.sh --pack      builds the programs and puts them into gpu-pack/, with their
#                                     libraries, and that into gpu-pack.tar.gz; on a machine with
#                                     Bazel and tools/install test
#        tests/gpu/run.sh --dry-run   packs, and runs what can run without a GPU
#        tests/gpu/run.sh [FOLDER]    runs it all and writes the report to FOLDER (default gpu-report)
#
# It prints as it goes and ends within 8 minutes: each part has a limit of its own.
set -uo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/../.." || exit 1

readonly PACK=gpu-pack
# The pack as it travels: with the rest of the folder it has to be below 64 MiB.
readonly ARCHIVE=$PACK.tar.gz
# Seconds for each part, and for all of them: parts that come too late are cut short.
readonly SUITE_LIMIT=90 KERNELS_LIMIT=75 ENGINE_LIMIT=150 EIGHT_BIT_LIMIT=50 RANKS_LIMIT=50
readonly SANITIZER_LIMIT=60 PEER_LIMIT=120 ALL_LIMIT=470
readonly PROGRAMS=(//kernels/cuda/testing:gpu_op_suite //kernels/cuda/testing:kernel_bench
  //worker/bench:gpu_engine_bench //tests/e2e:write_tiny_model)
# Tests that end processes on purpose would begin the program again for each.
readonly SUITE_FILTER='-*EndsTheProcess*:*EndTheProcess*'
# Few enough for tools that make them a hundred times slower.
readonly SANITIZER_TESTS=('*BFloat16AttentionTest.AttentionOfManyTokens*'
  '*BFloat16AttentionTest.Rotation*ForManySequences*' '*BFloat16Test.LinearAdd*'
  '*NormProductsTest.ReadTheResidual*' '*DrawTokens*' '*CutSums*')
# Libraries of a system: those of the C library and of the compiler, which are older here than they
# may be there.
readonly OF_SYSTEM='/(ld-linux-x86-64|lib(c|m|mvec|dl|rt|pthread|resolv|util|anl|nsl|nss_[a-z]*|stdc\+\+|gcc_s))\.so'
# The first NCCL that puts several ranks on one GPU.
readonly NCCL_OF_SHARED_GPUS=23000

# The libraries that a program would be loaded with here, but for those of the system and the pack.
foreign_libraries() {
  ldd "$1" | awk '{print $3}' | grep '^/' | grep -v "/$PACK/lib/" | grep -vE "$OF_SYSTEM"
}

# Builds the programs, unless PHALANX_GPU_PROGRAMS is the folder of those that were. They travel
# without their symbols, which are a tenth of them.
pack() {
  local bin program path library
  rm -rf "$PACK" "$ARCHIVE"
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
  # Two ranks need a model in a file, and it may be small.
  "$PACK/write_tiny_model" gguf "$PACK/tiny.gguf" || return 1
  rm "$PACK/write_tiny_model"
  # Programs look for libraries in lib/ beside them, and find all there but those of the system.
  for program in "$PACK"/*; do
    [[ -f $program && -x $program ]] || continue
    while read -r library; do
      cp -L "$library" "$PACK/lib/"
    done < <(foreign_libraries "$program")
  done
  cp tests/gpu/peer.py "$PACK/"
  tar -czf "$ARCHIVE" "$PACK" || return 1
  du -sh "$PACK" "$ARCHIVE" | sed 's/^/packed: /'
}

# Where only the archive has travelled.
unpack() {
  [[ ! -x $PACK/gpu_op_suite && -f $ARCHIVE ]] || return 0
  tar -xzf "$ARCHIVE"
}

section() { printf '\n=== %s (%(%H:%M:%S)T)\n' "$1" -1; }

# Runs a part, with a limit, and says how it ended.
part() { # NAME SECONDS COMMAND...
  local name=$1 limit=$2 code
  local left=$((ALL_LIMIT - SECONDS))
  shift 2
  section "$name"
  ((limit <= left)) || limit=$left
  if ((limit < 5)); then
    echo "--- $name: left out, $ALL_LIMIT s are over"
    return 0
  fi
  timeout "$limit" "$@" 2>&1
  code=$?
  case $code in
    0) echo "--- $name: done" ;;
    124) echo "--- $name: stopped after $limit s" ;;
    *) echo "--- $name: FAILED with $code" ;;
  esac
  return "$code"
}

# Sets VARIABLE, unless it is set, to the first library of PyTorch's packages that has one of NAMES:
# the loader does not look there.
find_library() { # VARIABLE NAMES...
  local variable=$1 found
  shift
  [[ -z ${!variable:-} ]] || return 0
  found=$(python3 - "$@" 2>/dev/null <<'PYTHON'
import glob, os, sys

for name in sys.argv[1:]:
    for folder in sys.path:
        for path in glob.glob(os.path.join(folder, "nvidia", "*", "lib", name)):
            print(path)
            sys.exit()
PYTHON
  )
  [[ -z $found ]] || export "$variable=$found"
  echo "$variable=${!variable:-}"
}

# The number that NCCL tells as its version, 22809 for 2.28.9, or 0 if there is none.
nccl_version() {
  python3 - "${PHALANX_NCCL:-libnccl.so.2}" 2>/dev/null <<'PYTHON' || echo 0
import ctypes, sys

version = ctypes.c_int()
ctypes.CDLL(sys.argv[1]).ncclGetVersion(ctypes.byref(version))
print(version.value)
PYTHON
}

# Two ranks of one group share GPU 0, with a small model: NCCL works, in recorded steps too, whatever
# the figures are.
two_ranks() {
  local version
  version=$(nccl_version)
  if ((version < NCCL_OF_SHARED_GPUS)); then
    section "two ranks on one GPU"
    echo "--- two ranks on one GPU: left out, NCCL's version is $version and has to be" \
      "$NCCL_OF_SHARED_GPUS or more; PHALANX_NCCL names another one"
    return 0
  fi
  NCCL_MULTI_RANK_GPU_ENABLE=1 part "two ranks on one GPU" "$RANKS_LIMIT" "$PACK/gpu_engine_bench" \
    --device cuda --tp 2 --devices 0,0 --model "$PACK/tiny.gguf" --max_seqs 32 \
    --kv_cache_tokens 8192 --batches 1,32 --depths 64 --prefill 64 --repeats 1 --steps 50
}

run_all() {
  local failed=0
  section "machine"
  date -u
  git log -1 --format='commit %h %s' 2>/dev/null
  nvidia-smi --query-gpu=name,driver_version,memory.total,clocks.sm,clocks.mem,power.limit --format=csv
  find_library PHALANX_CUBLASLT libcublasLt.so.13 libcublasLt.so.12
  find_library PHALANX_NCCL libnccl.so.2
  # Without the tests that pass, which are many.
  part "ops against the reference" "$SUITE_LIMIT" "$PACK/gpu_op_suite" --gtest_brief=1 \
    --gtest_filter="$SUITE_FILTER" || failed=1
  part "kernels" "$KERNELS_LIMIT" "$PACK/kernel_bench" || failed=1
  local -a engine=("$PACK/gpu_engine_bench" --device cuda --synthetic phi4_mini --max_seqs 256
    --max_step_tokens 8192 --kv_cache_tokens 600000 --batches "1,8,32,128" --repeats 1)
  part "engine, bf16 weights" "$ENGINE_LIMIT" "${engine[@]}" --synthetic_type bf16 \
    --prefill 1024,8192 --depths 1024,8192 --steps 100 --saturated_seconds 20 || failed=1
  part "engine, 8-bit weights" "$EIGHT_BIT_LIMIT" "${engine[@]}" --synthetic_type q8_0 \
    --prefill 0 --depths 1024 --steps 200 || failed=1
  two_ranks || failed=1
  if python3 -c 'import torch' 2>/dev/null; then
    part "PyTorch, the same shape" "$PEER_LIMIT" python3 "$PACK/peer.py" || failed=1
  else
    echo "there is no PyTorch here to compare with"
  fi
  if command -v compute-sanitizer >/dev/null; then
    local some
    some=$(IFS=: && echo "${SANITIZER_TESTS[*]}")
    part "memory accesses" "$SANITIZER_LIMIT" compute-sanitizer --tool memcheck --error-exitcode 9 \
      "$PACK/gpu_op_suite" --gtest_brief=1 --gtest_filter="$some" || failed=1
    part "races in shared memory" "$SANITIZER_LIMIT" compute-sanitizer --tool racecheck \
      --error-exitcode 9 "$PACK/gpu_op_suite" --gtest_brief=1 --gtest_filter="$some" || failed=1
  else
    echo "there is no compute-sanitizer here"
  fi
  section "end"
  return "$failed"
}

# Starts each program as it is found on another machine: from the archive, in a folder of its own,
# with nothing in its environment. Each says that there is no GPU.
dry_run() {
  local folder program output pattern
  folder=$(mktemp -d)
  # shellcheck disable=SC2064
  trap "rm -rf '$folder'" EXIT
  cp "$ARCHIVE" "$folder/"
  cd "$folder" || return 1
  unpack || return 1
  for program in gpu_op_suite kernel_bench gpu_engine_bench; do
    local -a options=()
    [[ $program != gpu_engine_bench ]] || options=(--device cuda --synthetic tiny)
    if ldd "$PACK/$program" | grep 'not found' || foreign_libraries "$PACK/$program"; then
      echo "$program lacks these in the pack" >&2
      return 1
    fi
    output=$(env -i PATH=/usr/bin:/bin timeout 60 "$PACK/$program" "${options[@]}" 2>&1)
    grep -qE 'NVIDIA driver|no GPU|driver version' <<<"$output" || {
      echo "$program did not say that there is no GPU:" >&2
      echo "$output" >&2
      return 1
    }
  done
  for pattern in "${SANITIZER_TESTS[@]}"; do
    "$PACK/gpu_op_suite" --gtest_list_tests --gtest_filter="$pattern" | grep -q '^  ' || {
      echo "no test is called $pattern" >&2
      return 1
    }
  done
  python3 -B -m py_compile "$PACK/peer.py" || return 1
  echo "all programs start"
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
    (dry_run) || exit 1
    ;;
  -*)
    echo "run.sh: unknown option $1. Try --help." >&2
    exit 2
    ;;
  *)
    report=${1:-gpu-report}
    unpack
    [[ -x $PACK/gpu_op_suite ]] || {
      echo "run.sh: there is no $PACK: run tests/gpu/run.sh --pack first" >&2
      exit 2
    }
    mkdir -p "$report"
    run_all 2>&1 | tee "$report/report.txt"
    exit "${PIPESTATUS[0]}"
    ;;
esac
