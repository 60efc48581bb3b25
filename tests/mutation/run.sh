#!/usr/bin/env bash
# Finds holes in the tests: changes sources one line at a time and runs the tests beside them.
#
# Usage: tests/mutation/run.sh [--seed N] [--sample N|all] [--trees N] [--again] [--list]
#                              [FOLDER or FILE...]
#
#   --seed N     which mutants are drawn (default 1)
#   --sample N   how many for each folder (default 50), or all of them
#   --trees N    how many copies of the repository work at once (default 1)
#   --again      only those that survived the last run with this seed; the others keep their verdict
#   --list       prints what would be tried and stops
#   FOLDER       default: the folders that FOLDERS in tests/mutation/score.py names
#
# Prints for each folder how many mutants were killed (a test failed, crashed or took too long),
# survived, did not compile, gave the same object code, or are known to be the same program
# (tests/mutation/same_program.txt), and each survivor as a difference. The score is killed of
# killed and survived.
#
# Works in copies of the working tree below ~/.cache/phalanx/mutation (or $PHALANX_CACHE), each with
# a Bazel server of its own that ends by itself; what they built is kept for the next time.
set -euo pipefail

# Mutates lines by regular expressions, for many languages.
readonly PACKAGE=universalmutator==1.14.1

for argument in "$@"; do
  if [[ $argument == -h || $argument == --help ]]; then
    sed -n '2,/^set/{/^set/d;s/^# \{0,1\}//;p}' "${BASH_SOURCE[0]}"
    exit 0
  fi
done

here=$(dirname "$(readlink -f "${BASH_SOURCE[0]}")")
work=${PHALANX_CACHE:-$HOME/.cache/phalanx}/mutation
mkdir -p "$work"
exec 9>"$work/lock"
if ! flock -n 9; then
  echo "run.sh: another run works in $work" >&2
  exit 1
fi
if [[ ! -e $work/venv/$PACKAGE ]]; then
  rm -rf "$work/venv"
  python3 -m venv "$work/venv"
  "$work/venv/bin/pip" install --quiet --disable-pip-version-check "$PACKAGE"
  touch "$work/venv/$PACKAGE"
fi
PYTHONDONTWRITEBYTECODE=1 exec "$work/venv/bin/python" "$here/score.py" "$@"
