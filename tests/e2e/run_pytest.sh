#!/bin/sh
# Runs pytest on the files given, with the Python that tools/install set up. Set by Bazel.
set -eu
export PYTHONPATH="$PWD/tests/e2e" PYTHONDONTWRITEBYTECODE=1 GRPC_VERBOSITY=NONE
exec "$PHALANX_PYTHON" -m pytest -q -rs -p no:cacheprovider --basetemp="$TEST_TMPDIR/pytest" \
    --junitxml="${XML_OUTPUT_FILE:-$TEST_TMPDIR/results.xml}" -o junit_family=xunit1 "$@"
