'''Poisons: a recipe and clean images in, poisoned images out. One module a method.

The module is found by the method's name in `recipes.poisons.METHODS`; `interface` says what it
offers. So a poison is two new files. Its recipe, `stkit/recipes/poisons/checker.py`:

    from dataclasses import dataclass
    from typing import ClassVar, Self

    from stkit.recipes.settings import check, setting

    PLACE = 50


    @dataclass(frozen=True)
    class Checker:
        """A checkerboard of +-epsilon, coloured by the class."""

        about: ClassVar = "checkerboard of +-epsilon, each class in a colour of its own"
        trains_surrogate: ClassVar = False

        epsilon: float = setting(8 / 255, "Per-pixel budget.", unit="budget", limits=(0, 1))
        side: int = setting(4, "Side of a square in pixels.", limits=(1, 64))

        def __post_init__(self) -> None:
            check(self)

        def resolved(self, size: tuple[int, int], classes: int) -> Self:
            return self


    RECIPE = Checker

and its making, `stkit/poisons/checker.py`:

    import numpy as np
    from torch import Tensor

    from stkit.data import perturbation
    from stkit.data.images import Images
    from stkit.poisons.interface import Made
    from stkit.recipes.poisons.checker import Checker

    def make(images: Images, recipe: Checker, *, poisoned: Tensor, seed: int) -> Made:
        row, column = np.indices(images.pixels.shape[-2:]) // recipe.side
        colours = images.labels.numpy()[:, None] >> np.arange(3)  # [N,3], of which the last bit

        def levels(rows: slice) -> np.ndarray:
            odd = (row + column + colours[rows][..., None, None]) & 1
            return perturbation.grey_levels((1 - 2 * odd) * recipe.epsilon, "nearest")

        pixels = perturbation.add(images.pixels, poisoned, levels)
        return Made(pixels, perturbation.statistics(images.pixels, pixels, int(poisoned.sum())))

Then `stkit poison checker --help` lists its options, and reports have their row for it.
'''

from collections.abc import Callable
from dataclasses import asdict, replace
from importlib import import_module
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
from torch import nn

from stkit.core import bars, header
from stkit.core.checks import as_dict, choose, number, whole
from stkit.core.errors import DataError, RecipeError
from stkit.data import perturbation
from stkit.data.images import Images, require
from stkit.data.load import opened
from stkit.engine.process import settings
from stkit.engine.runtime import Runtime, pick
from stkit.poisons.interface import Crafting, Made, Record
from stkit.recipes.poisons import METHODS, resolve
from stkit.recipes.settings import Recipe


def poison(
    images: Images | str | Path,
    recipe: Recipe[Any] | str,
    *,
    seed: int = 0,
    poison_rate: float = 1.0,
    surrogate: nn.Module | None = None,
    runtime: Runtime | None = None,
    progress: bool = False,
    on_record: Callable[[Record], None] | None = None,
) -> Images:
    """The data set as its poisoner gives it away: 8-bit images, and which of them carry noise.

    The noise is made with the whole set; round(poison_rate * N) images drawn from the seed get it,
    the others stay as they are; a larger rate keeps the images of a smaller one; 0 is allowed, but
    no larger rate that rounds to none.

    images: a set, or what `load` takes. recipe: the settings, or a method's name for its defaults.
    surrogate: for methods that train one, a net of one's own in place of `recipe.model`, of which a
    copy learns (float [N,3,H,W] in [0,1] -> [N,K]; the header has its class's name for a model).
    runtime: of such methods, see `pick`; None: a GPU where there is one. progress: of such methods,
    a bar on stderr, on a terminal or in a notebook. on_record: called with what is told on the way.
    RecipeError: settings out of range or not fitting the images or the method. DataError: a set
    that is poisoned already, or of one class where the method tells classes apart (OPS does not:
    it looks at each class alone).

        poisoned = poison(load("digits"), EM(model="small"), on_record=print)
    """
    if isinstance(recipe, str):
        recipe = METHODS[choose("method", recipe, METHODS)]()
    images = opened(images, "images")
    check(images, recipe, seed, poison_rate)
    if not recipe.trains_surrogate:
        if surrogate is not None:
            raise RecipeError(
                f"{method(recipe)} trains no surrogate; leave surrogate out, or pass another recipe"
            )
        return _made(images, recipe, seed, poison_rate)
    if surrogate is not None and not isinstance(surrogate, nn.Module):
        raise RecipeError(f"surrogate is {surrogate!r}, expected a module; pass an instance")
    runtime = runtime or pick()
    with settings(runtime):
        crafting = craft(images, recipe, seed=seed, runtime=runtime, surrogate=surrogate)
        with bars.bar(method(recipe), shown=progress and runtime.first) as bar:
            for record in crafting.steps():
                bar(*crafting.progress)
                if record is not None and on_record is not None:
                    on_record(record)
        return finish(crafting, poison_rate)


def method(recipe: Recipe[Any]) -> str:
    """The name of the method that a recipe is for. RecipeError when it is no recipe."""
    for name, known in METHODS.items():
        if isinstance(recipe, known):
            return name
    there = ", ".join(f"{kind.__name__}()" for kind in METHODS.values())
    raise RecipeError(f"{recipe!r} is no recipe; pass one of {there}")


def check(images: Images, recipe: Recipe[Any], seed: int, poison_rate: float) -> None:
    """RecipeError or DataError when this set cannot be poisoned so."""
    require(images, "images")
    _check_rate(poison_rate, len(images))
    whole("seed", seed, 0, 2**32 - 1)  # what scikit-learn takes
    name = method(recipe)
    if recipe.trains_surrogate and len(images.labels.unique()) < 2:
        raise DataError(
            f"found images of one class only, expected two or more, which the surrogate of {name} "
            "is to tell apart; pass a set of more classes"
        )
    if images.poisoned is not None:
        raise DataError(
            f"found a data set poisoned already ({images.header.get('method', 'unknown method')}), "
            "expected a clean one; pass the source it was made from"
        )


