#!/bin/sh
# Starts a coordinator and a worker group on the real model and prints what they achieve:
#
#     bazel run //tests/load:run_smollm2 -- [TP] [load_bench option...]
#
# TP is the number of ranks, 2 by default. The first four arguments come from Bazel: the coordinator,
# the worker, load_bench and the model.
set -eu
coordinator=$1 worker=$2 load_bench=$3 model=$4
shift 4
tp=2
case ${1:-} in
[0-9]*)
    tp=$1
    shift
    ;;
esac

folder=$(mktemp -d)
pids=
stop() {
    for pid in $pids; do kill "$pid" 2>/dev/null || true; done
    for pid in $pids; do wait "$pid" || true; done
    rm -rf "$folder"
}
trap stop EXIT
trap 'exit 130' INT TERM

# Starts a server in the background: start NAME COMMAND...; its line `ready ...` goes to $ready.
start() {
    name=$1
    shift
    mkfifo "$folder/$name"
    "$@" --metrics_listen 127.0.0.1:0 >"$folder/$name" 2>"$folder/$name.log" &
    pids="$! $pids"
    if ! read -r ready <"$folder/$name"; then
        cat "$folder/$name.log" >&2
        exit 1
    fi
}

# The value of a key of $ready.
ready_value() {
    echo "$ready" | tr ' ' '\n' | sed -n "s/^$1=//p"
}

# Clock ticks that the servers and the ranks below them have used.
cpu_ticks() {
    total=0
    for pid in $pids $(for leader in $pids; do pgrep -P "$leader" || true; done); do
        ticks=$(awk '{sub(/.*\) /, ""); print $12 + $13}' "/proc/$pid/stat")
        total=$((total + ticks))
    done
    echo "$total"
}

start worker "$worker" --model "$model" --tp "$tp" --listen 127.0.0.1:0
worker_target=$(ready_value grpc)
worker_metrics=$(ready_value metrics | tr ',' ' ')
start coordinator "$coordinator" --model "$model" --worker "$worker_target" --listen 127.0.0.1:0
target=$(ready_value grpc)

echo "SmolLM2-135M-Instruct Q4_1, $tp ranks, $(nproc) CPUs: $(sed -n 's/^model name\t*: //p;T;q' /proc/cpuinfo)"
"$load_bench" --target "$target" "$@"

rank=0
for address in $worker_metrics; do
    curl --silent --noproxy '*' "http://$address/metrics" | awk -v rank=$rank '
        /^process_resident_memory_bytes/ { printf "rank %d: %.0f MiB resident\n", rank, $2 / 1048576 }'
    rank=$((rank + 1))
done

seconds=10
before=$(cpu_ticks)
sleep $seconds
after=$(cpu_ticks)
echo "idle: $(awk "BEGIN { printf \"%.2f\", 100 * ($after - $before) / $(getconf CLK_TCK) / $seconds }") % of a core over $seconds s"
