"""The features of a model's layers on a set of images, exactly and on any number of ranks."""

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from stkit import models
from stkit.data.images import to_float
from stkit.engine import pgd
from stkit.engine.runtime import Runtime
from stkit.measure.accuracy import default_batch
from stkit.measure.clusters import true_float32
from stkit.measure.subject import home
from stkit.models.structure import number_type


@torch.no_grad()
def features(
    model: nn.Module,
    pixels: Tensor,
    layers: Sequence[str | int | None],
    *,
    batch_size: int | None = None,
    runtime: Runtime | None = None,
) -> list[Tensor]:
    """The features [N,D] of each layer (`models.features`), of one pass in eval mode and true
    float32, or the model's own type.

    pixels: uint8 [N,3,H,W], or float in [0,1], on any device, not augmented. The model computes
    where it is, and every module is left in the mode it was in. runtime: of several ranks, each
    computes the features of some batches, and all get the same.
    """
    device, dtype = home(model), number_type(model)
    batch_size = batch_size or min(500, default_batch(pixels.shape[-1]))
    ranks, rank = (runtime.world_size, runtime.rank) if runtime else (1, 0)
    made: list[Tensor] = []
    with pgd.evaluating(model), true_float32(device):
        names = models.named(model, layers, pixels.shape[-1])
        for start in range(rank * batch_size, len(pixels), ranks * batch_size):
            batch = pixels[start : start + batch_size].to(device)
            some = models.several(model, to_float(batch, dtype), names)
            made = made or [each.new_zeros(len(pixels), each.shape[1]) for each in some]
            for each, rows in zip(made, some, strict=True):
                each[start : start + batch_size] = rows
    if runtime and ranks > 1:
        widths = runtime.shared([(each.shape[1], each.dtype) for each in made])
        made = made or [  # rank 0 never is without a batch
            torch.zeros(len(pixels), width, dtype=dtype, device=device) for width, dtype in widths
        ]
        for each in made:
            runtime.sum_(each)  # each row comes from one rank, the others have zeros there
    return made
