#!/bin/sh
# Runs architecture_test.py on the tree that this file belongs to.
set -eu
here=$(dirname "$(readlink -f "$0")")
cd "$here/../.."
exec /usr/bin/python3 "$here/architecture_test.py"
