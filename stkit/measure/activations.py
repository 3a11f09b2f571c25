"""The mean activation of every channel of a layer, and how far apart those of two models are.

ST paper, Fig. 8: given clean images, a model trained by ST answers in its layers much as one that
was trained on clean images does, and one naturally trained on poisoned images does not.

The paper says neither which images these are nor how many. Nothing says which channel of one model
is which of another: two trainings number theirs as chance has it. So two models are compared by
their channels in the order of their means, which is the distribution that the paper speaks of; how
far channels of one number agree is there as well.
"""

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from stkit import models
from stkit.measure.features import features

DEPTHS = 4


def channel_means(
    model: nn.Module,
    pixels: Tensor,
    layers: Sequence[str | int | None],
    *,
    batch_size: int | None = None,
) -> list[Tensor]:
    """The mean of each channel over images and space, float64 [D] of each layer, on the CPU.

    pixels: uint8 [N,3,H,W], or float in [0,1], on any device. layers: as in `models.features`. The
    model computes where it is, in eval mode and true float32 or its own type, and every module is
    left in the mode it was in. RecipeError: no such layer, with the nearest names.
    """
    made = features(model, pixels, layers, batch_size=batch_size)
    return [each.cpu().double().mean(0) for each in made]


def depths(model: nn.Module, size: int) -> tuple[str | None, ...]:
    """Four layers spread over the depth: where the first, second and third quarter of the net's
    blocks end, and None, the penultimate activation.

    A block is a module that several layers are in, the largest of those that end with the same one;
    one that the classifier is in does not count. Of a ResNet-18 these are `layer1`, `layer2` and
    `layer3`, which end with its blocks 2, 4 and 6, as in Fig. 8. A net of fewer than four blocks is
    divided by its layers. size: the side of the images. Fewer, where the net has not so many.
    """
    groups = models.layers(model, size)
    inside: dict[str, set[int]] = {}  # module -> the layers in it; the largest stand first
    for number, parameters in enumerate(groups, 1):
        for parameter in parameters:
            words = parameter.split(".")
            for i in range(1, len(words)):
                inside.setdefault(".".join(words[:i]), set()).add(number)
    ends: dict[int, str] = {}
    for name, numbers in inside.items():
        if len(numbers) > 1 and max(numbers) < len(groups):  # the last is the classifier
            ends.setdefault(max(numbers), name)
    blocks = [ends[number] for number in sorted(ends)]
    if len(blocks) < DEPTHS:
        blocks = [name for name in models.layer_names(model, size)[:-1] if name is not None]
    places = [-(-len(blocks) * quarter // DEPTHS) - 1 for quarter in range(1, DEPTHS)]
    return (*dict.fromkeys(blocks[place] for place in places if blocks), None)


def distance(means: Tensor, other: Tensor) -> float:
    """How far two distributions of channel means [D] are apart, in units of the first's mean size.

    It is the mean difference of the channels in the order of their means (Wasserstein's distance)
    over the mean absolute value of `means`; 0 for equal ones, NaN where `means` are all 0.
    """
    gap = (means.sort().values - other.sort().values).abs().mean()
    return float(gap / means.abs().mean())


def correlation(means: Tensor, other: Tensor) -> float:
    """Pearson's, of channels of one number; NaN where either are all equal."""
    return float(torch.corrcoef(torch.stack([means, other]))[0, 1])
