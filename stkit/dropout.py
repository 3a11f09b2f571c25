"""Dropout on the input of a model's classifier, with masks that are drawn outside of the step.

Srivastava et al. 2014; the ST paper's Table 5 has it with probability 0.5 and does not say where:
a ResNet-18 has one place for it, before the last linear layer. PyTorch's own layer draws from the
global generator and would be part of the model, in its file and while ACM is measured.
"""

from collections.abc import Iterator
from contextlib import contextmanager

import torch
from torch import Tensor, nn

from stkit import models


def draw(
    probability: float,
    count: int,
    width: int,
    generator: torch.Generator,
    device: torch.device | str | None = None,
) -> Tensor:
    """float32 [count,width]: 0 with this probability, else 1 / (1 - probability).

    width: `models.classifier(model).in_features`. On `device`, or where the generator is.
    """
    kept = torch.rand(count, width, generator=generator, device=generator.device) >= probability
    return (kept.float() / (1 - probability)).to(device or generator.device)


@contextmanager
def dropped(model: nn.Module, mask: Tensor | None) -> Iterator[None]:
    """While this lasts, the classifier's input [N,D] is multiplied by the mask; None: as it is."""
    if mask is None:
        yield
        return

    def multiply(module: nn.Module, args: tuple[Tensor]) -> tuple[Tensor]:
        return (args[0] * mask.to(args[0].dtype),)

    hook = models.classifier(model).register_forward_pre_hook(multiply)
    try:
        yield
    finally:
        hook.remove()
