"""Fields of recipes that say of themselves what a command line needs: help, unit, limits, choices.

@dataclass(frozen=True)
class Dots:
    radius: int = setting(3, "Radius of a dot in pixels.", limits=(1, 100))
"""

from dataclasses import Field, dataclass, field, fields
from math import inf
from typing import Any, ClassVar, Protocol, TypeVar, runtime_checkable

from stkit.core.checks import choose, number, whole
from stkit.core.errors import RecipeError
from stkit.recipes.catalogue import MODELS, TIMM

ROUNDINGS = ("floor", "nearest")
COUNT, SHARE = (1, inf), (0, 1)  # limits
EPSILON, ROUNDING = "Per-pixel budget.", "How noise becomes grey levels, once."
MODEL = f"The surrogate: {', '.join(MODELS)}, or {TIMM}NAME."
LR, MOMENTUM = "The surrogate's learning rate.", "The surrogate's momentum."

T = TypeVar("T")
R_co = TypeVar("R_co", covariant=True)


class HasFields(Protocol):
    """A dataclass."""

    __dataclass_fields__: ClassVar[dict[str, Field[Any]]]


@dataclass(frozen=True)
class Setting:
    """What is to be said of a recipe's field, besides its type and default."""

    help: str
    unit: str = ""  # budget: within [0,1]; fraction: any number; people write both as 8/255
    limits: tuple[float, float] | None = None  # of a value that is given
    choices: tuple[str, ...] = ()
    metavar: str | None = None  # what stands for the value in the help


def setting(
    default: T, help: str, *, unit: str = "", limits: tuple[float, float] | None = None,
    choices: tuple[str, ...] = (), metavar: str | None = None,
) -> T:  # fmt: skip
    """A dataclass's field with its default and its `Setting`; choices stand for their own value."""
    metavar = metavar or "|".join(choices) or None
    return field(
        default=default, metadata={"setting": Setting(help, unit, limits, choices, metavar)}
    )


def settings(recipe: type[HasFields]) -> dict[str, Setting]:
    """The `Setting` of each field of a recipe, by the field's name."""
    return {each.name: each.metadata["setting"] for each in fields(recipe)}


class Recipe(HasFields, Protocol[R_co]):
    """What every poison's recipe is, besides a frozen dataclass with fields by `setting`."""

    about: ClassVar[str]
    """A line for people."""
    trains_surrogate: ClassVar[bool]
    """Whether it takes long: it wants a device, and can be stopped and gone on with."""

    def resolved(self, size: tuple[int, int], classes: int) -> R_co:
        """The recipe with nothing left open, for images of this height and width."""
        ...


@runtime_checkable
class Costly(Protocol):
    """A resolved recipe that trains a surrogate."""

    def passes(self, count: int) -> float:
        """About how many images go through the surrogate, for a set of `count` images."""
        ...


def check(recipe: HasFields) -> None:
    """A RecipeError unless every field that is given lies within its limits and choices."""
    for each in fields(recipe):
        about, value = each.metadata.get("setting"), getattr(recipe, each.name)
        if about is None or value is None:  # settings resolved from checked ones say nothing
            continue
        if about.choices:
            choose(each.name, value, about.choices)
        if about.limits:
            within = whole if each.type in (int, int | None) else number
            within(each.name.replace("_", "-"), value, *about.limits)


def filled(recipe: HasFields, into: type[T], **values: Any) -> T:
    """The recipe as another type, with these values for what it leaves open (None)."""
    given = {each.name: getattr(recipe, each.name) for each in fields(recipe)}
    return into(**given | {k: v for k, v in values.items() if given[k] is None})


def budget(epsilon: float) -> None:
    """A RecipeError unless 0 < epsilon <= 1."""
    number("epsilon", epsilon, 0, 1)
    if epsilon == 0:
        raise RecipeError("epsilon is 0, which makes no noise; pass more, for instance 8/255")
