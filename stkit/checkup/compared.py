"""Bodies on the device against the same on a CPU, replayed against eager, in bf16 against float32.

The reference on the CPU is one thread in float64: other kernels than those of float32 on any
device, and too exact to be what differs.
"""

from collections.abc import Generator, Iterable, Iterator
from contextlib import ExitStack
from dataclasses import replace

import torch

from stkit.checkup.alike import HostDraws, Smooth
from stkit.checkup.bodies import Body
from stkit.checkup.findings import (
    SKIPPED,
    WRONG,
    Finding,
    Outcome,
    Tolerance,
    compare,
    said,
    tried,
)
from stkit.core.errors import DeviceError
from stkit.engine.process import settings
from stkit.engine.runtime import Runtime

# The tolerances are two to thirty times what came out on CPUs over five seeds, and below what a
# wrong kernel, a stale input or another mask makes (0.3 and more). None has met a GPU yet.
ROUNDED = 1e-2
"""Of a change of weights in float32: a weight of 1 that moves by 1e-4 has it to 6e-4."""
CHANGE = "change of weights"
EXACT = Tolerance(1e-5, 0.0, {})
"""float64, in which draws alone differ: they are float32 numbers, whose last bit is 6e-8."""
SINGLE = Tolerance(2e-3, 0.0, {CHANGE: ROUNDED, "answers": 1e-3, "distances": 3e-4})
"""float32: 6e-8 through ten layers and back gave 5e-5. Convolutions that are 1e-5 off, which
Winograd's may be, gave 2e-4, those by TF32 4e-3 and more."""
EXACT_SIGNS = Tolerance(1e-2, 1e-3, {})
SIGNS = Tolerance(0.1, 3e-2, {})
"""Where signs are taken: a last bit turned those of gradients near zero, 6e-4 of the pixels, which
moved gradients by 3e-3; convolutions that are 1e-5 off turned 7e-3."""
REPLAYED = Tolerance(3e-2, 0.0, {})
"""Three steps, each as SINGLE; the same kernels, but for what cuDNN chooses anew."""
REPLAYED_SIGNS = Tolerance(0.3, 0.15, {})
"""Over three steps a last bit turned 2e-2 of the signs; a stale input turns half of them."""
HALF = Tolerance(
    0.3,
    0.3,
    {"loss": 2e-2, "statistics": 2e-2, "answers": 0.1, "confusion": 0.2, "error": 1.0},
)
"""bf16: 4e-3 a product gave 2e-3 in losses, 2e-2 in answers, 8e-2 in gradients, and turned 7e-2 of
an adversary's signs."""
COMPILED = Tolerance(0.2, 1e-2, {"loss": 1e-3, "statistics": 1e-3})
"""Fused operations round otherwise, and ReLU has its kink here, see `alike.Smooth`."""
SAME = Tolerance(0.0, 0.0, {})
NO_KERNEL = "no deterministic implementation"  # what `process.undetermined` says
STEPS = 3  # of what is replayed: the first may be right by the warm-up


def ran(
    body: Body, runtime: Runtime, dtype: torch.dtype, steps: int = 1, *, on_host: bool = False
) -> Outcome:
    """What a body leaves behind. on_host: draws are made on the CPU, to be compared with another
    device's."""
    with ExitStack() as stack:
        stack.enter_context(settings(runtime))
        stack.enter_context(Smooth())
        if on_host:
            stack.enter_context(HostDraws())
        return body.run(runtime, dtype, steps)


def against_cpu(body: Body, runtime: Runtime, *, exact: bool = False) -> Iterator[Finding]:
    """A step on the device in float32 against a CPU's in float64; if `exact` in float64, too."""
    one = Runtime(torch.device("cpu"), "fp32", threads=1)
    try:
        reference = ran(body, one, torch.float64, on_host=True)
    except Exception as error:  # whatever is wrong with this machine
        yield Finding(f"{body.name}, on the CPU in float64", WRONG, said(error))
        return
    if exact:
        yield _step(body, runtime, torch.float64, reference)
    yield _step(body, runtime, torch.float32, reference)


def _step(body: Body, runtime: Runtime, dtype: torch.dtype, reference: Outcome) -> Finding:
    name = f"{body.name}, {str(dtype).removeprefix('torch.')} against the CPU's float64"
    tolerance = EXACT if dtype == torch.float64 else SINGLE
    if body.signs:
        tolerance = EXACT_SIGNS if dtype == torch.float64 else SIGNS
    if body.levels:  # which are counted in float32 always
        tolerance = SIGNS

    def check() -> Finding:
        outcome = ran(body, eager(runtime), dtype, on_host=True)
        return compare(name, outcome, reference, tolerance)

    return tried(name, check)


def in_bf16(body: Body, runtime: Runtime) -> Finding:
    """A step with bf16 autocast against one in float32."""
    name = f"{body.name}, bf16 against float32"

    def check() -> Finding:
        half, single = (
            ran(body, replace(eager(runtime), precision=precision), torch.float32)
            for precision in ("bf16", "fp32")
        )
        return compare(name, half, single, HALF)

    return tried(name, check)


def replayed(bodies: Iterable[Body], runtime: Runtime) -> Generator[Finding, None, bool]:
    """Three recorded steps of each against three eager ones; returns whether a recording failed.

    After that the others are skipped: what it holds, its generator too, is not given back.
    """
    failed = False
    for body in bodies:
        name = f"{body.name}, replayed against eager"
        if failed:
            yield Finding(name, SKIPPED, "a recording failed, and what it holds is not given back")
            continue
        try:
            reference = ran(body, eager(runtime), torch.float32, STEPS)
        except Exception as error:
            yield Finding(name, WRONG, f"eager, {said(error)}")
            continue
        try:
            outcome = ran(body, runtime, torch.float32, STEPS)
        except Exception as error:
            yield Finding(name, WRONG, said(error))
            failed = True
        else:
            tolerance = REPLAYED_SIGNS if body.signs or body.levels else REPLAYED
            yield compare(name, outcome, reference, tolerance)
    return failed


def twice(body: Body, runtime: Runtime) -> Iterator[Finding]:
    """Three steps under `deterministic`, eager and, where steps are, replayed: the same bytes
    twice."""
    exact = replace(runtime, deterministic=True)
    ways = {"eager": eager(exact)} | ({"replayed": exact} if runtime.replays else {})
    for how, each in ways.items():
        name = f"{body.name}, {how}, deterministic, twice"
        try:
            first, second = (ran(body, each, torch.float32, STEPS) for _ in range(2))
        except Exception as error:
            without = isinstance(error, DeviceError) and NO_KERNEL in str(error)
            yield Finding(name, SKIPPED if without else WRONG, said(error))
            return
        yield compare(name, second, first, SAME)


def eager(runtime: Runtime) -> Runtime:
    """The same without recordings."""
    return replace(runtime, how="eager", record=None)
