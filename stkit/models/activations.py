"""Activations of any model: the input of its classifier (for ACM), or the output of any layer."""

from collections import deque

import torch
from torch import Tensor, nn

from stkit.core.checks import nearest
from stkit.core.errors import RecipeError
from stkit.models.structure import check, heads, layers

SEQUENCES = (nn.Conv1d, nn.BatchNorm1d)
"""What puts out [N,C,L]; any other output of three dimensions is [N,L,C], as transformers have."""


def features(model: nn.Module, images: Tensor, layer: str | int | None = None) -> Tensor:
    """The activations of one layer, float32 [N,D].

    model: any `nn.Module`; it stays in the mode it is in. images: float [N,3,H,W], as it takes
    them. layer: None, the penultimate activation, which is the input of the classifier, flattened.
    The classifier is what timm calls so, else the linear layer that is called last; of two (one for
    a class token, one for a distillation token) the inputs are put side by side. A number: the
    output of that layer of `layers`, counted from 1 at the input, with the norm that belongs to it.
    A name: the output of that module. Outputs are averaged over space, or over a transformer's
    tokens. RecipeError: no such layer, or what it puts out is no [N,...] of numbers.

        features(model, images)               # [N,512] of a ResNet-18
        features(model, images, "layer1.0")   # [N,64]
    """
    if layer is None:
        return _penultimate(model, images)
    name = layer if isinstance(layer, str) else layer_name(model, layer, images.shape[-1])
    modules = dict(model.named_modules())
    if name not in modules:
        raise RecipeError(nearest("layer", name, [known for known in modules if known]))
    caught: deque[object] = deque(maxlen=1)
    hook = modules[name].register_forward_hook(lambda _, args, output: caught.append(output))
    try:
        model(images)
    finally:
        hook.remove()
    output = next((value for value in caught if isinstance(value, Tensor)), None)
    if output is None or output.ndim < 2:
        raise RecipeError(f"layer {name!r} puts out no [N,...] of numbers, expected one that does")
    return pooled(output, modules[name]).float()


def layer_name(model: nn.Module, number: int, size: int) -> str:
    """The module whose output is that of layer `number`, counted from 1 at the input.

    It is the last of the layer's modules to be called: a norm where it follows, else the
    convolution or the linear module itself. One pass of a black image of this size. RecipeError:
    there is no layer of this number.
    """
    counted = layers(model, size)
    if not 1 <= number <= len(counted):
        raise RecipeError(f"layer is {number}, expected a number from 1 to {len(counted)}, or None")
    owners = {parameter.rpartition(".")[0] for parameter in counted[number - 1]}
    called: deque[str] = deque(maxlen=1)
    hooks = [
        module.register_forward_hook(lambda *_, name=name: called.append(name))
        for name, module in model.named_modules()
        if name in owners and not any(module.children())
    ]
    try:
        check(model, size, what=f"a {type(model).__name__}")
    finally:
        for hook in hooks:
            hook.remove()
    if not called:
        raise RecipeError(f"layer {number} is computed without a module; name one around it")
    return called[0]


def pooled(output: Tensor, module: nn.Module) -> Tensor:
    """An output of this module averaged over all but images and channels, [N,D].

    Channels come last after a linear layer or a LayerNorm over the last dimension, and in three
    dimensions; else second.
    """
    flat = isinstance(module, nn.LayerNorm) and not type(module).__name__.endswith("2d")
    last = flat or isinstance(module, nn.Linear)
    if output.ndim == 3 and not isinstance(module, SEQUENCES):
        last = True
    space = range(1, output.ndim - 1) if last else range(2, output.ndim)
    return output.mean(tuple(space)) if len(space) else output


def classifiers(model: nn.Module) -> list[nn.Module]:
    """The conv or linear modules that make the logits of a model by name: one, or two heads."""
    linear: list[nn.Module] = [m for m in model.modules() if isinstance(m, nn.Linear)]
    return heads(model) or linear[-1:]


def _penultimate(model: nn.Module, images: Tensor) -> Tensor:
    known = heads(model)
    caught: deque[Tensor] = deque(maxlen=len(known) or 1)
    watched = known or [m for m in model.modules() if isinstance(m, nn.Linear)]
    hooks = [m.register_forward_pre_hook(lambda _, args: caught.append(args[0])) for m in watched]
    try:
        model(images)
    finally:
        for hook in hooks:
            hook.remove()
    if not caught:
        raise RecipeError("this model calls no linear layer, whose input would count; name a layer")
    return torch.cat([tensor.flatten(1).float() for tensor in caught], 1)
