"""Every default of every poison, with its source: a module each, with its recipe. No torch.

A recipe is a frozen dataclass whose fields are made by `settings.setting`. A module of this folder
says `RECIPE` and its `PLACE` in lists, and is found by its name, which is the method's; the module
of that name in `stkit/poisons/` makes the noise. A field left open (None) takes the authors'
setting for the images at hand: `resolve` gives the recipe with nothing left open, as another type.
Sources: the ST paper (sec. 4.1) and the authors' published settings, as named beside each field.
"""

from importlib import import_module
from pkgutil import iter_modules
from typing import Any, TypeVar

from stkit.recipes.poisons.ar import AR
from stkit.recipes.poisons.cuda import CUDA
from stkit.recipes.poisons.em import EM
from stkit.recipes.poisons.ops import OPS
from stkit.recipes.poisons.rem import REM
from stkit.recipes.poisons.sp import SP
from stkit.recipes.settings import Recipe, settings

__all__ = ["AR", "CUDA", "EM", "LONG", "METHODS", "OPS", "REM", "SP", "resolve", "variants"]

R = TypeVar("R")
_modules = {name: import_module(f"{__name__}.{name}") for _, name, _ in iter_modules(__path__)}
METHODS: dict[str, type[Recipe[Any]]] = {
    name: module.RECIPE for name, module in sorted(_modules.items(), key=lambda pair: pair[1].PLACE)
}
"""Method -> its recipe, in the order of lists."""
LONG = tuple(name for name, recipe in METHODS.items() if recipe.trains_surrogate)
"""Methods that train a surrogate: they take a device, and can be stopped and gone on with."""


def resolve(recipe: Recipe[R], size: tuple[int, int], classes: int) -> R:
    """The recipe with nothing left open, for images of this height and width and so many classes.

    RecipeError when it does not fit them.
    """
    return recipe.resolved(size, classes)


def variants() -> list[str]:
    """Every poison by its name in tables, in the order of their rows: em-sample, ..., rem-fast."""
    names = []
    for method, recipe in METHODS.items():
        about = settings(recipe)
        scopes = about["scope"].choices if "scope" in about else ()
        own = [f"{method}-{scope}" for scope in scopes] or [method]
        names += own + [f"{name}-fast" for name in own if "fast" in about]
    return names
