#!/usr/bin/env bash
# tools/tidy fails on what Clang's thread-safety analysis finds, in sources and in headers.
set -euo pipefail

work=$TEST_TMPDIR/tree
mkdir -p "$work/base" "$work/tools" "$work/cache"
cp -L .clang-tidy "$work/"
cp -L tools/tidy "$work/tools/"
cp -L base/mutex.h "$work/base/"
cd "$work"
export PROTO_HEADERS=$work/proto TIDY_CACHE=$work/cache

# A counter whose method `Read` has the body $2, in the file $1.
write_counter() {
  cat >"$1" <<END
#include "base/mutex.h"

namespace phalanx {

class Counter {
 public:
  int Read() { $2 }

 private:
  Mutex mutex_;
  int count_ GUARDED_BY(mutex_) = 0;
};

}  // namespace phalanx
END
}

expect_violation() { # FILE
  # shellcheck disable=SC2086  # Several files.
  if tools/tidy $1 >"$work/output"; then
    echo "tools/tidy passes $1:"
    cat $1
    exit 1
  fi
  grep -q "reading variable 'count_' requires holding mutex 'mutex_'.*thread-safety" "$work/output" || {
    echo "tools/tidy fails for another reason:"
    cat "$work/output"
    exit 1
  }
}

write_counter base/locked.cc 'MutexLock lock(&mutex_); return count_;'
tools/tidy base/locked.cc
write_counter base/unlocked.cc 'return count_;'
expect_violation base/unlocked.cc
# Among others of its folder, which are checked as one unit.
sed -i 's/Counter/Other/' base/unlocked.cc
expect_violation "base/locked.cc base/unlocked.cc"
write_counter base/counter.h 'return count_;'
echo '#include "base/counter.h"' >base/user.cc
expect_violation base/user.cc
