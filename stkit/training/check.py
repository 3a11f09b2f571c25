"""`check`: does a protection work? Short trainings on published and on clean images, side by side.

Both see the same images, settings and seed, and are tested on clean images that neither saw. The
published ones are trained on again after each of a few preparations: what a trainer who looks may
do. A large net that trains for long may still come to another end than a small one that does not.
"""

from collections.abc import Callable, Sequence
from dataclasses import replace
from itertools import count
from pathlib import PurePosixPath

import torch

from stkit.core.checks import whole
from stkit.core.errors import DataError
from stkit.core.rng import stream
from stkit.data.holdout import split
from stkit.data.images import Images, require
from stkit.data.perturbation import matching
from stkit.data.sampling import balanced
from stkit.data.sources import resized
from stkit.engine.process import settings
from stkit.engine.runtime import Runtime, pick
from stkit.measure import separability
from stkit.measure.accuracy import evaluate
from stkit.measure.comparison import Comparison, compare
from stkit.measure.similarity import ssim
from stkit.recipes import check as recipe
from stkit.recipes.check import AGAINST, FIFTHS, Trial
from stkit.recipes.frames import NATURAL
from stkit.recipes.probe import least
from stkit.training.checked import Checked
from stkit.training.run import train

Progress = Callable[[int, int], object]
REMEDY = "pass the clean set they were made from, and its split"


def check(
    poisoned: Images,
    clean: Images,
    against: Sequence[str] = AGAINST,
    *,
    trial: Trial = Trial(),  # noqa: B008 - frozen
    size: int | None = None,
    seed: int = 0,
    runtime: Runtime | None = None,
    on_progress: Progress | None = None,
) -> Checked:
    """Whether published images protect what they show from being learned, and what undoes that.

    poisoned: the images as published. clean: the originals, rows matched by `index`; there may be
    more of them. against: what the published ones are trained on with besides, lists as `train`
    has them for `augment`. trial: how long, and on how many images. size: of the squares that both
    are looked at as; None: as they are, but of 64x64 pixels at most. seed: of every draw. runtime:
    where to train; None: see `pick`. on_progress: called with (done, total).

    RecipeError for what `train` does not know. DataError where the two do not belong together, no
    image was changed, or they are too few or of one class.

        check(poison(images, SP()), images).verdict
    """
    require(poisoned, "check")
    require(clean, "clean")
    whole("seed", seed, 0, 2**32 - 1)
    lists = recipe.against(list(against))
    poisoned, clean, reduced = _looked_at(poisoned, clean, trial, size, seed)
    compared = compare(poisoned, clean)
    _one_of_each(compared, len(poisoned))
    keep, held = split(poisoned, len(poisoned) // FIFTHS, seed)
    total = 2 * len(recipe.probes(lists)) + trial.epochs * (2 + len(lists))
    told, done = on_progress or (lambda done, total: None), count(1)

    def tick(*_: object) -> None:
        told(next(done), total)

    runtime = runtime or pick("auto")
    with settings(runtime):
        changed = (poisoned.pixels != clean.pixels).flatten(1).any(1)
        alike = ssim(poisoned.pixels[changed], clean.pixels[changed]).mean()
        probed, probed_clean = (
            separability.probe(each, recipe.probes(lists), seed=seed, on_reading=tick)
            for each in (poisoned, clean)
        )

    def learned(images: Images, augment: str | None = None) -> float:
        run = train(
            images.rows(keep), NATURAL, model=trial.model, augment=augment, epochs=trial.epochs,
            batch_size=trial.batch(len(keep)), seed=seed, runtime=runtime, on_epoch=tick,
        )  # fmt: skip
        return evaluate(run.model, clean.rows(held), runtime=runtime).accuracy

    return Checked(
        images=len(poisoned), trained_on=len(keep), held_out=len(held),
        classes=probed.classes, size=poisoned.size, reduced=reduced,
        trial=replace(trial, images=len(poisoned), batch_size=trial.batch(len(keep))),
        comparison=compared, ssim=float(alike), probed=probed, probed_clean=probed_clean,
        clean=learned(clean), poisoned=learned(poisoned),
        prepared={each: learned(poisoned, each) for each in lists},
    )  # fmt: skip


def _looked_at(
    poisoned: Images, clean: Images, trial: Trial, size: int | None, seed: int
) -> tuple[Images, Images, bool]:
    """The images to look at, class-balanced, and their originals; whether they were reduced
    unasked.

    DataError where they do not belong together, or are too few.
    """
    clean = _originals(poisoned, clean)
    height, width = poisoned.pixels.shape[-2:]
    side = recipe.side(height, width, size)
    classes = int((poisoned.labels.bincount() > 0).sum())
    shuffled = torch.randperm(len(poisoned), generator=stream(seed, "check"))
    rows = shuffled[balanced(poisoned.labels[shuffled], trial.count(side))].sort().values
    if classes > 1 and len(rows) < least(classes):
        raise DataError(
            f"found {len(rows)} images of {classes} classes, expected {least(classes)} or more, "
            "of which a fifth is held out; pass the whole set"
        )
    first, second = (_square(each.rows(rows), side) for each in (poisoned, clean))
    return first, second, size is None and (height, width) != (side, side)


def _originals(poisoned: Images, clean: Images) -> Images:
    """The original of each image. DataError where the two do not belong together."""
    if poisoned.classes != clean.classes:
        both = [f"{len(each.classes)}, {each.classes[0]}, ..." for each in (poisoned, clean)]
        raise DataError(
            f"the published images are of other classes ({both[0]}) than the clean ones "
            f"({both[1]}); {REMEDY}"
        )
    clean = clean.rows(matching(poisoned, clean))
    others = int((poisoned.labels != clean.labels).sum())
    if others:
        raise DataError(
            f"{others} of {len(poisoned)} published images have another label than the clean image "
            f"of the same index, expected the same; {REMEDY}"
        )
    if poisoned.names is not None and clean.names is not None:
        for name, other in zip(poisoned.names, clean.names, strict=True):
            if PurePosixPath(name).with_suffix("") != PurePosixPath(other).with_suffix(""):
                raise DataError(
                    f"{name} of the published images stands where {other} does of the clean ones, "
                    "expected the same names; pass the whole of both folders"
                )
    return clean


def _one_of_each(compared: Comparison, images: int) -> None:
    """DataError where nothing was changed, or images are not the originals of each other."""
    if compared.poisoned_share == 0:
        raise DataError(
            f"none of {images} published images differs from its clean one, expected a change; "
            "pass the images as they are published first, the originals as clean"
        )
    if not compared.aligned:
        raise DataError(
            "published images are nearer to other clean images than to their own, expected the "
            f"same in the same order; {REMEDY}"
        )


def _square(images: Images, side: int) -> Images:
    """The images as squares of this side, as `stkit data --size` makes them."""
    return replace(images, pixels=resized(images.pixels, side))
