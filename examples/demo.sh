#!/usr/bin/env bash
# The main job in small, as `make demo` runs it: SP, OPS and EM poison of handwritten digits, a small
# net trained on clean and poisoned digits by four frames, and the report. No download, no GPU.
#
#   bash examples/demo.sh [OUT]        OUT is demo-out unless given; EPOCHS=2 makes it shorter
#
# Stopped in the middle it goes on where it was; finished files are kept (`rm -r OUT` starts over).
set -euo pipefail
cd "$(dirname "$0")/.."

out=${1:-demo-out}
EPOCHS=${EPOCHS:-8}
STKIT=${STKIT:-$PWD/.venv/bin/stkit}
[ -x "$STKIT" ] || STKIT=$(command -v stkit) || {
  echo "error: found no stkit in .venv/bin or on PATH; run \`make demo\`, or pip install this folder" >&2
  exit 1
}
# One thread a training and as many trainings at a time as there are cores, six at most (memory):
# for a net this small that is faster than many threads in one training.
cores=$(nproc 2>/dev/null || getconf _NPROCESSORS_ONLN 2>/dev/null || echo 1)
jobs=$((cores < 6 ? cores : 6))
export EPOCHS STKIT OMP_NUM_THREADS=1

show() { # run a command as a user would, and show what was typed
  printf '\n$ stkit %s\n' "$*"
  "$STKIT" "$@"
}

train_one() { # train_one DATA FRAME: one training, one line when it has finished
  local data=$1 frame=$2 name=$1-$2 source=$1.safetensors status=0
  [ "$data" != clean ] || source=digits
  if [ -e "$name.safetensors" ]; then
    printf 'kept       %-13s from an earlier run\n' "$name"
    return 0
  fi
  # On the CPU even where there is a GPU, so that the numbers are nearly the same everywhere.
  "$STKIT" train "$source" --frame "$frame" --model small --epochs "$EPOCHS" --test digits \
    --device cpu --resume -o "$name.safetensors" >"$name.txt" 2>"$name.log" || status=$?
  if [ "$status" -ne 0 ]; then
    printf 'stopped    %-13s %s\n' "$name" "$(tail -n 1 "$name.log")" >&2
    return 255 # tells xargs to start no more
  fi
  printf 'trained    %-13s test accuracy %s, %.0f s\n' "$name" \
    "$(awk '$1 == "accuracy" { print $2 }' "$name.txt")" \
    "$(awk '$1 == "seconds" { print $2 }' "$name.txt")"
}

poison_em() { # EM trains a surrogate: the small net too, in batches that suit 1,437 images
  [ ! -e em.safetensors ] || return 0
  if show poison em digits --scope class --model small --batch-size 64 --max-rounds 20 \
    --device cpu --resume -o em.safetensors >em.txt 2>em.log; then
    cat em.txt
  else
    tail -n 1 em.log >&2
    return 255
  fi
}
export -f show train_one poison_em

all_of() { # all_of LINE...: the commands on the lines, as many at a time as there are cores
  printf '%s\n' "$@" | xargs -L 1 -P "$jobs" bash -c '"$@"' all_of
}

cat <<EOF_NOTE
SMOKE RUN: 1,437 digits of 8x8 pixels, a small net, $EPOCHS epochs, one seed. It shows that everything
works and what it prints, not how well a poison protects. Digits say little about OPS above all:
its one pixel a class sits in their blank border, where nothing hides it and crops push it out.
EOF_NOTE

mkdir -p "$out"
cd "$out"
for method in sp ops; do
  [ -e "$method.safetensors" ] || show poison "$method" digits -o "$method.safetensors"
done
show inspect sp.safetensors --clean digits

names=()
first=(poison_em) # the longest piece of work takes a core while others are trained on
last=()
for data in clean sp ops em; do
  for frame in nt nt-cg st st-cg; do
    names+=("$data-$frame.safetensors")
    if [ "$data" = em ]; then last+=("train_one $data $frame"); else
      first+=("train_one $data $frame")
    fi
  done
done
printf '\n%s trainings and EM, %s at a time; logs in %s/*.log\n' "${#names[@]}" "$jobs" "$out"
all_of "${first[@]}"
all_of "${last[@]}"

show acm sp-nt.safetensors sp.safetensors --variant ratio
show eval sp-nt.safetensors digits --adversary 4/255
show report "${names[@]}"
cat <<EOF_NOTE

A smoke run, as said above. data: what the net was trained on; accuracy: on clean test digits.
stages: 2@5 means that ACM exceeded gamma after epoch 5, for the second time: the epoch was undone
and half of the layers frozen (docs/differences.md). The files are in $out/.
EOF_NOTE
