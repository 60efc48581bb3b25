#!/usr/bin/env bash
# The engine bench measures every case that it names: of random weights, of a file, with two ranks;
# and what it is asked line by line.
set -euo pipefail
bench=$PWD/$1
"$2" gguf "$TEST_TMPDIR/tiny.gguf"
cd "$TEST_TMPDIR"

fail() {
  echo "$*" >&2
  exit 1
}

expect_lines() { # FILE PATTERN...
  local file=$1 pattern
  shift
  for pattern in "$@"; do
    grep -qE "$pattern" "$file" || {
      cat "$file" >&2
      fail "no line '$pattern'"
    }
  done
}

"$bench" --synthetic tiny --threads 1 --prefill 40 --batches 1,3 --depths 0,100 --steps 2 \
  --repeats 2 --saturated_seconds 1 --mixed_prompts 2 --max_seqs 4 --json out.json >table
expect_lines table 'GB/s read' '^prefill +1 +40 ' '^decode +1 +0 ' '^decode +3 +100 .* %$' '^saturated +4 +8 ' \
  '^mixed +2 +100 .* of unmixed$'
[[ $(grep -c '"tokens_per_second"' out.json) == 7 ]] || fail "out.json has other cases"

# What does not fit is said.
"$bench" --model tiny.gguf --threads 1 --prefill 0 --batches 2 --depths 0,4096 --steps 2 \
  --repeats 1 --kv_cache_tokens 1024 >table
expect_lines table '^decode +2 +0 +[0-9]' '^decode +2 +4096 +not measured: .* 1024 tokens'

"$bench" --model tiny.gguf --tp 2 --threads 1 --prefill 33 --batches 2 --depths 20 --steps 2 \
  --repeats 1 >table
expect_lines table '2 ranks of 1 thread' '^prefill +1 +33 ' '^decode +2 +20 '

printf '%s\n' 'prefill 20' 'decode 2 64 3' ceilings |
  "$bench" --model tiny.gguf --threads 1 --interactive >answers
[[ $(wc -l <answers) == 4 ]] || fail "$(cat answers)"
expect_lines answers '"case":"prefill".*"tokens":20' '"sequences":2,"tokens":64,"tokens_per_second":[0-9]'

if echo 'prefil 20' | "$bench" --model tiny.gguf --threads 1 --interactive >answers 2>log; then
  fail "a line with a mistake was taken"
fi
expect_lines log "'prefil 20' is neither"
if "$bench" --threads 1 2>log; then fail "no model was taken"; fi
expect_lines log 'synthetic says what to measure'
