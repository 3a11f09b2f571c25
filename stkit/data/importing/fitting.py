"""Whether imported noise or images belong to a clean set: count, order, frame, size, labels.

A released file says nothing of what it was made for, so everything that can be checked is.
"""

import numpy as np
import torch
from torch import Tensor

from stkit.core import lineage
from stkit.core.errors import DataError
from stkit.data import perturbation
from stkit.data.images import Images

FULL = {"cifar10": {"train": 50_000, "test": 10_000}, "cifar100": {"train": 50_000, "test": 10_000}}
SLACK = 1e-5  # of an epsilon, in [0,1]: float32, and the hair that exporting adds
SAMPLE = 512  # images of which it is checked that they are nearest to their own clean image
SIDE = 8  # and to this side they are averaged down before
OWN = 0.9  # the share that must be: some images of a data set are near copies of others


def rows(count: int, clean: Images, *, order: str = "index") -> np.ndarray | None:
    """For each clean image its row in a file of `count` rows, int64 [N]; None where it has none.

    order: `rows` for a file of as many rows as the clean set has, in their order.
    Files are in the order of the clean set's `index`: a row for each image there is. Where the
    clean set is a part of CIFAR or of a folder (--limit), the file may be of all of it.
    """
    index = clean.index.numpy()
    if count == len(clean) and order == "rows":
        return np.arange(count)
    if count == len(clean):
        return index.argsort(kind="stable").argsort(kind="stable")
    made = lineage.of(clean.header)
    if not made.limited or made.source not in (*FULL, "folder") or count <= index.max():
        return None
    whole = FULL.get(made.source, {}).get(clean.header["split"], count)
    return index if whole == count else None


def frame(shape: tuple[int, ...], clean: Images, what: str, *, last: bool = False) -> None:
    """DataError unless images or noise of this shape, [N,3,H,W] or (last) [N,H,W,3], fit."""
    want = tuple(clean.pixels.shape[1:])
    order = "[N,H,W,3]" if last else "[N,3,H,W]"
    if len(shape) != 4 or shape[-1 if last else 1] != 3:
        raise DataError(f"{what} is {list(shape)}, expected {order} with 3 channels")
    have = (3, *(shape[1:3] if last else shape[2:]))
    if have != want:
        raise DataError(
            f"{what} is for {have[2]}x{have[1]} images, the clean ones are {want[2]}x{want[1]}; "
            "noise is never resized: pass the clean images in the frame it was made for"
        )
    if not shape[0]:
        raise DataError(f"{what} is empty, {list(shape)}")


def extremes(values: np.ndarray, what: str) -> tuple[float, float]:
    """The least and the greatest value, of at least one. DataError where one is NaN or infinite."""
    low, high = np.inf, -np.inf
    for piece in perturbation.pieces(len(values), values[0].size):
        least, greatest = float(values[piece].min()), float(values[piece].max())
        if not np.isfinite((least, greatest)).all():
            bad = ~np.isfinite(values[piece].reshape(-1, values[0].size)).all(1)
            raise DataError(
                f"{what} holds NaN or infinity, first in row {piece.start + int(bad.argmax())} "
                f"of {len(values)}; get the file again"
            )
        low, high = min(low, least), max(high, greatest)
    return low, high


def within(size: float, epsilon: float | None, cap: float, what: str) -> None:
    """DataError if the size of noise is over epsilon, or, where none was stated, over the cap."""
    bound = cap if epsilon is None else epsilon
    if size <= bound + SLACK:
        return
    over = f"{size * 255:.4g}/255, {(size - bound) * 255:.4g}/255 more than"
    if epsilon is None:
        raise DataError(
            f"{what} is up to {over} the {cap * 255:.4g}/255 that is plausible in [0,1] units; "
            "pass --epsilon if it is meant to be as large"
        )
    raise DataError(
        f"{what} is up to {over} the epsilon {epsilon * 255:.4g}/255; "
        "pass the epsilon it was made with, or another file"
    )


def same_labels(labels: np.ndarray, clean: np.ndarray) -> None:
    """DataError unless the labels of the file are those of the clean images in its order."""
    wrong = int((labels != clean).sum())
    if wrong:
        raise DataError(
            f"the labels differ from the clean set's in {wrong} of {len(clean)} images; "
            "pass the clean set in the order the file was made for, and its split"
        )


def aligned(images: Tensor, clean: Tensor) -> None:
    """DataError unless images uint8 [N,3,H,W] are nearest to their own clean image, mostly.

    `SAMPLE` images, evenly spaced, are compared with the clean images of the same sample.
    """
    own = share_of_own(images, clean)
    if own < OWN:
        raise DataError(
            f"only {own:.0%} of the images are nearest to their own clean image, expected nearly "
            "all; the file is in another order or of another set: pass the clean set it belongs to"
        )


def share_of_own(images: Tensor, clean: Tensor) -> float:
    """The share of images uint8 [N,3,H,W], of those looked at, that are nearest to their own clean
    image."""
    if len(clean) < 2:
        return 1.0
    chosen = torch.linspace(0, len(clean) - 1, min(SAMPLE, len(clean))).long()
    distance = torch.cdist(small(images[chosen]), small(clean[chosen]))
    nearer = (distance < distance.diag()[:, None] * (1 - 1e-5)).any(1)
    return 1 - nearer.double().mean().item()


def small(images: Tensor) -> Tensor:
    """uint8 [N,3,H,W] averaged down to float32 [N,3*SIDE*SIDE], in grey levels."""
    height, width = (min(SIDE, length) for length in images.shape[-2:])
    return torch.nn.functional.adaptive_avg_pool2d(images.float(), (height, width)).flatten(1)


def partners(images: Tensor, labels: np.ndarray, clean: Images, epsilon: float) -> Tensor:
    """For each image of a file in an order of its own the clean row it was made from, int64 [N].

    The nearest clean image of its class: the four nearest of those averaged down, then pixel by
    pixel. DataError where that is farther away than epsilon anywhere.
    """
    rows = torch.empty(len(images), dtype=torch.int64)
    far = 0
    for label in np.unique(labels):
        mine = torch.from_numpy(np.flatnonzero(labels == label))
        there = (clean.labels == int(label)).nonzero().flatten()
        if not len(there):
            raise DataError(f"the clean set has no image of class {label}, but the file has")
        for some in torch.split(mine, max(1, (1 << 22) // images[0].numel())):
            distance = torch.cdist(small(images[some]), small(clean.pixels[there]))
            near = there[distance.topk(min(4, len(there)), largest=False).indices]
            delta = images[some][:, None].short() - clean.pixels[near].short()
            best = delta.float().square().flatten(2).sum(2).argmin(1)
            rows[some] = near[torch.arange(len(some)), best]
            peak = delta[torch.arange(len(some)), best].abs().flatten(1).amax(1)
            far += int((peak > np.ceil((epsilon - SLACK) * 255)).sum())
    if far:
        raise DataError(
            f"{far} of {len(images)} images are farther than {epsilon * 255:.4g}/255 from "
            "every clean image of their class; pass the clean set they were made from, or "
            "a larger --epsilon"
        )
    return rows


def overflow(levels: np.ndarray, images: np.ndarray) -> int:
    """The number of pixel values that the noise takes out of [0,255] by more than a grey level."""
    total = levels + images.astype(np.int16)
    return int(((total < -1) | (total > 256)).sum())
