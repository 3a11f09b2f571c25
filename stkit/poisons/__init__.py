"""Poisons: a recipe and clean images in, the published data set out. One module a method.

SP and OPS are computed at once (`MAKERS`); EM and REM take long, so theirs is a `Making`, which is
iterated, saved and resumed, and then published (`MAKINGS`). `poison` does either to the end.
"""

from collections.abc import Callable
from dataclasses import asdict, dataclass, replace
from importlib.metadata import version
from typing import Any

import numpy as np
from torch import Tensor

from stkit.core import header
from stkit.core.checks import as_dict, number
from stkit.core.errors import DataError, RecipeError
from stkit.data import perturbation
from stkit.data.images import Images
from stkit.engine.runtime import Runtime, pick
from stkit.poisons import em, ops, rem, sp
from stkit.recipes.poisons import EM, OPS, REM, SP

Recipe = SP | OPS | EM | REM
Making = em.Making | rem.Making


@dataclass(frozen=True)
class Method:
    """How a recipe's poison is made: images, recipe, poisoned bool [N], seed -> the published
    images and the statistics of the perturbation. `uses`: packages that decide the noise."""

    name: str
    make: Callable[[Images, Any, Tensor, int], tuple[Tensor, perturbation.Statistics]]
    uses: tuple[str, ...] = ()


MAKERS: dict[type, Method] = {
    SP: Method("sp", sp.make, uses=("scikit-learn", "numpy")),
    OPS: Method("ops", ops.make),
}
MAKINGS: dict[type, Callable[..., Making]] = {EM: em.Making, REM: rem.Making}


def poison(
    images: Images,
    recipe: Recipe,
    *,
    seed: int = 0,
    poison_rate: float = 1.0,
    device: str = "auto",
    precision: str = "auto",
) -> Images:
    """The data set as its poisoner publishes it: 8-bit images, and which of them carry noise.

    The noise is made with the whole set; round(poison_rate * N) images drawn from the seed are
    published with it, the others as they are; a larger rate keeps the images of a smaller one.
    Rate 0 is allowed: the clean end of a curve. device, precision: for EM and REM. Errors:
    RecipeError for settings out of range or not fitting the images, DataError for a set that is
    poisoned already.
    """
    if type(recipe) in MAKINGS:
        made = making(images, recipe, seed=seed, runtime=pick(device, precision))
        for _ in made.steps():
            pass
        return published(made, poison_rate)
    check(images, recipe, seed, poison_rate)
    method = MAKERS[type(recipe)]
    poisoned = perturbation.draw(len(images), poison_rate, seed)
    pixels, statistics = method.make(images, recipe, poisoned, seed)
    head = _head(
        images, {"method": method.name, **as_dict(recipe), "poison_rate": poison_rate},
        seed, asdict(statistics),
    )  # fmt: skip
    head["versions"] |= {package: version(package) for package in method.uses}
    return replace(images, pixels=pixels, header=head, poisoned=poisoned)


def making(images: Images, recipe: Recipe, *, seed: int, runtime: Runtime) -> Making:
    """EM or REM noise at its first step: iterate its `steps()`, then call `published`."""
    check(images, recipe, seed, 1.0)
    return MAKINGS[type(recipe)](images, recipe, seed=seed, runtime=runtime)


def published(made: Making, poison_rate: float = 1.0) -> Images:
    """The data set with the finished noise of EM or REM, added and rounded once.

    Of several ranks all must call this, and rank 0 gets it, the others the clean images.
    """
    number("poison-rate", poison_rate, 0, 1)
    images, rounding = made.images, made.recipe.rounding
    poisoned = perturbation.draw(len(images), poison_rate, made.seed)
    noise, about = made.result()
    recipe = {**made.head()["recipe"], "poison_rate": poison_rate}
    if not made.runtime.first:  # rank 0 has the noise of all
        return images

    def levels(rows: slice) -> np.ndarray:
        return perturbation.grey_levels(noise(rows), rounding)

    pixels = perturbation.add(images.pixels, poisoned, levels)
    statistics = perturbation.statistics(images.pixels, pixels, int(poisoned.sum()))
    head = _head(images, recipe, made.seed, asdict(statistics) | about)
    return replace(images, pixels=pixels, header=head, poisoned=poisoned)


def at_rate(made: Images, clean: Images, poison_rate: float) -> Images:
    """A poisoned data set published at a lower rate: the noise that is there, on fewer images.

    It equals, header included, what `poison` makes of the clean set at that rate, without making
    the noise again: the images of a smaller rate are among those of a larger one. Errors: DataError
    for a set that `poison` did not make of these clean images, RecipeError for a rate above its.
    """
    number("poison-rate", poison_rate, 0, 1)
    recipe = made.header["recipe"]
    if made.poisoned is None or "poison_rate" not in recipe:
        raise DataError(
            "found a data set that is clean or was imported, expected one that `stkit poison` made"
        )
    if made.header["inputs"][0]["digest"] != clean.provenance["digest"]:
        raise DataError("found other clean images than it was made from; pass those")
    if poison_rate > recipe["poison_rate"]:
        raise RecipeError(
            f"poison-rate is {poison_rate:g}, expected at most {recipe['poison_rate']:g}, at which "
            "it was made; make the poison anew"
        )
    poisoned = perturbation.draw(len(clean), poison_rate, made.header["seed"])
    pixels = perturbation.chosen(clean.pixels, made.pixels, poisoned)
    found = perturbation.statistics(clean.pixels, pixels, int(poisoned.sum()))
    head = {
        **made.header, "digest": "", "recipe": {**recipe, "poison_rate": poison_rate},
        "statistics": {**made.header["statistics"], **asdict(found)},
    }  # fmt: skip
    return replace(made, pixels=pixels, header=head, poisoned=poisoned)


def check(images: Images, recipe: Any, seed: int, poison_rate: float) -> None:
    """RecipeError or DataError when this set cannot be poisoned so."""
    number("poison-rate", poison_rate, 0, 1)
    number("seed", seed, 0, 2**32 - 1)  # what scikit-learn takes
    if type(recipe) not in MAKERS and type(recipe) not in MAKINGS:
        raise RecipeError(f"{recipe!r} is no recipe; pass EM(), REM(), SP() or OPS()")
    if images.poisoned is not None:
        raise DataError(
            f"found a data set poisoned already ({images.header.get('method', 'unknown method')}), "
            "expected a clean one; pass the source it was made from"
        )


def _head(images: Images, recipe: dict, seed: int, statistics: dict) -> dict:
    return header.make(
        "dataset", recipe, seed=seed, inputs=[images.provenance],
        classes=list(images.classes), split=images.header["split"],
        method=recipe["method"], statistics=statistics,
    )  # fmt: skip
