#!/bin/sh
# Runs deploy_test.py with the Python that tools/install set up.
set -eu
exec "$1" deploy/deploy_test.py
