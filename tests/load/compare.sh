#!/usr/bin/env bash
# Compares the tokens per second of two commits: builds both, starts a coordinator and a worker
# group of each, and lets load_bench ask them in turns.
#
# Usage: tests/load/compare.sh [--tp N] [--starts N] OLD [NEW] [-- load_bench option...]
#
#   --tp N       ranks of each group (default 1)
#   --starts N   how often the servers are started anew (default 4). Where a process finds its
#                memory differs from start to start, and its speed by some percent with it; every
#                other time NEW is started first
#   OLD, NEW     commits; NEW is HEAD by default
#
# Prints the table of load_bench for each start; the server of the first line was started first.
# The model is the one that ./run fetches. What is built is kept in Bazel's disk cache.
set -euo pipefail

usage() {
  sed -n '2,/^set/{/^set/d;s/^# \{0,1\}//;p}' "${BASH_SOURCE[0]}"
}

tp=1
starts=4
commits=()
while (($# > 0)); do
  case $1 in
    -h | --help) usage && exit 0 ;;
    --tp) tp=$2 && shift 2 ;;
    --starts) starts=$2 && shift 2 ;;
    --) shift && break ;;
    -*) usage >&2 && exit 2 ;;
    *) commits+=("$1") && shift ;;
  esac
done
if ((${#commits[@]} < 1 || ${#commits[@]} > 2)); then
  usage >&2
  exit 2
fi
old=${commits[0]}
new=${commits[1]:-HEAD}

cd "$(git -C "$(dirname "$(readlink -f "${BASH_SOURCE[0]}")")" rev-parse --show-toplevel)"
model=${PHALANX_CACHE:-$HOME/.cache/phalanx}/models/SmolLM2-135M-Instruct.Q4_1.gguf
folder=$(mktemp -d)
pids=()
stop_servers() {
  for pid in "${pids[@]}"; do kill "$pid" 2>/dev/null || true; done
  for pid in "${pids[@]}"; do wait "$pid" || true; done
  pids=()
}
clean_up() {
  stop_servers
  for name in old new; do
    git worktree remove --force "$folder/$name" 2>/dev/null || true
  done
  rm -rf "$folder"
}
trap clean_up EXIT
trap 'exit 130' INT TERM

# build NAME COMMIT PROGRAM...: programs of a commit, by their paths, to $folder/NAME.bin.
build() {
  local name=$1 commit=$2
  shift 2
  git worktree add --quiet --detach "$folder/$name" "$commit"
  mkdir "$folder/$name.bin"
  (
    cd "$folder/$name"
    for program in "$@"; do
      bazel build "//$(dirname "$program"):$(basename "$program")" >&2
      cp -L "$(bazel info bazel-bin 2>/dev/null)/$program" "$folder/$name.bin/"
    done
    bazel shutdown
  )
}

# Starts a server in the background: start LOG COMMAND...; its line `ready ...` goes to $ready.
start() {
  local log=$folder/$1
  shift
  rm -f "$log.pipe"
  mkfifo "$log.pipe"
  "$@" --listen 127.0.0.1:0 --metrics_listen 127.0.0.1:0 >"$log.pipe" 2>"$log" &
  pids+=($!)
  read -r ready <"$log.pipe" || { cat "$log" >&2 && exit 1; }
}
grpc_of() {
  tr ' ' '\n' <<<"$1" | sed -n 's/^grpc=//p'
}

build old "$old" worker/worker coordinator/coordinator
build new "$new" worker/worker coordinator/coordinator tests/load/load_bench
for ((i = 0; i < starts; ++i)); do
  order=(old new)
  if ((i % 2 == 1)); then order=(new old); fi
  targets=()
  for name in "${order[@]}"; do
    start "$name-worker" "$folder/$name.bin/worker" --model "$model" --tp "$tp"
    start "$name-coordinator" "$folder/$name.bin/coordinator" --model "$model" \
      --worker "$(grpc_of "$ready")"
    targets+=("$(grpc_of "$ready")")
  done
  echo "start $((i + 1)), ${order[0]} first:"
  "$folder/new.bin/load_bench" --target "$(IFS=,; echo "${targets[*]}")" "$@"
  stop_servers
done
