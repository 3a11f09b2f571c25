#!/usr/bin/env bash
# What a rented GPU's minutes are worth: see benchmarks/gpu.py, whose options these are.
here=$(cd "$(dirname "$0")" && pwd)
export PYTHONPATH="$here/..${PYTHONPATH:+:$PYTHONPATH}"
exec "${PYTHON:-python3}" "$here/gpu.py" "$@"
