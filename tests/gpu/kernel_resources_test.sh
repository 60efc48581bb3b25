#!/usr/bin/env bash
# The kernels that this build compiled: their registers, shared memory and spills.
set -euo pipefail
exec /usr/bin/python3 tests/gpu/kernel_resources.py "$@"
