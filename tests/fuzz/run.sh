#!/usr/bin/env bash
# Builds the fuzz targets and runs each for a time on a copy of its corpus.
#
# Usage: tests/fuzz/run.sh [SECONDS] [TARGET...]
#
#   SECONDS   for each target (default 60)
#   TARGET    a folder of tests/fuzz/corpus, for example gguf (default: all)
#
# Prints for each target how many inputs were tried, the code reached (edges and features), the time
# and the finding, if any: an input that crashes, takes more than 10 seconds or 1 GiB, or allocates
# 256 MiB at once. Logs, findings and the grown corpora stay in a folder that is named at the end; a
# finding becomes a file of the corpus once it is mended. Exit code 1 on a finding.
set -uo pipefail

cd "$(dirname "${BASH_SOURCE[0]}")/../.." || exit 1

seconds=60
if [[ ${1:-} =~ ^[0-9]+$ ]]; then
  seconds=$1
  shift
elif [[ ${1:-} == -* && $1 != -h && $1 != --help ]]; then
  echo "run.sh: unknown option $1. Try --help." >&2
  exit 2
elif [[ ${1:-} == -* ]]; then
  sed -n '2,/^set/{/^set/d;s/^# \{0,1\}//;p}' "${BASH_SOURCE[0]}"
  exit 0
fi
targets=("$@")
((${#targets[@]})) || mapfile -t targets < <(ls tests/fuzz/corpus)

labels=()
for target in "${targets[@]}"; do labels+=("//tests/fuzz:${target}_fuzzer"); done
bazel build --config=fuzz "${labels[@]}" || exit 1
bin=$(bazel info --config=fuzz bazel-bin 2>/dev/null) || exit 1
work=$(mktemp -d)

run_target() { # TARGET
  local target=$1 folder=$work/$1 begin=$SECONDS code
  mkdir -p "$folder/corpus" "$folder/findings"
  # The build may be repeated while this one runs.
  cp "$bin/tests/fuzz/${target}_fuzzer" "$folder/fuzzer"
  cp "tests/fuzz/corpus/$target"/* "$folder/corpus/"
  local options=(-max_total_time="$seconds" -timeout=10 -rss_limit_mb=1024 -malloc_limit_mb=256
    -max_len=32768 -print_final_stats=1 -artifact_prefix="$folder/findings/")
  [[ -e tests/fuzz/$target.dict ]] && options+=(-dict="tests/fuzz/$target.dict")
  TMPDIR=$folder "$folder/fuzzer" "${options[@]}" "$folder/corpus" >"$folder/log" 2>&1
  code=$?
  local executions reached finding
  executions=$(sed -n 's/^stat::number_of_executed_units: *//p' "$folder/log" | tail -n 1)
  reached=$(grep -o 'cov: [0-9]* ft: [0-9]*' "$folder/log" | tail -n 1)
  finding=$(find "$folder/findings" -type f | head -n 1)
  printf '%-12s %10s executions, %s, %d s, %s\n' "$target" "${executions:-?}" "$reached" \
    "$((SECONDS - begin))" "${finding:-no finding}"
  [[ -z $finding && $code == 0 ]] || { tail -n 40 "$folder/log"; return 1; }
}

failed=0
for target in "${targets[@]}"; do run_target "$target" || failed=1; done
echo "logs and corpora: $work"
exit "$failed"
