#!/bin/sh
# Runs mutation_test.py.
set -eu
exec /usr/bin/python3 -B "$(dirname "$0")/mutation_test.py"
