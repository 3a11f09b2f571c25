"""Activations of any model: the input of its classifier (for ACM), or the output of any layer."""

from collections import deque
from collections.abc import Sequence

import torch
from torch import Tensor, nn

from stkit.core.checks import nearest
from stkit.core.errors import RecipeError
from stkit.models.structure import check, heads, layers

SEQUENCES = (nn.Conv1d, nn.BatchNorm1d)
"""What puts out [N,C,L]; any other output of three dimensions is [N,L,C], as transformers have."""
MAPS = (nn.Conv2d, nn.BatchNorm2d)
"""What puts out [N,C,H,W] in every net."""


def features(model: nn.Module, images: Tensor, layer: str | int | None = None) -> Tensor:
    """The activations of one layer, float32 [N,D].

    model: any `nn.Module`; it stays in the mode it is in. images: float [N,3,H,W], as it takes
    them. layer: None, the penultimate activation, which is the input of the classifier, flattened.
    The classifier is what timm calls so, else the linear layer that is called last; of two (one for
    a class token, one for a distillation token) the inputs are put side by side. A number: the
    output of that layer of `layers`, counted from 1 at the input, with the norm that belongs to it.
    A name: the output of that module. Outputs are averaged over space, or over a transformer's
    tokens, as they come: before anything that works in place changes them. RecipeError: no such
    layer, or what it puts out is no [N,...] of numbers.

        features(model, images)               # [N,512] of a ResNet-18
        features(model, images, "layer1.0")   # [N,64]
    """
    return several(model, images, (layer,))[0]


def several(
    model: nn.Module, images: Tensor, layers: Sequence[str | int | None]
) -> tuple[Tensor, ...]:
    """The `features` of several layers, of one forward pass."""
    names = named(model, layers, images.shape[-1])
    modules = dict(model.named_modules())
    outputs: dict[str, Tensor | None] = {}
    nhwc = getattr(model, "output_fmt", "") == "NHWC"

    def keep(name: str, output: object) -> None:
        outputs[name] = None
        if isinstance(output, Tensor) and output.ndim > 1 and output.is_floating_point():
            outputs[name] = pooled(output, modules[name], nhwc=nhwc).float()

    hooks = [
        modules[name].register_forward_hook(lambda _, args, output, name=name: keep(name, output))
        for name in dict.fromkeys(names)
        if name is not None
    ]
    try:
        if None in names:
            penultimate = _penultimate(model, images)
        else:
            model(images)
    finally:
        for hook in hooks:
            hook.remove()
    made = [penultimate if name is None else outputs.get(name) for name in names]
    for name, each in zip(names, made, strict=True):
        if each is None:
            raise RecipeError(
                f"layer {name!r} puts out no [N,...] of numbers, expected one that does"
            )
    return tuple(each for each in made if each is not None)


def named(
    model: nn.Module, layers: Sequence[str | int | None], size: int
) -> tuple[str | None, ...]:
    """The modules whose outputs are the features of these layers; None: the penultimate ones.

    size: the side of the images. RecipeError: no such layer, with the nearest names.
    """
    counted = layer_names(model, size) if any(isinstance(each, int) for each in layers) else []
    known = [name for name, _ in model.named_modules() if name]
    for layer in layers:
        if isinstance(layer, str) and layer not in known:
            raise RecipeError(nearest("layer", layer, known))
        if isinstance(layer, int) and not 1 <= layer <= len(counted):
            raise RecipeError(f"layer is {layer}, expected a number from 1 to {len(counted)}")
    names = [counted[each - 1] if isinstance(each, int) else each for each in layers]
    for layer, name in zip(layers, names, strict=True):
        if name is None and layer is not None:
            raise RecipeError(f"layer {layer} is computed without a module; name one around it")
    return tuple(names)


def layer_name(model: nn.Module, number: int, size: int) -> str:
    """The module whose output is that of layer `number`, see `layer_names`. RecipeError: there is
    no layer of this number."""
    (name,) = named(model, (number,), size)
    assert name is not None
    return name


def layer_names(model: nn.Module, size: int) -> list[str | None]:
    """The module whose output is that of each layer of `layers`, in their order from the input.

    It is the last of the layer's modules to be called: a norm where it follows, else the
    convolution or the linear module itself; None where a layer is computed without one. size: the
    side of the images, of which a black one is passed.
    """
    counted = layers(model, size)
    owners = {
        parameter.rpartition(".")[0]: number
        for number, parameters in enumerate(counted)
        for parameter in parameters
    }
    names: list[str | None] = [None] * len(counted)

    def called(name: str) -> None:
        names[owners[name]] = name

    hooks = [
        module.register_forward_hook(lambda *_, name=name: called(name))
        for name, module in model.named_modules()
        if name in owners and not any(module.children())
    ]
    try:
        check(model, size, what=f"a {type(model).__name__}")
    finally:
        for hook in hooks:
            hook.remove()
    return names


def pooled(output: Tensor, module: nn.Module, *, nhwc: bool = False) -> Tensor:
    """An output of this module averaged over all but images and channels, [N,D].

    Channels come last after a linear layer or a LayerNorm over the last dimension, and in three
    dimensions; else second. nhwc: in four too, but after a convolution; so timm says of Swin.
    """
    flat = isinstance(module, nn.LayerNorm) and not type(module).__name__.endswith("2d")
    last = flat or isinstance(module, nn.Linear)
    if output.ndim == 3 and not isinstance(module, SEQUENCES):
        last = True
    if nhwc and output.ndim == 4 and not isinstance(module, MAPS):
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
