"""How much of the labels a linear classifier reads off noise; how much of them a set gives away.

A linear classifier, and one on random convolutions, are fitted on some of the images and read the
labels of others, as published and after preparations. What natural images give away so is little
(CIFAR-10: 38 % and about 55 % of ten classes); a shortcut that a network would learn first is read
almost wholly, and a preparation that takes it away is seen by what is no longer read.

Both are fitted on images with the shortcut and read such: neither needs a clean image.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from stkit.core import arrays
from stkit.core.checks import whole
from stkit.core.errors import DataError, RecipeError
from stkit.core.rng import stream
from stkit.data.blocks import row_count
from stkit.data.images import Images, require
from stkit.data.perturbation import matching
from stkit.data.prepare import prepare
from stkit.data.sampling import balanced, place_by_class, rank_in_class
from stkit.engine.augment import augment
from stkit.measure import convolutions, ridge
from stkit.recipes.carried import rung
from stkit.recipes.probe import FIFTHS, PLAIN, PREPARED, SAMPLE, least, prepared, spelled

SIDE = 32  # larger images, and larger noise, are averaged down to this side


def separability(poisoned: Images, clean: Images) -> float | None:
    """Accuracy of a linear (ridge) classifier on the noise alone: 1 is a perfect shortcut.

    Rows are matched by `index`. Fitted on one half of each class and scored on the other, of 10,000
    images at most; None for fewer than four images or two classes. DataError when the two do not
    belong together.
    """
    if not torch.equal(poisoned.index, clean.index):
        clean = clean.rows(matching(poisoned, clean))
    if len(poisoned) < 4 or len(set(poisoned.labels.tolist())) < 2:
        return None
    from sklearn.linear_model import RidgeClassifier

    rows = balanced(poisoned.labels, SAMPLE)
    delta = poisoned.pixels[rows].float() - clean.pixels[rows].float()
    if delta.shape[-1] > SIDE:
        delta = torch.nn.functional.adaptive_avg_pool2d(delta, SIDE)
    x = (delta / delta.std().clamp_min(1e-9)).flatten(1).double().numpy()
    y = poisoned.labels[rows].numpy()
    halves = place_by_class(poisoned.labels[rows]).numpy() % 2  # every other one of a class
    fitted = RidgeClassifier().fit(x[halves == 0], y[halves == 0])
    return float(fitted.score(x[halves == 1], y[halves == 1]))


@dataclass(frozen=True)
class Reading:
    """The shares of the held-out labels that were read after some preparations.

    prepared: these, as `--augment` spells them, or "plain". linear: by a linear classifier of
    pixels. convolution: by one of random convolutions. mirrored: by the same off the images
    mirrored, which hardly changes what is read of things and all of what is fixed to its place.
    """

    prepared: str
    linear: float
    convolution: float
    mirrored: float


@dataclass(frozen=True, repr=False)
class Probed:
    """What was read, a `Reading` for each preparation, in the order in which they were asked for.

    chance: the share of the most frequent label among those read. fitted, read: images. side: of
    the grid that they were reduced to, None where they were not. gray: they have no colours, so
    that `gray` changes nothing.
    """

    readings: tuple[Reading, ...]
    chance: float
    fitted: int
    read: int
    classes: int
    side: int | None
    gray: bool

    def __repr__(self) -> str:
        first = self.readings[0]
        return f"Probed({first.prepared}: linear {first.linear:.3f}, chance {self.chance:.3f})"

    def __getitem__(self, name: str) -> Reading:
        """The reading after these preparations, in any spelling: `jpeg` is `jpeg-10`.

        RecipeError where there is none.
        """
        wanted, known = spelled(prepared(name)), {each.prepared: each for each in self.readings}
        if wanted not in known:
            raise RecipeError(
                f"found no reading after {wanted!r}, expected one of {'; '.join(known)}; "
                "ask probe for it"
            )
        return known[wanted]

    @property
    def verdict(self) -> str:
        """In a sentence what was read after the first preparations, and least after others.

        It does not say whether that is natural, as it is of digits: how much is read of images that
        are known to be clean says so, how much of it mild preparations take away, and a mirror
        where it makes no other class, as it does of digits.
        """
        told = ["Linearly readable: " + self._told([each.linear for each in self.readings])]
        told.append(
            "by random convolutions: " + self._told([each.convolution for each in self.readings])
        )
        told.append(f"by these off the images mirrored {self.readings[0].mirrored:.1%}")
        told.append(f"chance is {self.chance:.1%}")
        if self.side is not None:
            told.append(f"larger images were reduced to {self.side}x{self.side}")
        if self.gray:
            told.append("the images are grey already, gray changes nothing")
        return "; ".join(told) + "."

    def _told(self, shares: list[float]) -> str:
        """The first share, and the least where that is another one."""
        names = [each.prepared for each in self.readings]
        first = "as published" if names[0] == PLAIN else f"after {names[0]}"
        least_read = shares.index(min(shares))
        after = f", {shares[least_read]:.1%} after {names[least_read]}" if least_read else ""
        return f"{shares[0]:.1%} of the labels of {self.read:,} held-out images {first}{after}"


def probe(
    images: Images,
    preparations: Sequence[str] = PREPARED,
    *,
    seed: int = 0,
    on_reading: Callable[[int, int], None] | None = None,
) -> Probed:
    """How much of the labels of held-out published images is read without learning.

    preparations: comma lists such as "gray,jpeg-30", or "plain". seed: of the draw of 10,000 images
    at most, class-balanced, of which a fifth is held out, of the filters, and of `orthogonal`,
    which is fitted on the others. on_reading: called with (done, total). Larger images are reduced
    to 32x32 after the preparation: by averages for the linear classifier, to their middle for the
    convolutions, which look at neighbouring pixels.

    RecipeError: an unknown preparation. DataError: one class, or too few images.

        probe(poison(images, SP()), ["plain", "gray"])["gray"].linear
    """
    require(images, "probe")
    whole("seed", seed, 0, 2**32 - 1)
    lists = list(dict.fromkeys(prepared(text) for text in preparations))
    if not lists:
        raise RecipeError("found no preparations, expected one or more; pass ['plain']")
    fitted, held = _drawn(images, seed)
    chosen = _taken(images, torch.cat([fitted, held]))
    known, labels = chosen.labels.unique(return_inverse=True)
    readings = []
    for done, names in enumerate(lists, 1):
        pixels = prepare(chosen, names, seed=seed, fitted=len(fitted)).pixels
        linear = _linear(pixels, labels, len(fitted))
        seen = _convolved(pixels, labels, len(fitted), seed)
        readings.append(Reading(spelled(names), linear, *seen))
        if on_reading:
            on_reading(done, len(lists))
    height, width = chosen.pixels.shape[-2:]
    return Probed(
        readings=tuple(readings),
        chance=float(labels[len(fitted) :].bincount().max()) / len(held),
        fitted=len(fitted), read=len(held), classes=len(known),
        side=SIDE if max(height, width) > SIDE else None,
        gray=all(bool((block == block[:, :1]).all()) for block in _blocks(chosen.pixels)),
    )  # fmt: skip


def _drawn(images: Images, seed: int) -> tuple[Tensor, Tensor]:
    """The rows to fit on, and those to read. DataError where there are too few."""
    classes = int((images.labels.bincount() > 0).sum())
    if classes < 2:
        raise DataError("found images of one class, expected two or more: nothing is to be told")
    if len(images) < least(classes):
        raise DataError(
            f"found {len(images)} images of {classes} classes, expected {least(classes)} or more, "
            "of which a fifth is held out; pass the whole set"
        )
    shuffled = torch.randperm(len(images), generator=stream(seed, "probe"))
    rows = shuffled[balanced(images.labels[shuffled], SAMPLE)]
    held = rank_in_class(images.labels[rows]) % FIFTHS == FIFTHS - 1
    return rows[~held], rows[held]


def _taken(images: Images, rows: Tensor) -> Images:
    """These rows; their pixels lie in a file where they do not fit into memory."""
    shape = (len(rows), *images.pixels.shape[1:])
    pixels = torch.from_numpy(arrays.zeros(shape, np.uint8))
    for taken, some in zip(_blocks(pixels), rows.split(row_count(pixels)), strict=True):
        taken.copy_(images.pixels[some])
    head = {**images.header, "digest": ""}
    return Images(pixels, images.labels[rows], images.index[rows], head)


def _blocks(pixels: Tensor) -> tuple[Tensor, ...]:
    """Blocks of rows, see `data.blocks`."""
    return torch.split(pixels, row_count(pixels))


def convolved(
    images: Images, rungs: Sequence[str], *, seed: int = 0
) -> dict[str, tuple[float, float]]:
    """What `probe` reads by random convolutions after each of these, off the images and off them
    mirrored, at a third of its cost. Each is a list as `--augment` has it, with crop and flip only
    where they are named; augmentations are drawn once for every image, and take square ones."""
    fitted, held = _drawn(images, seed)
    chosen = _taken(images, torch.cat([fitted, held]))
    known, count = chosen.labels.unique(return_inverse=True)[1], len(fitted)
    read = {}
    for text in rungs:
        carried = rung(f"none,{text}")
        pixels = prepare(chosen, carried.prepare, seed=seed, fitted=count).pixels
        if carried.augment:
            pixels = _augmented(pixels, carried.augment, seed)
        read[text] = _convolved(pixels, known, count, seed)
    return read


def _augmented(pixels: Tensor, names: tuple[str, ...], seed: int) -> Tensor:
    """The middle of each image, after a draw of its own."""
    made = []
    for clock, block in enumerate(_blocks(pixels)):
        images = augment(block.float() / 255, names, seed=seed, clock=clock)
        made.append((_middle(images) * 255).round().byte())
    return torch.cat(made)


def _linear(pixels: Tensor, labels: Tensor, count: int) -> float:
    """What a linear classifier, fitted on the first `count` images, reads off the others."""
    grid, classes = _reduced(pixels), int(labels.max()) + 1
    told = ridge.pixel_scores(grid[:count], labels[:count], grid[count:], classes).argmax(1)
    return float((told == labels[count:]).double().mean())


def _convolved(pixels: Tensor, labels: Tensor, count: int, seed: int) -> tuple[float, float]:
    """What one of random convolutions reads off them, and off them mirrored."""
    middle, classes = _middle(pixels), int(labels.max()) + 1
    of = convolutions.filters(middle[:count], seed)
    known, held = convolutions.features(middle[:count], of), middle[count:]
    asked = torch.cat([convolutions.features(each, of) for each in (held, held.flip(-1))])
    told = ridge.feature_scores(known, labels[:count], asked, classes).argmax(1)
    right = (told.view(2, -1) == labels[count:]).double().mean(1)
    return float(right[0]), float(right[1])


def _reduced(pixels: Tensor) -> Tensor:
    """Averages on a grid of 32x32 where there are more pixels, to the nearest grey level."""
    height, width = (min(SIDE, side) for side in pixels.shape[-2:])
    if (height, width) == pixels.shape[-2:]:
        return pixels
    return torch.cat(
        [
            torch.nn.functional.adaptive_avg_pool2d(block.float(), (height, width)).round().byte()
            for block in _blocks(pixels)
        ]
    )


def _middle(pixels: Tensor) -> Tensor:
    """The 32x32 pixels in the middle."""
    height, width = pixels.shape[-2:]
    top, left = (max(0, side - SIDE) // 2 for side in (height, width))
    return pixels[..., top : top + SIDE, left : left + SIDE]
