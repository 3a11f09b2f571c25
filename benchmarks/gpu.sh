#!/usr/bin/env bash
# Every figure of speed that needs a GPU, one after the other. A step that has its file in OUT is not
# run again, so this may be stopped at any time and started anew; no step takes over ten minutes.
#
#   bash benchmarks/gpu.sh [OUT]              OUT: gpu-speed
#   QUICK=1 bash benchmarks/gpu.sh [OUT]      the same in small on a CPU, to try it
#
# SOURCE: CIFAR-10, or a folder or file in its place. The plain loop is allowed TF32, as torch has it.
set -euo pipefail

here=$(cd "$(dirname "$0")" && pwd)
export PYTHONPATH="$here/..${PYTHONPATH:+:$PYTHONPATH}"
out=${1:-gpu-speed}
python=${PYTHON:-python3}
mkdir -p "$out"
if [ -n "${QUICK:-}" ]; then
  source=${SOURCE:-digits} device=cpu nets="small" six="small" batches=16 large=8 epochs=1
  speed="--seconds 0.2 --rounds 1 --images 100 --workers 1 --threads 1" poison="--limit 64 --seconds 0.2 --em-batch 32 --rem-batch 16"
  grow="--kinds acm,ops --axes images --values 100,200 --seconds 0" start="--rounds 1 --batch-size 16"
else
  source=${SOURCE:-cifar10} device=cuda nets="resnet18" batches="128,512" large=128 epochs=60
  six="resnet18 resnet50 vgg16-bn densenet121 wrn-28-10 wrn-34-10"
  speed="--plain-tf32 --minutes 8" poison="" grow="--full --minutes 8" start=""
fi

step() { # step FILE COMMAND...: what the command prints, kept in OUT/FILE; its seconds in OUT/seconds.txt
  local file=$out/$1 begun=$SECONDS
  shift
  if [ ! -e "$file" ]; then
    echo "$file" >&2
    "$@" >"$file.part"
    echo "$((SECONDS - begun)) ${file##*/}" >>"$out/seconds.txt"
    mv "$file.part" "$file"
  fi
}

# shellcheck disable=SC2086  # options are several words
{
  step start-up.json $python "$here/startup.py" --device $device --models ${nets// /,} $start --json
  for task in nt at eval acm; do # against the plain loop and the arithmetic limit
    step "train-32-$task.json" $python "$here/train_speed.py" --device $device --models ${nets// /,} \
      --batch-sizes $batches --tasks $task --precisions fp32,bf16 $speed --json
  done
  step train-224.json $python "$here/train_speed.py" --device $device --models ${nets// /,} --sizes 224 \
    --batch-sizes $large --tasks nt --precisions bf16 $speed --json
  step poison.json $python "$here/poison_speed.py" "$source" --device $device --models ${nets// /,} $poison --json
  step growth.json $python "$here/growth.py" --device $device $grow --json
  step nt-$epochs-epochs.json $python -m stkit train "$source" --frame nt --test "$source" \
    --model ${nets%% *} --epochs $epochs --device $device -o "$out/nt.safetensors" --force --json
  for model in $six; do # an epoch of each of the paper's networks, by natural and by staged training
    for frame in nt st; do
      step "epoch-$model-$frame.json" $python -m stkit train "$source" --frame $frame --test "$source" \
        --model "$model" --epochs 1 --device $device -o "$out/$model.safetensors" --force --json
    done
  done
}
rm -f "$out"/*.safetensors
