#!/usr/bin/env bash
# The CIFAR-10 pipeline: poison by SP and OPS, train by the ST paper's frames on clean and poisoned images,
# measure ACM and robust accuracy, and report.
#
#   bash examples/cifar10.sh [SOURCE [OUT]]
#
# SOURCE: cifar10 (the default, downloaded once), a folder that holds train/ and test/ with a
#   folder of images for each class, or digits. OUT: where all files go, cifar10-out by default.
# EPOCHS=N   epochs a phase, else stkit's default (60; st-full trains twice as many)
# MODEL=NAME resnet18 by default; `small` for a laptop
# LIMIT=N    so many training images, class-balanced, else all
# FRAMES="nt jpeg"  these frames, of all that `stkit list frames` names
# METHODS="em sp"   these poisons, not SP and OPS; em and rem want a GPU, rem for long
#
# A run of everything is for a GPU. To see it work on a laptop:
#   EPOCHS=1 MODEL=small LIMIT=500 bash examples/cifar10.sh digits try-out
#
# It may be stopped at any time. Run again, it keeps the files that are finished and goes on with
# the training that is not; so give other settings another OUT.
set -euo pipefail

source=${1:-cifar10}
out=${2:-cifar10-out}
model=${MODEL:-resnet18}
methods=${METHODS:-sp ops}
frames=${FRAMES:-nt nt-cg at st st-cg st-full}
stkit=${STKIT:-$(dirname "$0")/../.venv/bin/stkit}
[ -x "$stkit" ] || stkit=$(command -v stkit) || {
  echo "error: found no stkit in .venv/bin or on PATH; run \`make demo\`, or pip install this folder" >&2
  exit 1
}

settings=(--model "$model")
[ -z "${EPOCHS:-}" ] || settings+=(--epochs "$EPOCHS")
limit=(--split train)
[ -z "${LIMIT:-}" ] || limit+=(--limit "$LIMIT")

once() { # once FILE ARGUMENT...: run stkit with these arguments and -o FILE, unless FILE is there
  local file=$1
  shift
  if [ -e "$file" ]; then
    echo "kept $file"
  else
    echo "$ stkit $* -o $file"
    "$stkit" "$@" -o "$file"
  fi
}

# The images are decoded once; each later stage reads these two files.
once "$out/clean.safetensors" data "$source" "${limit[@]}"
once "$out/test.safetensors" data "$source" --split test

# What the data owner publishes. SP and OPS take about a second, as they need no model.
for method in $methods; do
  resume=()
  case $method in em | rem) resume=(--resume) ;; esac
  once "$out/$method.safetensors" poison "$method" "$out/clean.safetensors" \
    ${resume[@]+"${resume[@]}"} # bash 3 calls an empty array unbound
done

trained=()
for data in clean $methods; do
  for frame in $frames; do
    run=$data-$frame
    trained+=("$out/$run.safetensors")
    # The accuracy on clean test images is logged every epoch; no decision depends on it.
    once "$out/$run.safetensors" train "$out/$data.safetensors" --frame "$frame" \
      "${settings[@]}" --test "$out/test.safetensors" --resume
    case $frame in
      nt | st) # how tightly it clusters what it was trained on, in all variants
        once "$out/acm-$run.safetensors" acm "$out/$run.safetensors" "$out/$data.safetensors" ;;
    esac
    case $frame in
      nt | at) # accuracy under PGD-20 as well
        once "$out/eval-$run.safetensors" eval "$out/$run.safetensors" "$out/test.safetensors" \
          --adversary 4/255 ;;
    esac
  done
done

echo
"$stkit" report "${trained[@]}"
"$stkit" report "$out"/*.safetensors --format csv >"$out/report.csv"
echo
echo "everything, with ACM and robust accuracy: $out/report.csv"
