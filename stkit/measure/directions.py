"""Random directions in the space of a model's weights, and walking along them.

As Li et al. draw them ("Visualizing the Loss Landscape of Neural Nets", NeurIPS 2018, sec. 4): a
Gaussian of which every filter is scaled to the norm of the model's own filter, so that how far one
walks does not depend on how a net spreads its scale over its layers. A filter is what makes one
output of a conv or linear module: a row of its weight. Biases and the parameters of norms, which
have one dimension, stay where they are, as by default in their code (`ignore='biasbn'`).
"""

import torch
from torch import Tensor, nn

from stkit.core.errors import RecipeError
from stkit.core.rng import stream

TINY = 1e-10  # of their code: no division by a norm of 0


def filters(model: nn.Module) -> dict[str, nn.Parameter]:
    """The parameters that have filters, by name: of two dimensions or more. RecipeError: none."""
    weights = {
        name: parameter
        for name, parameter in model.named_parameters()
        if parameter.ndim > 1 and parameter.is_floating_point()
    }
    if not weights:
        raise RecipeError(
            f"a {type(model).__name__} has no weights of two dimensions or more, expected filters "
            "to walk along; pass a model with conv or linear modules"
        )
    return weights


def direction(weights: dict[str, nn.Parameter], seed: int, number: int) -> list[Tensor]:
    """The direction of this number, one tensor for each weight, of its shape, type and device.

    A seed gives models of one architecture the same Gaussian; it is drawn on the CPU, so that every
    device has the same.
    """
    generator = stream(seed, "landscape", number)
    drawn = []
    for weight in weights.values():
        gaussian = torch.randn(weight.shape, generator=generator).double()
        norms = [t.flatten(1).norm(dim=1) for t in (weight.detach().cpu().double(), gaussian)]
        scale = (norms[0] / (norms[1] + TINY)).view(-1, *[1] * (weight.ndim - 1))
        drawn.append(torch.empty_like(weight.detach()).copy_((gaussian * scale).to(weight.dtype)))
    return drawn


class Walk:
    """A model whose weights are moved in place along two directions, and put back.

    The host does not wait for the device.
    """

    def __init__(self, model: nn.Module, seed: int) -> None:
        weights = filters(model)
        self.weights: list[Tensor] = list(weights.values())
        self.origin = [weight.detach().clone() for weight in self.weights]
        self.axes = [direction(weights, seed, number) for number in (0, 1)]

    @torch.no_grad()
    def to(self, alpha: float, beta: float) -> None:
        """Move the weights to a place, from where they were at first, wherever they are."""
        torch._foreach_copy_(self.weights, self.origin)
        for axis, step in zip(self.axes, (alpha, beta), strict=True):
            torch._foreach_add_(self.weights, axis, alpha=step)

    @torch.no_grad()
    def back(self) -> None:
        """Put the weights back, to the last bit."""
        torch._foreach_copy_(self.weights, self.origin)
