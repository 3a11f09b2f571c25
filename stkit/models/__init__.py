"""Models by name, and the two things the methods ask of any `nn.Module`: its layers and features.

To add a model, write a builder `(classes, size) -> nn.Module` and put it into `BUILDERS`, with a
line about it in `recipes.catalogue.MODELS`. Up to 64 pixels the nets are those for 32x32; above,
where timm has a net of the same name (`LARGE`), it is timm's, as the authors take torchvision's for
ImageNet.
"""

from collections.abc import Callable, Sequence

import torch
from torch import Tensor, nn

from stkit.core.errors import RecipeError
from stkit.core.rng import stream
from stkit.models import densenet, from_timm, resnet, vgg, wide_resnet
from stkit.models.activations import classifiers, features, layer_name, layer_names, named, several
from stkit.models.structure import layers, number_type, refuse_compiled
from stkit.recipes.catalogue import SMALL, TIMM, model_name

__all__ = [
    "BUILDERS", "classifiers", "create", "features", "layer_name", "layer_names", "layers", "named",
    "normalisation", "normalise", "several", "timm_name",
]  # fmt: skip

BUILDERS: dict[str, Callable[[int, int], nn.Module]] = {
    "resnet18": resnet.resnet18,
    "resnet50": resnet.resnet50,
    "vgg16-bn": vgg.vgg16_bn,
    "densenet121": densenet.densenet121,
    "wrn-28-10": wide_resnet.wrn_28_10,
    "wrn-34-10": wide_resnet.wrn_34_10,
    "small": resnet.small,
}
LARGE = {
    "resnet18": "resnet18",
    "resnet50": "resnet50",
    "vgg16-bn": "vgg16_bn",
    "densenet121": "densenet121",
}


def create(
    name: str,
    *,
    classes: int,
    size: int,
    seed: int = 0,
    mean: Sequence[float] = (0.0, 0.0, 0.0),
    std: Sequence[float] = (1.0, 1.0, 1.0),
    pretrained: bool = False,
) -> nn.Module:
    """A model with fresh weights drawn from the seed. It takes float [N,3,size,size] in [0,1].

    mean, std: a normalisation inside the model, in no `state_dict`. pretrained: with timm's weights
    but for a classifier of other classes. Errors: RecipeError for an unknown name, a size that the
    model cannot take, a model without pretrained weights; see also `from_timm.build`.
    """
    theirs = timm_name(name, size)
    if pretrained and theirs is None:
        raise RecipeError(
            f"there are no pretrained weights for {name} at {size}x{size} pixels; "
            f"leave out --pretrained, or pass a model of timm's, --model {TIMM}NAME"
        )
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(stream(seed, "init").initial_seed())
        if theirs is None:
            model = BUILDERS[name](classes, size)
        else:
            model = from_timm.build(theirs, classes, size, pretrained=pretrained)
    normalise(model, mean, std)
    return model


def timm_name(name: str, size: int) -> str | None:
    """What timm calls the model of this name for images of this size; None: it is one of ours."""
    if model_name(name).startswith(TIMM):
        return name.removeprefix(TIMM)
    return LARGE.get(name) if size > SMALL else None


def normalisation(name: str, size: int) -> tuple[tuple[float, ...], tuple[float, ...]]:
    """The mean and standard deviation that belong to a model: timm's own, none for ours."""
    theirs = timm_name(name, size)
    return ((0.0,) * 3, (1.0,) * 3) if theirs is None else from_timm.normalisation(theirs)


def normalise(model: nn.Module, mean: Sequence[float], std: Sequence[float]) -> None:
    """Make the model subtract `mean` and divide by `std` first, in the place of an earlier call's.

    Nothing is done where that is identity and no earlier call was. RecipeError: a compiled module.
    """
    refuse_compiled(model, f"a {type(model).__name__}")
    first = "stkit_mean" not in dict(model.named_buffers(recurse=False))
    if first and all(m == 0 for m in mean) and all(s == 1 for s in std):
        return
    device, dtype = next((p.device for p in model.parameters()), None), number_type(model)
    for key, value in (("stkit_mean", mean), ("stkit_std", std)):
        numbers = torch.tensor(value, dtype=dtype, device=device).view(1, 3, 1, 1)
        model.register_buffer(key, numbers, persistent=False)
    if first:
        model.register_forward_pre_hook(_standardise)


def _standardise(module: nn.Module, args: tuple[Tensor]) -> tuple[Tensor]:
    return ((args[0] - module.get_buffer("stkit_mean")) / module.get_buffer("stkit_std"),)
