"""What is done with a whole batch: mixup, CutMix, and the choice among augmented copies.

| name | what it does | source |
|---|---|---|
| mixup | lambda of one image and 1 - lambda of another, labels likewise | Zhang et al. 2018 |
| cutmix | a box of 1 - lambda of the area from another image | Yun et al. 2019 |

As in the authors' codes one lambda and one permutation a batch, lambda ~ Beta(1, 1), which is
uniform; the box is clipped at the border, and lambda is then the share that is left. Differences:
every batch is mixed, as in the papers (CutMix's command for CIFAR mixes every second one). ISS
mixes other images twice with p 0.5, each with its own lambda.

`choose` is the heart of UEraser-Max (Qin et al. 2023): of K = 5 augmented copies of an image the
one of largest loss counts. Their code takes the gradient of the largest loss through all copies,
which is that of the copy chosen; only the BatchNorm statistics are of another batch here.

As with augmentation, drawing is apart from applying, and nothing here waits for the device.
"""

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from stkit.parts import MIXES
from stkit.recipes import choose as known


@dataclass(frozen=True)
class Draws:
    """One draw for a batch of images of `size` x `size`.

    order: int64 [N], the image that each is mixed with. box: float32 [5], lambda, top, bottom, left
    and right; both on the device, and to be copied into where a step is captured.
    """

    name: str
    size: int
    order: Tensor
    box: Tensor


@dataclass(frozen=True)
class Mixed:
    """Images [N,3,H,W]; the labels [N] of the image itself and of the other; the share of the
    image itself, a tensor without dimensions."""

    images: Tensor
    labels: Tensor
    others: Tensor
    share: Tensor


def draw(
    name: str,
    count: int,
    size: int,
    generator: torch.Generator,
    device: torch.device | str | None = None,
) -> Draws:
    """A draw for `count` images; on `device`, or where the generator is.

    RecipeError for a name that is not one of MIXES.
    """
    known("mix", name, MIXES)
    order = torch.randperm(count, generator=generator, device=generator.device)
    u = torch.rand(3, generator=generator, device=generator.device)
    half = ((size * (1 - u[:1]).sqrt()).floor() / 2).floor()
    centre = (u[1:] * size).floor()
    low, high = (centre - half).clamp(0, size), (centre + half).clamp(0, size)
    share = u[:1] if name == "mixup" else 1 - (high - low).prod() / size**2
    box = torch.cat((share.view(1), torch.stack((low, high), 1).flatten()))
    place = device or generator.device
    return Draws(name, size, order.to(place), box.to(place))


def apply(images: Tensor, labels: Tensor, draws: Draws) -> Mixed:
    """Float images [N,3,H,W] in [0,1] and labels int64 [N] -> both mixed; no synchronisation."""
    assert images.shape[2:] == (draws.size, draws.size) and len(images) == len(draws.order)
    share, top, bottom, left, right = draws.box.to(images.dtype)
    other = images[draws.order]
    if draws.name == "mixup":
        blended = share * images + (1 - share) * other
    else:
        steps = torch.arange(draws.size, device=images.device)
        rows, columns = (steps >= top) & (steps < bottom), (steps >= left) & (steps < right)
        blended = torch.where(rows[:, None] & columns, other, images)
    return Mixed(blended, labels, labels[draws.order], share)


def cross_entropy(logits: Tensor, mixed: Mixed) -> Tensor:
    """The mean loss: share times that of the image's label, plus the rest of the other's."""
    own, other = (F.cross_entropy(logits, labels) for labels in (mixed.labels, mixed.others))
    share = mixed.share.to(own.dtype)
    return share * own + (1 - share) * other


def hits(logits: Tensor, mixed: Mixed) -> Tensor:
    """How many answers are right, a label counting as much as its share."""
    answers = logits.argmax(1)
    own, other = ((answers == labels).sum() for labels in (mixed.labels, mixed.others))
    return mixed.share * own + (1 - mixed.share) * other


def choose(losses: Tensor, images: Tensor) -> Tensor:
    """Losses [K,N] of K copies, images [K,N,...] -> [N,...]: each image's copy of largest loss.

    The first of equal ones; a loss that is NaN is the largest.
    """
    index = losses.argmax(0).view(1, -1, *(1,) * (images.ndim - 2))
    return images.gather(0, index.expand(1, *images.shape[1:])).squeeze(0)
