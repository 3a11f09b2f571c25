"""The ranks of test_ranks.py: forked from one process, which has imported all that they need.

    python ranked.py

reads a line of JSON: a list with the arguments, environment, folder, stdout and stderr of each rank
(`Start`). It prints their process numbers on a line, and one line more for each that ends: its
number and its exit code. When all have ended it takes the next line.

A rank runs several command lines one after the other, their arithmetic in float64, `small` being
thinner than it is. Its arguments:

    PORTS [--float32] [--buffers] [--die-at STEP] [--stop-at STEP] COMMAND...

PORTS: by commas, of the store that the ranks of each command meet at. Each COMMAND is one argument,
in which @ stands for the rank. --buffers: also write the BatchNorm statistics that a pass in
evaluation mode goes by, whenever they are others than before, to buffers-RANK. --die-at: end
without a word at this step, counted from 0, of the first training. --stop-at: the same, but get
SIGTERM, rank 0 at this step, rank 1 at the next, as a signal to all reaches them one by one.

    PORT --broadcast

prints what a rank is after `Runtime.broadcast_` of tensors that were others on each, and by how
many messages: see `broadcast`.

The environment says which rank it is, as torchrun sets it. It ends with the first code but 0.
"""

import json
import os
import shlex
import signal
import sys
import traceback
from collections.abc import Callable
from typing import Any, NamedTuple

import torch
import torch._dynamo
from torch import nn
from torch.nn.modules.batchnorm import _BatchNorm
from torch.nn.modules.module import register_module_forward_pre_hook
from torch.utils._python_dispatch import TorchDispatchMode

# what a command would import by itself, once for all of them
from stkit import models
from stkit.cli import main
from stkit.core import artifact
from stkit.engine import ranks
from stkit.engine.process import configure
from stkit.engine.runtime import pick
from stkit.models.resnet import BasicBlock, ResNet


class Start(NamedTuple):
    """What a rank is started with; out, err: paths."""

    words: list[str]
    env: dict[str, str]
    cwd: str
    out: str
    err: str


def note_buffers() -> None:
    """Append a digest of a norm's statistics to a file when it is called with new ones."""
    known: dict[nn.Module, str] = {}

    def note(module: nn.Module, args: Any) -> None:
        if not isinstance(module, _BatchNorm) or module.training:
            return
        held = artifact.digest({k: v.contiguous() for k, v in module.named_buffers()})
        if known.get(module) != held:
            known[module] = held
            with open(f"buffers-{os.environ['RANK']}", "a") as file:
                file.write(f"{held}\n")

    register_module_forward_pre_hook(note)


def at_step(count: int, act: Callable[[], None]) -> None:
    """Call `act` at this process's training pass number `count`."""
    passes = 0

    def note(module: nn.Module, args: Any) -> None:
        nonlocal passes
        if isinstance(module, nn.parallel.DistributedDataParallel):
            if passes == count:
                act()
            passes += 1

    register_module_forward_pre_hook(note)


class Messages(TorchDispatchMode):
    """How many collectives are run under it."""

    count = 0

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        self.count += func.namespace == "c10d"
        return func(*args, **(kwargs or {}))


def broadcast() -> None:
    """Print JSON: bytes of tensors of three types, layouts and shapes by name, and the messages."""
    runtime = pick("cpu")
    configure(runtime)
    fill = torch.Generator().manual_seed(runtime.rank)
    tensors = {
        "scalar": torch.rand((), generator=fill),
        "large": torch.tensor(2**62 + 1 + runtime.rank),  # which no float holds
        "odd": torch.tensor([float("nan"), -0.0, float("inf")]) * (1 - runtime.rank),
        "strided": torch.rand(2, 3, 4, 5, generator=fill).to(memory_format=torch.channels_last),
        "double": torch.rand(3, generator=fill, dtype=torch.float64),
        "counts": torch.randint(9, (4, 2), generator=fill).t(),
        "weight": torch.rand(2, generator=fill).requires_grad_(),
    }
    with Messages() as messages:
        runtime.broadcast_(*tensors.values())
    found = {
        name: value.detach().contiguous().reshape(-1).view(torch.uint8).tolist()
        for name, value in tensors.items()
    }
    print(json.dumps({"messages": messages.count, **found}))
    ranks.leave()


def run(words: list[str]) -> int:
    """Do what a rank's arguments say; the exit code."""
    ports, *words = words
    if words[0] == "--broadcast":
        os.environ["MASTER_PORT"] = ports
        broadcast()
        return 0
    if words[0] == "--float32":
        words.pop(0)
    else:
        torch.set_default_dtype(torch.float64)
    if words[0] == "--buffers":
        words.pop(0)
        note_buffers()
    if words[0] == "--die-at":
        at_step(int(words[1]), lambda: os._exit(7))
        words = words[2:]
    if words[0] == "--stop-at":
        step = int(words[1]) + int(os.environ["RANK"])
        at_step(step, lambda: os.kill(os.getpid(), signal.SIGTERM))
        words = words[2:]
    for port, word in zip(ports.split(","), words, strict=True):
        os.environ["MASTER_PORT"] = port
        if code := main(shlex.split(word.replace("@", os.environ["RANK"]))):
            return code
    return 0


def fork(start: Start) -> int:
    """Start a rank; its process number."""
    if pid := os.fork():
        return pid
    code = 1
    try:
        os.setsid()  # no signal to the tests is one to it
        for path, stream in ((os.devnull, 0), (start.out, 1), (start.err, 2)):
            os.dup2(os.open(path, os.O_RDWR | os.O_CREAT), stream)
        os.chdir(start.cwd)
        os.environ |= start.env
        code = run(start.words)
    except BaseException:
        traceback.print_exc()
    finally:
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(code)


def thin(classes: int, size: int) -> nn.Module:
    """`small` with half of its channels: which net it is, no rank asks. (Of 4, float32 needs luck:
    torch writes beyond what it has.)"""
    return ResNet(BasicBlock, (8, 16, 32, 64), (1, 1, 1, 1), (2, 2, 2, 2), classes)


if __name__ == "__main__":
    torch.set_num_threads(1)
    models.BUILDERS["small"] = thin
    for line in sys.stdin:
        pids = [fork(Start(*start)) for start in json.loads(line)]
        print(*pids, flush=True)
        for _ in pids:
            pid, status = os.wait()
            print(pid, os.waitstatus_to_exitcode(status), flush=True)
