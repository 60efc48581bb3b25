#!/usr/bin/env bash
# What make_phi_shape.py writes is a model that loads and computes, the same one each time.
set -euo pipefail
make=$PWD/$1 bench=$PWD/$2 phalanx=$PWD/$3
cd "$TEST_TMPDIR"

fail() {
  echo "$*" >&2
  exit 1
}

for type in Q4_1 Q4_0; do
  mkdir -p first second
  path=$("$make" --shape tiny --type "$type" first 2>progress)
  grep -q '100 %' progress || fail "no progress"
  [[ $path == first/tiny-phi-shape-$type.gguf ]] || fail "the file is called $path"
  "$make" --shape tiny --type "$type" second 2>/dev/null >/dev/null
  cmp "$path" "second/${path#first/}" || fail "two files differ"
  "$phalanx" inspect --json "$path" >inspected || fail "$(cat inspected)"
  grep -qF "\"$type\"" inspected || fail "no $type: $(cat inspected)"
  grep -qF '"Q6_K"' inspected || fail "no Q6_K: $(cat inspected)"
  "$bench" --model "$path" --threads 1 --prefill 40 --batches 2 --depths 64 --steps 2 --repeats 1 >table
  grep -qE '^decode +2 +64 +[0-9]' table || fail "$(cat table)"
done

if "$make" nowhere 2>error; then fail "a folder that is not there was taken"; fi
grep -q 'no folder nowhere' error || fail "$(cat error)"