def _check_rate(poison_rate: float, count: int) -> None:
    """RecipeError for what is no share, and for one so small that it is of no image."""
    number("poison-rate", poison_rate, 0, 1)
    if poison_rate > 0 and round(poison_rate * count) == 0:
        raise RecipeError(
            f"poison-rate is {poison_rate:g}, which is none of {count} images; pass 0 if that is "
            f"meant, or {1 / count:.2g} and more"
        )


def resolved(images: Images, recipe: Recipe[Any]) -> Recipe[Any]:
    """The recipe with nothing left open for these images."""
    height, width = images.pixels.shape[-2:]
    full: Recipe[Any] = resolve(recipe, (height, width), len(images.classes))
    return full


def _made(images: Images, recipe: Recipe[Any], seed: int, poison_rate: float) -> Images:
    """The poisoned images of a method that needs no surrogate."""
    name, recipe = method(recipe), resolved(images, recipe)
    poisoned = perturbation.draw(len(images), poison_rate, seed)
    make: Callable[..., Made] = _module(name).make
    made = make(images, recipe, poisoned=poisoned, seed=seed)
    recorded = {**as_dict(recipe), "method": name, "poison_rate": poison_rate}
    head = _head(images, recorded, seed, asdict(made.statistics))
    head["versions"] |= {package: version(package) for package in made.packages}
    return replace(images, pixels=made.pixels, header=head, poisoned=poisoned)


def craft(
    images: Images,
    recipe: Recipe[Any],
    *,
    seed: int,
    runtime: Runtime,
    surrogate: nn.Module | None = None,
) -> Crafting:
    """The noise of a method that trains a surrogate, at its first step.

    Iterate its `steps()`, then call `finish`.
    """
    check(images, recipe, seed, 1.0)
    make: Callable[..., Crafting] = _module(method(recipe)).Crafting
    return make(images, recipe, seed=seed, runtime=runtime, surrogate=surrogate)


def finish(crafting: Crafting, poison_rate: float = 1.0) -> Images:
    """The images with their finished noise, added and rounded once.

    Of several ranks all must call this, and rank 0 gets it, the others the clean images.
    """
    images, rounding = crafting.images, crafting.recipe.rounding
    _check_rate(poison_rate, len(images))
    poisoned = perturbation.draw(len(images), poison_rate, crafting.seed)
    crafted = crafting.result()
    head = recorded(crafting, poison_rate)
    if not crafting.runtime.first:  # rank 0 has the noise of all
        return images

    def levels(rows: slice) -> np.ndarray:
        return perturbation.grey_levels(crafted.rows(rows), rounding)

    pixels = perturbation.add(images.pixels, poisoned, levels)
    statistics = perturbation.statistics(images.pixels, pixels, int(poisoned.sum()))
    head["statistics"] = asdict(statistics) | crafted.about
    return replace(images, pixels=pixels, header=head, poisoned=poisoned)


def recorded(crafting: Crafting, poison_rate: float) -> dict[str, Any]:
    """The header of the images with their finished noise, but for the statistics of it."""
    recipe = {**crafting.head()["recipe"], "poison_rate": poison_rate}
    return _head(crafting.images, recipe, crafting.seed, {})


def at_rate(images: Images, clean: Images, poison_rate: float) -> Images:
    """Poisoned images at a lower rate: the noise that is there, on fewer of them.

    It equals, header included, what `poison` makes of the clean set at that rate, without making
    the noise again: the images of a smaller rate are among those of a larger one. Errors: DataError
    for a set that `poison` did not make of these clean images, RecipeError for a rate above its.
    """
    _check_rate(poison_rate, len(images))
    recipe = images.header["recipe"]
    made = {"method", "statistics"} <= images.header.keys() and images.header["inputs"]
    if images.poisoned is None or "poison_rate" not in recipe or not made:
        raise DataError(
            "found a data set that is clean or was imported, expected one that `stkit poison` made"
        )
    if images.header["inputs"][0]["digest"] != clean.provenance["digest"]:
        raise DataError("found other clean images than it was made from; pass those")
    if poison_rate > recipe["poison_rate"]:
        raise RecipeError(
            f"poison-rate is {poison_rate:g}, expected at most {recipe['poison_rate']:g}, at which "
            "it was made; make the poison anew"
        )
    poisoned = perturbation.draw(len(clean), poison_rate, images.header["seed"])
    pixels = perturbation.chosen(clean.pixels, images.pixels, poisoned)
    statistics = perturbation.statistics(clean.pixels, pixels, int(poisoned.sum()))
    head = {
        **images.header, "digest": "", "recipe": {**recipe, "poison_rate": poison_rate},
        "statistics": {**images.header["statistics"], **asdict(statistics)},
    }  # fmt: skip
    return replace(images, pixels=pixels, header=head, poisoned=poisoned)


def _module(name: str) -> Any:
    """The module of a method; what it offers is in `interface`."""
    return import_module(f"{__name__}.{name}")


def _head(
    images: Images, recipe: dict[str, Any], seed: int, statistics: dict[str, Any]
) -> dict[str, Any]:
    return header.make(
        "dataset", recipe, seed=seed, inputs=[images.provenance],
        classes=list(images.classes), split=images.header["split"],
        method=recipe["method"], statistics=statistics,
    )  # fmt: skip
