#!/usr/bin/env bash
# The main job in small, as `make demo` runs it: SP, OPS and EM poison of drawn shapes, a small net
# trained on clean and poisoned shapes in two or three ways, the report, and what it says in words.
# No download, no GPU, under three minutes on two cores.
#
# All train on the images as they are: the crop that `nt` has of itself moves OPS's pixel, and a
# training this short then learns the shape and not the pixel.
#
#   bash examples/demo.sh [OUT]        OUT is demo-out unless given
#
# EPOCHS (4) and LIMIT (5000 images) make it shorter, and then a poison has no time to do harm.
#
# Stopped in the middle it goes on where it was; finished files are kept (`rm -r OUT` starts over).
set -euo pipefail
cd "$(dirname "$0")/.."

out=${1:-demo-out}
EPOCHS=${EPOCHS:-4}
LIMIT=${LIMIT:-5000}
# How each set is trained: staged training on one poison, as all of it is not to take longer.
ways_of() { if [ "$1" = sp ]; then echo nt orthogonal st; else echo nt orthogonal; fi; }
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

train_one() { # train_one DATA WAY: one training, one line when it has finished
  local data=$1 name=$1-$2 frame=nt augment=none status=0
  case $2 in
    orthogonal) augment=none,orthogonal ;; # natural training too, on what is left after a projection
    st) frame=st ;;
  esac
  if [ -e "$name.safetensors" ]; then
    printf 'kept       %-13s from an earlier run\n' "$name"
    return 0
  fi
  # On the CPU even where there is a GPU, so that the numbers are nearly the same everywhere.
  "$STKIT" train "$data.safetensors" --frame "$frame" --augment "$augment" --model small \
    --epochs "$EPOCHS" --batch-size 64 --test shapes --device cpu --resume -o "$name.safetensors" >"$name.txt" 2>"$name.log" || status=$?
  if [ "$status" -ne 0 ]; then
    printf 'stopped    %-13s %s\n' "$name" "$(tail -n 1 "$name.log")" >&2
    return 255 # tells xargs to start no more
  fi
  printf 'trained    %-13s test accuracy %s, %.0f s\n' "$name" \
    "$(awk '$1 == "accuracy" { print $2 }' "$name.txt")" \
    "$(awk '$1 == "seconds" { print $2 }' "$name.txt")"
}

poison_em() { # EM trains a surrogate: the small net too
  [ ! -e em.safetensors ] || return 0
  if show poison em clean.safetensors --scope class --model small --batch-size 128 --max-rounds 2 \
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

mkdir -p "$out"
cd "$out"
[ -e clean.safetensors ] || show data shapes --limit "$LIMIT" -o clean.safetensors
for poison in sp ops; do
  [ -e $poison.safetensors ] || show poison $poison clean.safetensors -o $poison.safetensors
done

names=()
first=(poison_em) # the longest piece of work takes a core while others are trained on
last=()
for data in clean sp ops em; do
  for way in $(ways_of "$data"); do
    names+=("$data-$way.safetensors")
    if [ "$data" = em ]; then last+=("train_one $data $way"); else
      first+=("train_one $data $way")
    fi
  done
done
printf '\n%s trainings and EM, %s at a time; logs in %s/*.log\n' "${#names[@]}" "$jobs" "$out"
all_of "${first[@]}"
all_of "${last[@]}"

show report "${names[@]}"

# In words: what the poison costs, and what of that each other way to train gives back.
accuracy() { awk '$1 == "accuracy" { printf "%.1f", 100 * $2 }' "$1.txt"; }
printf '\nWhat was seen, accuracy on clean images in %%, one seed, %s epochs of a small net:\n' "$EPOCHS"
clean=$(accuracy clean-nt)
printf '  clean images, natural training: %s; orthogonal: %s\n' "$clean" "$(accuracy clean-orthogonal)"
for data in sp ops em; do
  for way in $(ways_of "$data"); do printf '%s %s ' "$way" "$(accuracy "$data-$way")"; done |
    awk -v poison="$(tr a-z A-Z <<<"$data")" -v clean="$clean" '{
      cost = clean - $2 < 1 ? "nothing" : sprintf("%.0f points", clean - $2)
      printf "  %s costs natural training %s (%s)", poison, cost, $2
      for (i = 3; i < NF; i += 2) # of each other way its name and accuracy
        printf "; %s %s %.0f (%s)", $i, $(i + 1) < $2 ? "loses another" : "gives back", \
          $(i + 1) < $2 ? $2 - $(i + 1) : $(i + 1) - $2, $(i + 1)
      print ""
    }'
done
echo "The files are in $out/."
