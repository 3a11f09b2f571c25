#!/usr/bin/env bash
# The pictures of docs/figures.md and README.md: under each name the commands that make it.
#
#   bash docs/figures/make.sh [NAME...]      these pictures, or all, each with its numbers as CSV
#
# WORK    a folder for the files on the way (work, beside this script); what is there is not made again
# OUT     where the pictures go (the folder of this script)
# SOURCE  CIFAR-10 for the grids: cifar10, which is downloaded, or a folder of it
# STKIT   the command (stkit); PYTHON one that has stkit (python3)
set -euo pipefail

here=$(cd "$(dirname "$0")" && pwd)
results=$(realpath "$here/../../results")
out=$(realpath -m "${OUT:-$here}")
work=$(realpath -m "${WORK:-$here/work}")
source=${SOURCE:-cifar10}
[ -d "$source" ] && source=$(realpath "$source")
STKIT=${STKIT:-stkit}
PYTHON=${PYTHON:-python3}

# A picture is a function of its name. What begins with _ is for all of them:
#   _made FILE COMMAND...     a file by a command of stkit, unless it is there
#   _grid NAME                the results of a grid of results/grids, unless they are there
#   _picture KIND FILE...     the picture itself, with options of its kind

_made() { [ -e "$1" ] || $STKIT "${@:2}" -o "$1"; }
_grid() { [ -d "$results/$1" ] || $STKIT bench "$results/grids/$1.toml" -o "$results/$1" --source "$source"; }
_picture() { $STKIT plot "$@" -o "$out/$name.png" --data "$out/$name.csv" --force; }

poisons() { # README.md; EM takes half a minute on two idle cores
    _made shapes.safetensors data shapes
    _made sp.safetensors poison sp shapes.safetensors
    _made em.safetensors poison em shapes.safetensors --scope class --model small --batch-size 128 --max-rounds 3
    _made ops.safetensors poison ops shapes.safetensors
    _picture poison shapes.safetensors sp.safetensors em.safetensors ops.safetensors
}

# 20,000 images of CIFAR-10 and two poisons of them; a training takes a quarter of an hour of an idle core.
_sets() {
    _made c-clean.safetensors data "$source" --limit 20000
    _made c-test.safetensors data "$source" --split test
    _made c-sp.safetensors poison sp c-clean.safetensors
    _made c-em.safetensors poison em c-clean.safetensors --scope class --model small --batch-size 128 --max-rounds 8
}
_trained() { # POISON FRAME
    _made "$1-$2.safetensors" train "c-$1.safetensors" --frame "$2" --model small --epochs 30 --threads 1 --test c-test.safetensors \
        --keep 1,3,10 --record acm:penultimate,layer1.0,layer2.0,layer3.0,gradients:1,3,6,9,12
}

curves() { # Figure 1
    _sets
    _trained clean nt
    _trained em nt
    _trained em st
    _trained sp nt
    _picture curves clean-nt.safetensors em-nt.safetensors em-st.safetensors sp-nt.safetensors
}

acm() { # Figure 2c
    _sets
    _trained clean nt
    _trained em nt
    _picture acm clean-nt.safetensors em-nt.safetensors --variant ratio --layer layer2.0,6
}

tsne() { # Figure 3; its numbers, 12,000 points, are left out
    _sets
    for each in "clean nt" "em nt" "em st"; do _trained $each; done
    $STKIT plot tsne {clean-nt,em-nt,em-st}{.epoch-1,.epoch-3,.epoch-10,}.safetensors --source c-clean.safetensors,c-em.safetensors \
        -o "$out/tsne.png" --force
}

activations() { # Figure 8
    _sets
    for each in "clean nt" "em nt" "em st"; do _trained $each; done
    _picture activations {clean-nt,em-nt,em-st}.safetensors --source c-test.safetensors
}

landscape() { # Figure 12
    _sets
    _trained em nt
    _trained em st
    _picture landscape em-nt.safetensors em-st.safetensors --source c-em.safetensors
}

