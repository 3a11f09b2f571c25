"""What is done with a whole batch: mixup, CutMix, and the choice among augmented copies.

| name | what it does | source |
|---|---|---|
| mixup | lambda of one image and 1 - lambda of another, labels likewise | Zhang et al. 2018 |
| cutmix | a box of 1 - lambda of the area from another image | Yun et al. 2019 |

As in the authors' codes one lambda a batch, from Beta(1, 1), which is uniform; the box is clipped
at the border, and lambda is then the share that is left. Differences: the other image is the next
of the batch, where they draw a permutation, for batches come in random order as it is; and every
batch is mixed, as in the papers (CutMix's command for CIFAR mixes every second one). ISS mixes
twice with p 0.5, each image with a lambda of its own.

`choose` is the heart of UEraser-Max (Qin et al. 2023): of K = 5 augmented copies of an image the
one of largest loss counts. Their code takes the gradient of the largest loss through all copies,
which is that of the copy chosen; only the BatchNorm statistics are of another batch here.

As with augmentation, drawing is apart from applying, and nothing here waits for the device. Tables
have a row an image, so that a batch can be cut up.
"""

from collections.abc import Callable
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from stkit.core.checks import choose as known
from stkit.recipes.carried import MIXES


@dataclass(frozen=True)
class Mixed:
    """Images [N,3,H,W], the labels int64 [N] of each and of the one mixed in, and the share of the
    former, [N]."""

    pixels: Tensor
    labels: Tensor
    others: Tensor
    share: Tensor


def draw(
    name: str,
    count: int,
    size: int,
    generator: torch.Generator,
    device: torch.device | str | None = None,
) -> Tensor:
    """One draw for a batch: float32 [count,5], rows of lambda, top, bottom, left, right, all equal.

    On `device`, or where the generator is. RecipeError for a name that is not one of MIXES.
    """
    known("mix", name, MIXES)
    u = torch.rand(3, generator=generator, device=generator.device)
    half = ((size * (1 - u[:1]).sqrt()).floor() / 2).floor()
    centre = (u[1:] * size).floor()
    low, high = (centre - half).clamp(0, size), (centre + half).clamp(0, size)
    share = 1 - (high - low).prod(0, keepdim=True) / size**2 if name == "cutmix" else u[:1]
    row = torch.cat((share, torch.stack((low, high), 1).flatten()))
    return row.expand(count, -1).to(device or generator.device)


def apply(name: str, images: Tensor, labels: Tensor, table: Tensor) -> Mixed:
    """Float images [N,3,H,W] in [0,1], labels int64 [N], table [N,5] -> both mixed."""
    table = table.to(images.dtype)
    blended = BLENDS[name](images, images.roll(1, 0), table)
    return Mixed(blended, labels, labels.roll(1, 0), table[:, :1].flatten())


def _mixup(images: Tensor, others: Tensor, table: Tensor) -> Tensor:
    """Lambda of the image and the rest of the other."""
    return torch.lerp(others, images, table[:, :1, None, None])


def _cutmix(images: Tensor, others: Tensor, table: Tensor) -> Tensor:
    """The image with the box of the other."""
    top, bottom, left, right = torch.split(table[:, 1:], 1, 1)
    steps = torch.arange(images.shape[-1], device=images.device)
    rows, columns = (steps >= top) & (steps < bottom), (steps >= left) & (steps < right)
    return torch.where(rows[:, None, :, None] & columns[:, None, None, :], others, images)


BLENDS: dict[str, Callable[[Tensor, Tensor, Tensor], Tensor]] = {
    "mixup": _mixup,
    "cutmix": _cutmix,
}
"""Name -> (images, those mixed in, table as of `draw`) -> blended images."""
assert BLENDS.keys() == set(MIXES), BLENDS.keys() ^ set(MIXES)


def losses(logits: Tensor, mixed: Mixed) -> Tensor:
    """Each image's cross-entropy [N]: share times that of its label, plus the rest of the other."""
    own, other = (
        F.cross_entropy(logits, labels, reduction="none") for labels in (mixed.labels, mixed.others)
    )
    return torch.lerp(other, own, mixed.share.to(own.dtype))


def hits(logits: Tensor, mixed: Mixed) -> Tensor:
    """How many answers are right, a label counting as much as its share; without dimensions."""
    answers = logits.argmax(1)
    own, other = ((answers == labels).float() for labels in (mixed.labels, mixed.others))
    return torch.lerp(other, own, mixed.share.float()).sum()


def choose(losses: Tensor, images: Tensor) -> Tensor:
    """Losses [K,N] of K copies, images [K,N,...] -> [N,...]: each image's copy of largest loss.

    The first of equal ones; a loss that is NaN is the largest.
    """
    index = losses.argmax(0).view(1, -1, *(1,) * (images.ndim - 2))
    return images.gather(0, index.expand(1, *images.shape[1:])).squeeze(0)
