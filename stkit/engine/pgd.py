"""Projected gradient steps inside the L-infinity ball: one loop for EM, REM, AT and evaluation.

The loop carries the noise (EM's eta) and returns it *before* the last clipping to the image range,
because that is what EM stores; the perturbed images are `(images + noise).clamp(low, high)`, the
same as in AT, where only those count. Inputs and noise stay float32 under autocast; sign(0) = 0.

How each method calls it: EM with its stored noise and ascend=False. AT, REM's inner adversary and
robust evaluation through `adversarial` (Madry et al. 2018), as in REM's train.py. REM's defender
steps on the noise alone, so for it `images` are zeros and the range is infinite: its loss adds the
noise to the images, clamps, augments and attacks, and sums over the draws of the augmentation.
"""

import math
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from functools import partial
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from stkit.recipes.frames import Adversary


def pgd(
    loss: Callable[[Tensor], Tensor],
    images: Tensor,
    noise: Tensor | None = None,
    *,
    epsilon: float,
    step_size: float,
    steps: int,
    ascend: bool = True,
    low: float = 0.0,
    high: float = 1.0,
) -> Tensor:
    """The noise, within epsilon, after so many signed gradient steps up (or down) the loss.

    loss: perturbed images [N,...] -> scalar; the model in it is in the mode that the caller wants.
    images [N,...], noise (the start, zero by default) and the result share shape and scale. Only
    the gradient with respect to the images is computed: no parameter's `grad` is touched.
    """
    stride = step_size if ascend else -step_size
    noise = torch.zeros_like(images) if noise is None else noise.detach()
    for _ in range(steps):
        inputs = perturbed(images, noise, low, high).requires_grad_()
        with torch.enable_grad():
            (gradient,) = torch.autograd.grad(loss(inputs), inputs)
        moved = torch.add(inputs.detach(), gradient.sign(), alpha=stride)
        noise = (moved - images.detach()).clamp(-epsilon, epsilon)
    return noise


def perturbed(images: Tensor, noise: Tensor, low: float = 0.0, high: float = 1.0) -> Tensor:
    """images + noise inside the range, detached."""
    return (images.detach() + noise.detach()).clamp(low, high)


def random_start(
    shape: Sequence[int],
    epsilon: float,
    generator: torch.Generator,
    dtype: torch.dtype = torch.float32,
) -> Tensor:
    """Noise of this shape, uniform in [-epsilon, epsilon], on the generator's device.

    It may leave the image range: `pgd` clips the images that it makes.
    """
    u = torch.rand(shape, generator=generator, device=generator.device, dtype=dtype)
    return (2 * u - 1) * epsilon


PIECE = 256 * 32 * 32
"""Pixels whose gradient a CPU makes at a time; of more a pass leaves its caches. The small net's of
640 images, and of 512, is made 1.2 times as fast in pieces."""


def pieces(model: nn.Module, images: Tensor, *more: Tensor) -> list[tuple[Tensor, ...]]:
    """Images [N,3,H,W] and what else there is of each, cut for a CPU; whole on other devices.

    In evaluation mode no image sees another, so each piece's gradient is what it is in the whole.
    Whole, too, for a compiled net, which is made for one number of images.
    """
    if images.device.type != "cpu" or hasattr(model, "_orig_mod"):
        return [(images, *more)]
    count = max(1, PIECE // math.prod(images.shape[2:]))
    return list(zip(*(tensor.split(count) for tensor in (images, *more)), strict=True))


def joined(made: Sequence[Tensor]) -> Tensor:
    """The pieces together again."""
    return made[0] if len(made) == 1 else torch.cat(list(made))


@contextmanager
def evaluating(model: nn.Module) -> Iterator[None]:
    """Evaluation mode (running BatchNorm statistics, no dropout); each module's own mode after."""
    training = [module for module in model.modules() if module.training]
    model.eval()
    try:
        yield
    finally:
        for module in training:
            module.training = True


@contextmanager
def attacking(model: nn.Module) -> Iterator[None]:
    """Evaluation mode, for gradients of the images alone; modes as they were after.

    The weights of a compiled net are frozen meanwhile: its backward pass makes every gradient that
    its forward pass might be asked for, also those that nobody asks for. Elsewhere PyTorch makes
    only what it is asked for.
    """
    compiled = hasattr(model, "_orig_mod")
    learning = [p for p in model.parameters() if p.requires_grad] if compiled else []
    with evaluating(model):
        try:
            for parameter in learning:
                parameter.requires_grad_(False)
            yield
        finally:
            for parameter in learning:
                parameter.requires_grad_(True)


def adversarial(
    model: nn.Module,
    images: Tensor,
    labels: Tensor,
    adversary: Adversary,
    start: Tensor,
    autocast: Callable[[], AbstractContextManager[Any]] = nullcontext,
) -> Tensor:
    """Images perturbed to raise the cross entropy, float [N,3,H,W]: PGD from the noise `start`.

    images float [N,3,H,W] in [0,1], of the model's type, labels int64 [N], start: see
    `random_start`; it takes the images' type. The model is
    `attacking` meanwhile. The loss is a sum over images, so that an image's gradient does not
    depend on the batch.
    """

    def loss(labels: Tensor, inputs: Tensor) -> Tensor:
        with autocast():
            logits = model(inputs)
        sums = torch.promote_types(images.dtype, torch.float32)
        return F.cross_entropy(logits.to(sums), labels, reduction="sum")

    with attacking(model):
        noise = joined(
            [
                pgd(
                    partial(loss, truth), some, noise.to(images.dtype),
                    epsilon=adversary.epsilon, step_size=adversary.step_size, steps=adversary.steps,
                )
                for some, truth, noise in pieces(model, images, labels, start)
            ]
        )  # fmt: skip
    return perturbed(images, noise)
