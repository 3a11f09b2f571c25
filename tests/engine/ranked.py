"""A rank of test_ranks.py: several command lines in one process, their arithmetic in float64.

    python ranked.py [--float32] [--buffers] [--die-at RANK:STEP] COMMAND...

Each COMMAND is one argument, in which @ stands for the rank. --buffers: also write what BatchNorm
statistics a rank holds whenever ranks are to hold the same.

The environment says which rank this is, as torchrun sets it. Ends with the first code but 0.
"""

import os
import shlex
import sys

import torch

from stkit.cli import main
from stkit.core import artifact
from stkit.engine import ranks, step
from stkit.measure import accuracy, acm
from stkit.poisons import em, rem
from stkit.training import loop, sets, staged


def in_float64() -> None:
    """Weights, images and what is made of them; random draws are float32, and exact in float64."""
    torch.set_default_dtype(torch.float64)
    for module in (acm, step, accuracy):
        module.to_float = lambda pixels: pixels.double() / 255


def note_buffers() -> None:
    """Write a digest of the model's buffers to buffers-RANK before each use of them."""

    def noting(function):
        def noted(self, *args):
            found = function(self, *args)
            with open(f"buffers-{os.environ['RANK']}", "a") as file:
                file.write(f"{function.__qualname__} {artifact.digest(buffers(self))}\n")
            return found

        return noted

    def buffers(owner):
        model = owner.surrogate.model if hasattr(owner, "surrogate") else owner.model
        return {name: value.contiguous() for name, value in model.named_buffers()}

    staged.StagedTraining.check = noting(staged.StagedTraining.check)
    sets.Sets.accuracies = noting(sets.Sets.accuracies)
    em.Crafting._measure_error = noting(em.Crafting._measure_error)
    rem.Crafting._learn = noting(rem.Crafting._learn)


def die_at(rank: str, count: str) -> None:
    """End this process without a word before its step number `count`, if it is this rank."""
    advance = loop.Training._advance

    def dying(self):
        if self.executed == int(count) and os.environ["RANK"] == rank:
            os._exit(7)
        return advance(self)

    loop.Training._advance = dying


if __name__ == "__main__":
    words = sys.argv[1:]
    torch.set_num_threads(1)
    if words[0] == "--float32":
        words.pop(0)
    else:
        in_float64()
    if words[0] == "--buffers":
        words.pop(0)
        note_buffers()
    if words[0] == "--die-at":
        die_at(*words[1].split(":"))
        words = words[2:]
    leave, ranks.leave = ranks.leave, lambda: None  # one group for all commands
    for word in words:
        code = main(shlex.split(word.replace("@", os.environ["RANK"])))
        if code:
            sys.exit(code)
    leave()
