#!/bin/sh
# Runs peers_test.py beside the files that it tests.
set -eu
here=$(dirname "$0")
export PYTHONPATH="$here" PYTHONDONTWRITEBYTECODE=1
exec /usr/bin/python3 "$here/peers_test.py"
