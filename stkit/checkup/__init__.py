"""Does this machine compute what it should? `stkit env --check`, as a library.

    for finding in checkup(pick("cuda")):
        ...  # Finding("nt, replayed against eager", "ok", "loss 0.0e+00, expected ...")

What is checked: the device's products, random numbers and one step of each kind of body against a
CPU's float64; on a GPU also bf16, steps replayed as CUDA graphs, `deterministic` and a compiled
step; several ranks' collectives, and two ranks against one. All on a few made-up images with the
small net. Nothing is printed, and the process is left as it was.
"""

from collections.abc import Iterator, Sequence
from importlib.util import find_spec

import torch

from stkit.checkup import arithmetic, compared
from stkit.checkup.bodies import BODIES, Body
from stkit.checkup.children import Children
from stkit.checkup.findings import SKIPPED, WRONG, Finding, said
from stkit.core.errors import RecipeError
from stkit.engine import devices
from stkit.engine.runtime import Runtime

__all__ = ["BODIES", "Body", "Finding", "checkup"]


def checkup(
    runtime: Runtime, *, bodies: Sequence[Body] = BODIES, processes: bool = True
) -> Iterator[Finding]:
    """What each check comes to, as it is done; about a minute on a GPU, half of one on a CPU.

    runtime: `pick(device)`, for its device, threads and how steps are replayed. bodies: those to
    run. processes: also what takes processes of its own. RecipeError: under torchrun.
    """
    if runtime.world_size > 1:
        raise RecipeError(
            f"the check was started as {runtime.world_size} ranks, expected one process, which "
            "starts ranks of its own; leave torchrun out"
        )
    beside: list[Children | Finding] = []
    try:
        try:
            beside.extend(_started(runtime.device) if processes else ())
        except Exception as error:  # no process, or no port, is to be had
            beside.append(Finding("processes of its own", WRONG, said(error)))
        yield from _here(runtime, bodies)
        for each in beside:
            yield from [each] if isinstance(each, Finding) else each.findings()
    finally:
        for each in beside:
            if isinstance(each, Children):
                each.end()


def _here(runtime: Runtime, bodies: Sequence[Body]) -> Iterator[Finding]:
    """What this process checks. Recordings come last: one that fails may spoil what follows."""
    cuda = runtime.device.type == "cuda"
    half = cuda and devices.native_bf16(runtime.device)
    yield from arithmetic.arithmetic(runtime, half=half)
    for body in bodies:
        yield from compared.against_cpu(body, runtime, exact=cuda)
    if half:
        for body in bodies:
            if body.halved:
                yield compared.in_bf16(body, runtime)
    else:
        yield Finding("bf16", SKIPPED, f"{runtime.device.type} has no native bf16 that stkit uses")
    if runtime.replays:
        recorded = [body for body in bodies if body.recorded]
        failed = yield from compared.replayed(recorded, runtime)
        if failed:
            yield Finding("deterministic", SKIPPED, "a recording failed, and spoils what follows")
        else:
            yield from compared.twice(bodies[0], runtime)
    else:
        yield Finding("replayed steps", SKIPPED, "CUDA graphs are of a GPU")


def _started(device: torch.device) -> Iterator[Children | Finding]:
    """What is checked in other processes, under way; and what is not, and why."""
    if device.type == "cuda":
        yield Children("one rank", "alone", str(device))
        if torch.cuda.device_count() > 1:
            yield Children("two ranks", "together", "cuda", 2)
        else:
            yield Finding("two ranks", SKIPPED, "one GPU is there")
        if find_spec("triton") is None:
            yield Finding("compiled step", SKIPPED, "Triton is not installed")
        else:
            yield Children("compiled step", "compiled", str(device), late=SKIPPED)
    elif device.type == "cpu":
        yield Children("two ranks", "together", "cpu", 2)
        yield Finding("compiled step", SKIPPED, "steps are compiled for GPUs")
    else:
        yield Finding("ranks", SKIPPED, f"there is one on {device.type}")