# 10,000 images, two poisons of them, and 10 epochs.
_fewer() {
    _made d-clean.safetensors data "$source" --limit 10000
    _made c-test.safetensors data "$source" --split test
    _made d-sp.safetensors poison sp d-clean.safetensors
    _made d-em.safetensors poison em d-clean.safetensors --scope class --model small --batch-size 128 --max-rounds 8
}
_transplanted() { # POISON DONOR KIND: natural training on the poison, the donor's first or last layers frozen
    local run=(train "d-$1.safetensors" --frame nt --model small --epochs 10 --threads 1 --test c-test.safetensors)
    _made "$1-$3-shallow.safetensors" "${run[@]}" --init-from "$2" --init-layers first:7 --freeze
    _made "$1-$3-deep.safetensors" "${run[@]}" --init-from "$2" --init-layers last:6 --freeze
    _made "$1-none.safetensors" "${run[@]}"
}

transplants() { # Figure 2b
    _sets
    _trained clean nt
    _fewer
    for each in sp em; do _transplanted $each clean-nt.safetensors clean; done
    _picture curves {sp,em}-{clean-shallow,clean-deep,none}.safetensors
}

controls() { # Figure 2b's layers of two other donors: a random net, and one that predicts rotations; no picture
    _fewer
    _made random.safetensors train d-clean.safetensors --frame nt --model small --epochs 1 --lr 0 --seed 7 --threads 1
    for each in sp em; do
        [ -e "turned-$each.safetensors" ] || $PYTHON "$here/../../examples/rotations.py" "d-$each.safetensors" "turned-$each.safetensors"
        _made "rotations-$each.safetensors" train "turned-$each.safetensors" --frame nt --augment none,crop --model small --epochs 3 --threads 1
        _transplanted $each random.safetensors random
        _transplanted $each "rotations-$each.safetensors" rotations
    done
    $STKIT report {sp,em}-{none,{random,rotations}-{shallow,deep}}.safetensors
}

figure5() { # Figure 5
    _fewer
    local run=(train d-em.safetensors --model small --epochs 12 --threads 1 --test c-test.safetensors)
    local judged=(--acm-variant ratio --gamma 0.35 --check-every 78)
    _made five-st.safetensors "${run[@]}" --frame st "${judged[@]}"
    _made five-stopped.safetensors "${run[@]}" --frame nt-stop "${judged[@]}"
    _made five-nt.safetensors "${run[@]}" --frame nt --init-from five-stopped.safetensors
    _picture curves five-st.safetensors five-nt.safetensors
}

jitters() { # hue .1 (SimCLR's) and .5 (RAD's) in CG; no picture
    _fewer
    for set in sp em; do for hue in 0.1 0.5; do for seed in 0 1; do
        _made "$set-$hue-$seed.safetensors" train "d-$set.safetensors" --frame nt-cg --jitter "0.4,0.4,0.4,$hue" --model small \
            --epochs 10 --seed $seed --threads 1 --test c-test.safetensors
    done; done; done
    $STKIT report {sp,em}-{0.1,0.5}-{0,1}.safetensors
}

lr-scales() { # Figure 4
    _picture lr-scales --beta 1/5 --model 20
}

sensitivity() { # Figure 9's axes, on clean images, SP and EM; its own setting is the grid figure9.toml
    local of="$results"/calibration-small
    _picture sensitivity "$of"/{clean,sp,em-class}_ratio-0.{1,2,3}-20_small_s0.json "$of"/{clean,sp,em-class}_ratio-0.2-20-beta-{2,8}_small_s0.json
}

rates() { # Tables 7 and 8
    _grid rates-small
    _picture rates "$results/rates-small"
}

pictures=$(compgen -A function | grep -v ^_)
[ $# -gt 0 ] || set -- $pictures
for name; do
    [[ " "${pictures//$'\n'/ }" " == *" $name "* ]] || { echo "error: no picture $name; choose of" $pictures >&2; exit 2; }
done
mkdir -p "$work" "$out"
cd "$work"
for name; do "$name"; done
