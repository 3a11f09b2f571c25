"""A rank of test_ranks.py: several command lines in one process, their arithmetic in float64.

    python ranked.py PORTS [--float32] [--buffers] [--die-at STEP] COMMAND...

PORTS: by commas, of the store that the ranks of each command meet at. Each COMMAND is one argument,
in which @ stands for the rank. --buffers: also write the BatchNorm statistics that a pass in
evaluation mode goes by, whenever they are others than before, to buffers-RANK. --die-at: end
without a word at this step, counted from 0, of the first training.

The environment says which rank this is, as torchrun sets it. Ends with the first code but 0.
"""

import os
import shlex
import sys
from typing import Any

import torch
from torch import nn
from torch.nn.modules.batchnorm import _BatchNorm
from torch.nn.modules.module import register_module_forward_pre_hook

from stkit.cli import main
from stkit.core import artifact

RANK = os.environ["RANK"]


def note_buffers() -> None:
    """Append a digest of a norm's statistics to a file when it is called with new ones."""
    known: dict[nn.Module, str] = {}

    def note(module: nn.Module, args: Any) -> None:
        if not isinstance(module, _BatchNorm) or module.training:
            return
        held = artifact.digest({k: v.contiguous() for k, v in module.named_buffers()})
        if known.get(module) != held:
            known[module] = held
            with open(f"buffers-{RANK}", "a") as file:
                file.write(f"{held}\n")

    register_module_forward_pre_hook(note)


def die_at(count: int) -> None:
    """End this process at its training pass number `count`."""
    passes = 0

    def die(module: nn.Module, args: Any) -> None:
        nonlocal passes
        if isinstance(module, nn.parallel.DistributedDataParallel):
            if passes == count:
                os._exit(7)
            passes += 1

    register_module_forward_pre_hook(die)


if __name__ == "__main__":
    ports, *words = sys.argv[1:]
    torch.set_num_threads(1)
    if words[0] == "--float32":
        words.pop(0)
    else:
        torch.set_default_dtype(torch.float64)
    if words[0] == "--buffers":
        words.pop(0)
        note_buffers()
    if words[0] == "--die-at":
        die_at(int(words[1]))
        words = words[2:]
    for port, word in zip(ports.split(","), words, strict=True):
        os.environ["MASTER_PORT"] = port
        code = main(shlex.split(word.replace("@", RANK)))
        if code:
            sys.exit(code)
