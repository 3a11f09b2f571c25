"""What all bodies are made of: products, what stands between them, random numbers."""

from collections.abc import Callable, Iterator
from functools import partial

import torch
import torch.nn.functional as F
from torch import Tensor

from stkit.checkup.findings import (
    OK,
    WRONG,
    Finding,
    Outcome,
    Tolerance,
    compare,
    quantity,
    tried,
)
from stkit.core import rng
from stkit.engine.process import settings
from stkit.engine.runtime import Runtime

SINGLE = Tolerance(1e-4, 0.0, {})
"""float32: sums of up to 4,000 products, each to 6e-8, gave 1e-6; Winograd's convolutions may have
1e-5. TF32, 4e-4, must not be used unasked."""
HALF = Tolerance(2e-2, 0.0, {})
"""bf16 keeps 8 bits: 4e-3 a number, and sums in float32."""
COUNT = 1 << 16  # of random numbers
SIGMAS = 6.0  # a mean that is farther off than this comes once in 500 million


def arithmetic(runtime: Runtime, *, half: bool) -> Iterator[Finding]:
    """Each kind of operation on the device in float32, and if `half` in bf16, against a CPU's
    float64; then its random numbers."""
    for precision, tolerance in (("fp32", SINGLE), *([("bf16", HALF)] if half else [])):
        for what, operation in OPERATIONS.items():
            name = f"{what} in {precision}"
            yield tried(name, partial(_operated, name, operation, runtime, precision, tolerance))
    yield tried("random numbers", partial(_drawn, runtime))


def _operated(
    name: str,
    operation: Callable[[Tensor, Tensor], Tensor],
    runtime: Runtime,
    precision: str,
    tolerance: Tolerance,
) -> Finding:
    """An operation and its gradients."""
    here = Runtime(runtime.device, precision, threads=runtime.threads)
    host = Runtime(torch.device("cpu"), "fp32", threads=1)
    checked = _results(operation, here, torch.float32)
    return compare(name, checked, _results(operation, host, torch.float64), tolerance)


def _results(
    operation: Callable[[Tensor, Tensor], Tensor], runtime: Runtime, dtype: torch.dtype
) -> Outcome:
    generator = rng.stream(0, "arithmetic")
    numbers = [
        torch.randn(shape, generator=generator) for shape in ((16, 64, 8, 8), (64, 64, 3, 3))
    ]
    x, w = (number.to(runtime.device, dtype).requires_grad_() for number in numbers)
    with settings(runtime):
        with runtime.autocast():
            out = operation(x, w)
        slopes = torch.autograd.grad(out.sin().sum(), (x, w), materialize_grads=True)
    return (
        quantity("results", {"": out}),
        quantity("gradients", {"images": slopes[0], "weights": slopes[1]}),
    )


def _normed(x: Tensor, w: Tensor) -> Tensor:
    """ReLU, whose kink no rounding can reach here, BatchNorm in training, pooling, and the loss of
    each image."""
    shape = (x.shape[1],)
    mean, variance = x.new_zeros(shape), x.new_ones(shape)
    out = F.batch_norm(F.relu(x), mean, variance, w[:, 0, 0, 0], w[:, 0, 0, 1], training=True)
    pooled = F.adaptive_avg_pool2d(out, 1).flatten(1)
    labels = torch.arange(len(x), device=x.device)
    return F.cross_entropy(pooled, labels, reduction="none")


OPERATIONS: dict[str, Callable[[Tensor, Tensor], Tensor]] = {
    "convolution": lambda x, w: F.conv2d(x, w, padding=1) / 24,
    "convolution, channels last": lambda x, w: F.conv2d(
        x.contiguous(memory_format=torch.channels_last),
        w.contiguous(memory_format=torch.channels_last),
        padding=1,
    ) / 24,
    "matrix product": lambda x, w: x.flatten(1) @ w.view(4096, 9) / 64,
    "ReLU, BatchNorm, pooling, cross entropy": _normed,
}  # fmt: skip
"""(images [16,64,8,8], weights [64,64,3,3]) -> results of about 1, as their sine is taken."""


def _drawn(runtime: Runtime) -> Finding:
    """Whether the device's draws belong to their seeds, and are as many as they should be."""
    name, device = "random numbers", runtime.device

    def uniform(clock: int) -> Tensor:
        generator = rng.stream(0, "checkup", clock, device)
        return torch.rand(COUNT, generator=generator, device=device)

    def kept(clock: int) -> Tensor:
        rng.reseed(0, "checkup", clock, device)
        return F.dropout(torch.ones(COUNT, device=device), 0.5, training=True)

    with settings(runtime):
        off = []
        for what, draw, width in (("uniform", uniform, 12**-0.5), ("Dropout", kept, 1.0)):
            first, again, other = draw(0), draw(0), draw(1)
            if not torch.equal(first, again):
                return Finding(name, WRONG, f"{what}: other numbers for the same seed")
            if torch.equal(first, other):
                return Finding(name, WRONG, f"{what}: the same numbers for another seed")
            mean = 0.5 if what == "uniform" else 1.0
            off.append(abs(float(first.double().mean()) - mean) / width * COUNT**0.5)
    gap = max(off)
    about = f"means {gap:.1f} sigma off, expected at most {SIGMAS:.0f}"
    return Finding(name, OK if gap <= SIGMAS else WRONG, about, gap, SIGMAS)
