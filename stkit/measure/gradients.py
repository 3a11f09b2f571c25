"""The mean absolute gradient of a layer (GMV of the ST paper, Fig. 2c): how much it still learns.

The gradient is that of the mean cross-entropy over D^s, in evaluation mode and true float32 (or the
model's own type), of one full pass: sums over batches, so their size changes nothing but rounding.
The paper says neither over which images the gradient is taken nor in which mode; D^s is what ACM is
measured on. Nothing of the model is touched: tensors stand in for its parameters, so what is frozen
has a gradient too, and `.grad`, hooks and recorded CUDA graphs are as before.
"""

from collections.abc import Mapping, Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.func import functional_call

from stkit import models
from stkit.core.checks import nearest
from stkit.core.errors import RecipeError
from stkit.data.images import to_float
from stkit.engine import pgd
from stkit.engine.runtime import Runtime
from stkit.engine.step import at_least_float32
from stkit.measure.accuracy import default_batch
from stkit.measure.clusters import true_float32
from stkit.measure.subject import home
from stkit.models.structure import number_type


def parameters(model: nn.Module, layer: str | int, size: int) -> list[str]:
    """The names of a layer's parameters: of a number of `models.layers`, or all within a module.

    size: the side of the images. RecipeError: no such layer (with the nearest names), or one that
    has no parameters.
    """
    if isinstance(layer, int):
        counted = models.layers(model, size)
        if not 1 <= layer <= len(counted):
            raise RecipeError(f"layer is {layer}, expected a number from 1 to {len(counted)}")
        return counted[layer - 1]
    modules = {name: module for name, module in model.named_modules() if name}
    if layer not in modules:
        raise RecipeError(nearest("layer", layer, modules))
    within = {id(parameter) for parameter in modules[layer].parameters()}
    names = [name for name, parameter in model.named_parameters() if id(parameter) in within]
    if not names:
        raise RecipeError(
            f"layer {layer!r} has no parameters, expected some whose gradients there are; "
            "name a module with weights"
        )
    return names


def measure(
    model: nn.Module,
    pixels: Tensor,
    labels: Tensor,
    layers: Mapping[str, Sequence[str]],
    *,
    batch_size: int | None = None,
    runtime: Runtime | None = None,
) -> dict[str, float]:
    """The mean of |dL/dw| over the parameters of each layer, by the layers' names.

    pixels: uint8 [N,3,H,W], or float in [0,1], on any device, not augmented. labels: int64 [N].
    layers: name -> those of its parameters. runtime: of several ranks, each computes the gradients
    of some batches, and all get the same numbers.
    """
    chosen = list(dict.fromkeys(name for names in layers.values() for name in names))
    device, dtype = home(model), number_type(model)
    batch_size = batch_size or min(128, default_batch(pixels.shape[-1]))  # memory as of a step
    ranks, rank = (runtime.world_size, runtime.rank) if runtime else (1, 0)
    weights = {name: parameter.detach() for name, parameter in model.named_parameters()}
    learning = [weights[name].requires_grad_() for name in chosen]
    sums = [torch.zeros_like(weight) for weight in learning]
    with pgd.evaluating(model), true_float32(device), torch.enable_grad():
        for start in range(rank * batch_size, len(pixels), ranks * batch_size):
            images = to_float(pixels[start : start + batch_size].to(device), dtype)
            truth = labels[start : start + batch_size].to(device)
            logits = at_least_float32(functional_call(model, weights, (images,)))
            loss = F.cross_entropy(logits, truth, reduction="sum") / len(pixels)
            if loss.requires_grad:  # not where none of these parameters is used
                made = torch.autograd.grad(loss, learning, materialize_grads=True)
                torch._foreach_add_(sums, made)
    if runtime:
        for each in sums:
            runtime.sum_(each)
    means = {
        name: _mean([each for key, each in zip(chosen, sums, strict=True) if key in names])
        for name, names in layers.items()
    }
    shared: dict[str, float] = runtime.shared(means) if runtime else means
    return shared


def _mean(gradients: Sequence[Tensor]) -> float:
    """The mean absolute value of all numbers in these."""
    total = sum(float(each.abs().sum()) for each in gradients)
    return total / sum(each.numel() for each in gradients)
