#!/usr/bin/env bash
# The ST paper's Table 6: does a net learn REM's noise or REM-T's (REM made through colour jitter and
# grey), when every training image carries both? Paper, ResNet-18: 85.58 % on REM, 12.36 % on REM-T.
#
#   bash examples/table6.sh [SOURCE [OUT]]
#
# SOURCE: cifar10 (the default, downloaded once), a folder or a dataset file. OUT: table6-out by default.
# MODEL=NAME   of the surrogates and of the net that is trained; resnet18 by default
# LIMIT=N      so many images, class-balanced, else all
# HELD=N       of them for the tests; a tenth of LIMIT, else 5000
# EPOCHS=N     of the training, else stkit's default (60)
# REM="..."    options of `stkit poison rem`. By default --fast, which takes minutes on a GPU, and with
#              the small net fewer steps still. REM=" " is REM as its authors make it, hours on a GPU
#
# As the paper has it:                 REM=" " bash examples/table6.sh
# In small, some ten minutes of a CPU: MODEL=small LIMIT=5000 EPOCHS=20 bash examples/table6.sh
#
# The paper (C.1) has 45,000 "mixed-perturbation samples" to train on and 5,000 "perturbation samples"
# for either test. Read here as: an image and the noise that is its own. So the noise of a test image
# was made with the others', by the same surrogate, and no test image or its noise is trained on. As a
# net may know such an image by what it shows, the clean ones are tested too, and either noise alone,
# on grey.
#
# It may be stopped at any time. Run again, it keeps what is finished; so give other settings another OUT.
set -euo pipefail

source=${1:-cifar10}
out=${2:-table6-out}
here=$(dirname "$0")
model=${MODEL:-resnet18}
held=${HELD:-$((${LIMIT:-50000} / 10))}
fast="--fast"
[ "$model" != small ] || fast+=" --steps 4 --step-size 4/255 --eot 1 --adversary-steps 1 \
  --model-steps 160 --lr-decay-every 64 --batch-size 128"
read -r -d '' -a rem <<<"${REM-$fast}" || true
stkit=${STKIT:-$here/../.venv/bin/stkit}
[ -x "$stkit" ] || stkit=$(command -v stkit) || {
  echo "error: found no stkit in .venv/bin or on PATH; run \`make demo\`, or pip install this folder" >&2
  exit 1
}
python=${PYTHON:-$(dirname "$stkit")/python}

once() { # once FILE COMMAND...: run it with -o FILE, unless FILE is there
  local file=$1
  shift
  if [ -e "$file" ]; then
    echo "kept $file"
  else
    echo "$ $* -o $file"
    "$@" -o "$file"
  fi
}
mix() { once "$1" "$python" "$here/table6.py" "${@:2}"; }

limit=(--split train)
[ -z "${LIMIT:-}" ] || limit+=(--limit "$LIMIT")
once "$out/clean.safetensors" "$stkit" data "$source" "${limit[@]}"
for name in rem rem-t; do
  augment=plain
  [ "$name" = rem ] || augment=cg
  once "$out/$name.safetensors" "$stkit" poison rem "$out/clean.safetensors" --model "$model" \
    --augment "$augment" ${rem[@]+"${rem[@]}"} --resume # bash 3 calls an empty array unbound
done

mix "$out/mixed.safetensors" "$out/clean.safetensors" "$out/rem.safetensors" "$out/rem-t.safetensors"
once "$out/train.safetensors" "$stkit" data "$out/mixed.safetensors" --holdout "$held"
for name in clean rem rem-t; do # the same images of each, those that are not trained on
  once "$out/test-$name.safetensors" "$stkit" data "$out/$name.safetensors" \
    --holdout "$held" --part held
done
for name in rem rem-t; do
  mix "$out/alone-$name.safetensors" "$out/test-clean.safetensors" "$out/test-$name.safetensors" \
    --grey
done

epochs=()
[ -z "${EPOCHS:-}" ] || epochs=(--epochs "$EPOCHS")
once "$out/nt.safetensors" "$stkit" train "$out/train.safetensors" --frame nt --model "$model" \
  ${epochs[@]+"${epochs[@]}"} --resume

echo
printf '%-22s %s\n' 'tested on' accuracy
for name in test-clean test-rem test-rem-t alone-rem alone-rem-t; do
  printf '%-22s %s\n' "$name" "$("$stkit" eval "$out/nt.safetensors" "$out/$name.safetensors" -q)"
done
echo 'the paper, ResNet-18: REM 0.8558, REM-T 0.1236'
