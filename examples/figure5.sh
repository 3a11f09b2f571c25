#!/usr/bin/env bash
# Figure 5 of the ST paper: a net is trained on poisoned images until ACM passes gamma for the first
# time; from there it goes on by staged training, or naturally, which falls into the trap again.
#
#   bash examples/figure5.sh [SOURCE [OUT]]
#
# SOURCE: digits (the default: a minute on two cores), or cifar10, or a folder that holds train/ and
#   test/. OUT: where the files go, figure5-out by default.
# EPOCHS=N   of the whole, else 8
# MODEL=NAME small by default; the paper has resnet50
# METHOD="rem"  the poison, sp by default; rem as in the paper wants a GPU, for long
# GAMMA=X    what ACM is judged by, else 0.4, which digits pass after an epoch; for CIFAR-10 see
#            docs/frames.md: 0.1
# EVERY=N    steps between two checks, else 11, an epoch of digits (CIFAR-10: 49)
# RATE=X     the learning rate of natural training after the stop, else 0.1
#
# Until its first roll-back `st` is natural training, so its first stage is `nt-stop`, told to judge
# as st is: the same variant, gamma and checks. What it writes are the weights of the last check that
# passed, where Algorithm 1 would roll back to and go on more slowly. --init-from takes them up. The
# cosine begins anew there, over the epochs that are left.
#
# On digits (seed 0, a CPU) the stop comes in epoch 3, when SP has thrown accuracy from 54 to 28 %. From
# there natural training falls to 17 % and comes back to 80, as digits are easy; staged training ends at
# 94, and at 93 without the stop.
#
# The judgement is `ratio`, as the literal ACM is above its gamma at the first check already
# (docs/differences.md). Run again, it keeps the files that are finished.
set -euo pipefail

source=${1:-digits}
out=${2:-figure5-out}
epochs=${EPOCHS:-8}
model=${MODEL:-small}
method=${METHOD:-sp}
stkit=${STKIT:-$(dirname "$0")/../.venv/bin/stkit}
[ -x "$stkit" ] || stkit=$(command -v stkit) || {
  echo "error: found no stkit in .venv/bin or on PATH; run \`make demo\`, or pip install this folder" >&2
  exit 1
}

once() { # once FILE ARGUMENT...: run stkit with these arguments and -o FILE, unless FILE is there
  local file=$1
  shift
  if [ -e "$file" ]; then
    echo "kept $file"
  else
    echo "$ stkit $* -o $file"
    "$stkit" "$@" -o "$file" -q
  fi
}

once "$out/clean.safetensors" data "$source" --split train
once "$out/test.safetensors" data "$source" --split test
resume=()
case $method in em | rem) resume=(--resume) ;; esac
once "$out/$method.safetensors" poison "$method" "$out/clean.safetensors" \
  ${resume[@]+"${resume[@]}"} # bash 3 calls an empty array unbound

data=$out/$method.safetensors
run=(train "$data" --model "$model" --test "$out/test.safetensors" --resume)
judged=(--acm-variant ratio --gamma "${GAMMA:-0.4}" --check-every "${EVERY:-11}")

# all of staged training, and its first stage alone
once "$out/st.safetensors" "${run[@]}" --frame st "${judged[@]}" --epochs "$epochs"
once "$out/stopped.safetensors" "${run[@]}" --frame nt-stop "${judged[@]}" --epochs "$epochs"

# from the weights at the first trigger: naturally, and by staged training again
once "$out/nt-on.safetensors" "${run[@]}" --frame nt --init-from "$out/stopped.safetensors" \
  --epochs "$epochs" --lr "${RATE:-0.1}"
once "$out/st-on.safetensors" "${run[@]}" --frame st "${judged[@]}" \
  --init-from "$out/stopped.safetensors" --epochs "$epochs"

echo
"$stkit" report "$out"/{st,stopped,nt-on,st-on}.safetensors
"$stkit" plot curves "$out"/{st,nt-on,st-on}.safetensors -o "$out/figure5.png" --force
