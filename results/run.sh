#!/usr/bin/env bash
# Measure the cells of the README's table and put each one's JSON here.
#
#   bash results/run.sh [SOURCE [WORK]]     SOURCE: cifar10 or a folder; WORK: where large files go
#   WHERE=gpu                               the end of the JSON names, `gpu` by default
#   EPOCHS=N LIMIT=N MODEL=NAME PRECISION=P smaller runs, which must not be called `gpu`:
#     WHERE=cpu-smoke EPOCHS=10 LIMIT=5000 PRECISION=bf16 bash results/run.sh cifar10
#   CELLS="clean:nt sp:nt"                  these cells only; POISON_EM, POISON_REM: more options
#   RESULTS=FOLDER                          where the JSON goes, this folder by default
#
# It may be stopped at any time; run again, it keeps what is finished and goes on with the rest.
set -euo pipefail

here=$(cd "$(dirname "$0")" && pwd)
source=${1:-cifar10}
work=${2:-cifar10-work}
where=${WHERE:-gpu}
results=${RESULTS:-$here}
cells=${CELLS:-clean:nt sp:nt ops:nt clean:st em-class:nt em-sample:nt rem-fast:nt sp:st ops:st}
stkit=${STKIT:-$here/../.venv/bin/stkit}
if [ ! -x "$stkit" ]; then # straight from the clone, as on a machine with torch and no install
  export PYTHONPATH=$here/..${PYTHONPATH:+:$PYTHONPATH}
  stkit="python3 -m stkit"
fi

train=(--model "${MODEL:-resnet18}" --precision "${PRECISION:-auto}")
[ -z "${EPOCHS:-}" ] || train+=(--epochs "$EPOCHS")
limit=(--split train)
[ -z "${LIMIT:-}" ] || limit+=(--limit "$LIMIT")
mkdir -p "$work" "$results"

cell() { # cell NAME ARGUMENT...: run stkit with --json unless its JSON is there
  local json=$results/cifar10-$1-$where.json
  shift
  [ ! -e "$json" ] || return 0
  echo "$ stkit $*"
  $stkit "$@" --json >"$work/json.tmp"
  mv "$work/json.tmp" "$json"
}

[ -e "$work/clean.safetensors" ] ||
  $stkit data "$source" "${limit[@]}" -o "$work/clean.safetensors"
[ -e "$work/test.safetensors" ] ||
  $stkit data "$source" --split test -o "$work/test.safetensors"

for pair in $cells; do
  data=${pair%:*} frame=${pair#*:}
  file=$work/$data.safetensors
  if [ ! -e "$file" ]; then
    case $data in
      em-*) options=(em --scope "${data#em-}" --resume ${POISON_EM:-}) ;;
      rem*) options=(rem --resume ${POISON_REM:-}) ;;
      *) options=("$data") ;;
    esac
    [ "$data" != rem-fast ] || options+=(--fast)
    cell "$data-poison" poison "${options[@]}" "$work/clean.safetensors" -o "$file"
  fi
  out=$work/$data-$frame.safetensors
  [ -e "$results/cifar10-$data-$frame-$where.json" ] || rm -f "$out" # its JSON was never written
  cell "$data-$frame" train "$file" --frame "$frame" "${train[@]}" \
    --test "$work/test.safetensors" --resume -o "$out"
done
