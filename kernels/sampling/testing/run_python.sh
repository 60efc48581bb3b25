#!/bin/sh
# run_python.sh SCRIPT ARGUMENTS...: for tests that are Python scripts and need no packages.
exec python3 -B "$@"
