#!/usr/bin/env bash
# Whether two equal runs give equal bytes with --deterministic, how far two are apart without it, and
# what it costs: a line for each training and poison, on a GPU, in some minutes.
#
#   bash benchmarks/deterministic.sh                  on the GPU
#   QUICK=1 bash benchmarks/deterministic.sh          the same in small on a CPU, to try it
#
# SOURCE: CIFAR-10, or a folder or file in its place. FRAMES: which. It ends with 1 where bytes differ
# that may not, or a command fails without --deterministic.
set -euo pipefail

here=$(cd "$(dirname "$0")" && pwd)
export PYTHONPATH="$here/..${PYTHONPATH:+:$PYTHONPATH}"
python=${PYTHON:-python3}
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
if [ -n "${QUICK:-}" ]; then
  source=${SOURCE:-digits} limit=60 model=small device=cpu batch=20 epochs=1 frames=${FRAMES:-nt}
else
  source=${SOURCE:-cifar10} limit=10000 model=resnet18 device=cuda batch=128 epochs=2
  frames=${FRAMES:-nt at st-cg autoaugment cutmix ueraser-max}
fi
$python -m stkit data "$source" --limit $limit -o "$work/clean" -q >/dev/null

common="--model $model --device $device --batch-size $batch -q"
run() { # run FILE WORDS...: a command's output into FILE, its seconds on stdout
  local begun=$EPOCHREALTIME file=$1
  shift
  $python -m stkit "$@" -o "$file" >/dev/null || return
  echo "$EPOCHREALTIME $begun" | awk '{printf "%.1f", $1 - $2}'
}

code=0
compare() { # compare NAME WORDS...: four runs of a command, two of them with --deterministic
  local name=$1 plain exact
  shift
  plain=$(run "$work/a" "$@") && run "$work/b" "$@" >/dev/null || { code=1; return; }
  if exact=$(run "$work/c" "$@" --deterministic) && run "$work/d" "$@" --deterministic >/dev/null; then
    $python - "$name" "$work" "$plain" "$exact" <<'PYTHON' || code=1
import sys
from pathlib import Path

from stkit.core import artifact

name, work, plain, exact = sys.argv[1:]
same = Path(work, "c").read_bytes() == Path(work, "d").read_bytes()
one, two = (artifact.read(Path(work, file))[1] for file in "ab")
apart = max(float((one[key].double() - two[key].double()).abs().max()) for key in one)
print(f"{name:<24} deterministic: {'the same bytes' if same else 'OTHER BYTES'}, {exact} s; "
      f"without: at most {apart:.3g} apart, {plain} s", flush=True)  # fmt: skip
sys.exit(not same)
PYTHON
  else
    echo "$name: refused, see above"
  fi
  rm -f "$work"/[abcd]
}

# shellcheck disable=SC2086  # options are several words
for frame in $frames; do
  compare "$frame" train "$work/clean" --frame "$frame" --epochs $epochs $common
done
# shellcheck disable=SC2086
compare "nt, eager" train "$work/clean" --frame nt --epochs $epochs --step eager $common
quick=${QUICK:+--max-rounds 1 --steps 1 --model-steps 2}
# shellcheck disable=SC2086
compare "em" poison em "$work/clean" $common ${quick:---max-rounds 2}
quick=${QUICK:+--model-steps 2 --steps 1 --eot 1 --adversary-steps 1}
# shellcheck disable=SC2086
compare "rem" poison rem "$work/clean" $common ${quick:---model-steps 100}
exit $code
