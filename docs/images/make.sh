#!/usr/bin/env bash
# The picture of README.md: ten digits of scikit-learn, the same after SP, and what was added.
#
#   bash docs/images/make.sh [FILE]      FILE: docs/images/sp.png unless given; STKIT: the command
set -euo pipefail

out=$(realpath -m "${1:-$(dirname "$0")/sp.png}")
STKIT=${STKIT:-stkit}
work=$(mktemp -d)
trap 'rm -r "$work"' EXIT
cd "$work"
$STKIT data digits -o digits.safetensors
$STKIT poison sp digits.safetensors -o sp.safetensors
$STKIT plot images digits.safetensors sp.safetensors -o "$out" --force
