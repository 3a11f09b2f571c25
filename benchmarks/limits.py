"""The arithmetic limit: the model's operations over the rate at which this device multiplies.

Operations are counted by PyTorch's FlopCounterMode on the meta device, without any arithmetic:
convolutions and matrix products, a multiplication and an addition each one. The rate is that of a
square matrix product, the best of a few sizes, in the same precision (float32 without TF32). What
else a step does (normalisation, activations, augmentation, SGD) is bound by memory and not counted,
so no loop reaches the limit.
"""

from functools import cache, partial
from time import perf_counter

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.utils.flop_counter import FlopCounterMode

from stkit import models
from stkit.recipes.frames import FRAMES

SIDES = {"cuda": (2048, 4096, 8192), "cpu": (512, 1024), "mps": (1024, 2048)}
COUNTED = 2  # images on the meta device
PRECISIONS = {"fp32": torch.float32, "bf16": torch.bfloat16}


@cache
def per_image(name: str, work: str, *, classes: int, size: int) -> float:
    """Operations an image of a model's `forward` pass, of a forward pass and the `gradient` with
    respect to the image, or of those of a `step` of SGD: with respect to the weights."""
    model = models.create(name, classes=classes, size=size).to("meta")
    images = torch.empty(COUNTED, 3, size, size, device="meta")
    labels = torch.empty(COUNTED, dtype=torch.int64, device="meta")
    images.requires_grad_(work == "gradient")
    model.requires_grad_(work == "step")
    with FlopCounterMode(display=False) as counter:
        loss = F.cross_entropy(model(images), labels)
        if work != "forward":
            loss.backward()
    return counter.get_total_flops() / COUNTED


def of_task(task: str, model: str, *, classes: int, size: int) -> float:
    """Operations an image of a step by a frame, or of a forward pass: `eval` and `acm`."""
    count = partial(per_image, model, classes=classes, size=size)
    if task not in FRAMES:
        return count("forward")
    adversary = FRAMES[task].train.adversary
    return count("step") + (adversary.steps * count("gradient") if adversary else 0)


def product_rate(device: str, precision: str, seconds: float) -> float:
    """Operations a second of the fastest square product found within about so many seconds."""
    best, dtype = 0.0, PRECISIONS[precision]
    kind = torch.device(device).type
    if kind == "cuda" and precision == "fp32":
        torch.backends.cuda.matmul.fp32_precision = "ieee"
    for side in SIDES[kind]:
        a, b = (torch.randn(side, side, device=device).to(dtype) for _ in range(2))
        _timed(a, b, 1)
        calls, end = 1, perf_counter() + seconds / len(SIDES[kind])
        while True:
            taken = _timed(a, b, calls)
            best = max(best, 2 * side**3 * calls / taken)
            if perf_counter() > end:
                break
            if taken < 0.02:
                calls *= 2
    return best


def _timed(a: Tensor, b: Tensor, calls: int) -> float:
    start = perf_counter()
    for _ in range(calls):
        a @ b
    if a.is_cuda:
        torch.cuda.synchronize()
    return perf_counter() - start
