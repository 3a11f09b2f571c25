"""A rank of test_ranks.py: several command lines in one process, their arithmetic in float64.

    python ranked.py [--float32] [--die-at STEP] COMMAND...     each COMMAND one argument

The environment says which rank this is, as torchrun sets it. Ends with the first code but 0.
"""

import os
import shlex
import sys

import torch

from stkit import acm_score, evaluation, runtime, step, training
from stkit.cli import main
from stkit.poisons import em, rem


def in_float64() -> None:
    """Weights, images and what is made of them; random draws are float32, and exact in float64."""
    torch.set_default_dtype(torch.float64)
    for module in (acm_score, step, evaluation, em, rem):
        module.to_float = lambda pixels: pixels.double() / 255


def die_at(count: int) -> None:
    """End this process without a word before its step number `count`, if it is rank 1."""
    advance = training.Training._advance

    def dying(self):
        if self.executed == count and os.environ["RANK"] == "1":
            os._exit(7)
        return advance(self)

    training.Training._advance = dying


if __name__ == "__main__":
    words = sys.argv[1:]
    torch.set_num_threads(1)
    if words[0] == "--float32":
        words.pop(0)
    else:
        in_float64()
    if words[0] == "--die-at":
        die_at(int(words[1]))
        words = words[2:]
    leave, runtime.leave = runtime.leave, lambda: None  # one group for all commands
    for word in words:
        code = main(shlex.split(word))
        if code:
            sys.exit(code)
    leave()
