#!/usr/bin/env bash
# tools/progress: what it makes of Bazel's output.
set -euo pipefail

failed=0
expect() { # WHAT WANTED GOT
  if [[ $2 != "$3" ]]; then
    printf 'FAIL %s: got\n%s\nwanted\n%s\n' "$1" "$3" "$2"
    failed=1
  fi
}

readonly OUTPUT='Loading: 
Analyzing: target //:worker (1 packages loaded, 0 targets configured)
[0 / 13] [Prepa] BazelWorkspaceStatusAction stable-status.txt
[1,204 / 2,013] Compiling worker/main.cc; 1s linux-sandbox ... (2 actions, 1 running)
[2,013 / 2,013] 3 / 10 tests; Testing //base:log_test; 0s linux-sandbox
ERROR: base/log.cc:3:1: C++ compilation of rule //base:log failed
[bracket] 1 / 2 of a compiler
//base:log_test                                          PASSED in 0.1s'
readonly KEPT='ERROR: base/log.cc:3:1: C++ compilation of rule //base:log failed
[bracket] 1 / 2 of a compiler
//base:log_test                                          PASSED in 0.1s'
readonly PROGRESS='build 0 of 13 actions done
build 1,204 of 2,013 actions done
build 2,013 of 2,013 actions, 3 of 10 tests done'

cd "$TEST_TMPDIR"
tool=$TEST_SRCDIR/$TEST_WORKSPACE/tools/progress
printf '%s\n' "$OUTPUT" | "$tool" build >kept 2>progress
expect "what is no progress" "$KEPT" "$(cat kept)"
expect "progress" "$PROGRESS" "$(cat progress)"

printf '%s\n' "$OUTPUT" | "$tool" build log >nothing 2>/dev/null
expect "the log" "$KEPT" "$(cat log)"
expect "standard output beside a log" "" "$(cat nothing)"

# A terminal keeps one line of progress.
printf '%s\n' "$OUTPUT" >output
script --quiet --command "'$tool' build log <output" typescript </dev/null >/dev/null
expect "lines on a terminal" 1 "$(grep -c actions typescript || true)"
exit "$failed"
