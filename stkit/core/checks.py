"""Settings within their limits; an unknown name is answered with the nearest."""

from collections.abc import Collection
from dataclasses import MISSING, asdict, fields, replace
from difflib import get_close_matches
from math import inf
from operator import index
from typing import TYPE_CHECKING, Any, TypeVar

from stkit.core.errors import RecipeError
from stkit.core.files import DIGITS

if TYPE_CHECKING:
    from _typeshed import DataclassInstance

R = TypeVar("R", bound="DataclassInstance")


def choose(kind: str, name: str, known: Collection[str]) -> str:
    """`name` if it is one of `known`, else a RecipeError that suggests the nearest."""
    if name in known:
        return name
    raise RecipeError(nearest(kind, name, known))


MOST = 30
"""Names that a message lists: a net has hundreds of modules."""


def nearest(kind: str, name: str, known: Collection[str]) -> str:
    """The message for an unknown name: with the nearest known one, or those there are."""
    names = list(known)
    more = f", ... ({len(names)} in all)" if len(names) > MOST else ""
    hint = suggestion(name, known) or f"choose one of {', '.join(names[:MOST])}{more}"
    return f"unknown {kind} {name!r}; {hint}"


def suggestion(name: str, known: Collection[str]) -> str:
    """The question whether the nearest known name was meant; empty where none is near.

    Who types another number means it: resnet34 is no resnet50, though resnet81 may be resnet18. A
    number that is left out may have been forgotten: then all are named that differ in it alone.
    """
    typed = _digits(name)
    near = get_close_matches(str(name).lower(), list(known), 9)
    near = [other for other in near if not typed or _digits(other) in ([], typed)]
    alike = [other for other in known if near and _letters(other) == _letters(near[0])]
    meant = near[:1] if typed else alike
    return f"did you mean {' or '.join(map(repr, meant))}?" if meant else ""


def _digits(name: str) -> list[str]:
    """The digits of a name, in the order of their size."""
    return sorted(filter(str.isdigit, str(name)))


def _letters(name: str) -> str:
    """What is left of a name without its digits."""
    return "".join(character for character in name if not character.isdigit())


def number(name: str, value: float, low: float, high: float) -> None:
    """A RecipeError unless low <= value <= high (NaN fails too, and what is no number)."""
    try:
        inside = bool(low <= value <= high)
    except (TypeError, ValueError, RuntimeError):  # text; arrays and tensors of several numbers
        inside = False
    if not inside:
        limits = f"of at least {low}" if high == inf else f"from {low:g} to {high:,.10g}"
        shown = value if isinstance(value, (int, float)) else repr(value)
        raise RecipeError(f"{name} is {shown}, expected a number {limits}")


def whole(name: str, value: float, low: float, high: float) -> None:
    """A RecipeError unless low <= value <= high, it counts something, and a header may hold it."""
    number(name, value, low, high)
    try:
        count = index(value)  # type: ignore[arg-type]
    except TypeError:
        raise RecipeError(f"{name} is {value}, expected a whole number") from None
    if count >= 10**DIGITS:
        raise RecipeError(f"{name} is {value}, expected a number below 10**{DIGITS}")


def given(recipe: R, **options: Any) -> R:
    """`recipe`, a dataclass, with every option that is not None put in its place."""
    known = {f.name for f in fields(recipe)}
    assert known >= options.keys(), options.keys() - known
    return replace(recipe, **{k: v for k, v in options.items() if v is not None})


def as_dict(recipe: "DataclassInstance") -> dict[str, Any]:
    """The recipe's fields as plain JSON values, for a header."""
    return asdict(recipe)


def brief(recipe: "DataclassInstance") -> str:
    """Its class and what is not as by default, in up to 100 characters; for a `__repr__`."""
    values = ((field, getattr(recipe, field.name)) for field in fields(recipe))
    changed = [
        f"{field.name}={value:.4g}" if isinstance(value, float) else f"{field.name}={value!r}"
        for field, value in values
        if field.default is MISSING or value != field.default
    ]
    text = f"{type(recipe).__name__}({', '.join(changed)})"
    return text if len(text) <= 100 else f"{text[:96]}...)"
