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
from stkit.checkup.findings import SKIPPED, Finding
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
    children, skipped = _children(runtime.device) if processes else ([], [])
    try:
        yield from _here(runtime, bodies)
        for each in children:
            yield from each.findings()
    finally:
        for each in children:
            each.end()
    yield from skipped


def _here(runtime: Runtime, bodies: Sequence[Body]) -> Iterator[Finding]:
    """What this process checks. Recordings come last: one that fails may spoil what follows."""
    half = runtime.device.type == "cuda" and devices.native_bf16(runtime.device)
    yield from arithmetic.arithmetic(runtime, half=half)
    for body in bodies:
        yield from compared.against_cpu(body, runtime)
    if half:
        for body in bodies:
            if body.halved:
                yield compared.in_bf16(body, runtime)
    else:
        yield Finding("bf16", SKIPPED, f"{runtime.device.type} has no native bf16 that stkit uses")
    if runtime.replays:
        recorded = [body for body in bodies if body.recorded]
        yield from compared.replayed(recorded, runtime)
    else:
        yield Finding("replayed steps", SKIPPED, "CUDA graphs are of a GPU")
    if runtime.device.type == "cuda" or runtime.replays:  # a CPU gives the same bytes anyway
        yield from compared.twice(bodies[0], runtime)


def _children(device: torch.device) -> tuple[list[Children], list[Finding]]:
    """What is checked in other processes, under way; and what is not, and why."""
    if device.type not in ("cuda", "cpu"):
        return [], [Finding("several ranks", SKIPPED, f"stkit has none on {device.type}")]
    if device.type == "cpu":
        skipped = [Finding("compiled step", SKIPPED, "compiled for a GPU only")]
        return [Children("two ranks", "together", "cpu", 2)], skipped
    children, skipped = [Children("one rank", "alone", str(device))], []
    count = torch.cuda.device_count()
    if count > 1:
        children.append(Children("two ranks", "together", "cuda", 2))
    else:
        skipped.append(Finding("two ranks", SKIPPED, f"{count} GPU is there"))
    if find_spec("triton") is None:
        skipped.append(Finding("compiled step", SKIPPED, "Triton is not installed"))
    else:
        children.append(Children("compiled step", "compiled", str(device)))
    return children, skipped
