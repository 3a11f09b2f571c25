"""Where images come from: one walk over what a header says of its parents, back to the source.

Every number a report compares hangs on this: which clean images these were, how many of them, and
which poison was put on how many. A part of a file (a holdout, a lower rate) says so by its parent.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from stkit.core.header import Header


@dataclass(frozen=True)
class Poison:
    """What was put on the images, as its recipe names it.

    imported: others made it, and called it that; none of what stkit knows by this name.
    """

    method: str
    scope: str | None = None
    fast: bool = False
    imported: bool = False

    @property
    def name(self) -> str:
        """The poison by its name in tables of the literature: method, scope, and -fast; where it
        was imported, the name it was given."""
        if self.imported:
            return self.method
        scope = f"-{self.scope}" if self.scope else ""
        return self.method + scope + ("-fast" if self.fast else "")


@dataclass(frozen=True)
class Lineage:
    """What is known of a set of images from its header.

    Attributes:
        digest: of these images.
        clean: digest of the images that were poisoned; of clean ones, their own.
        source: what was first read (`cifar10`, `folder`, ...); None where no header says.
        poison: None for clean images.
        rate: share of the images that are poisoned; None where it is not recorded.
        limited: a class-balanced part of the source was taken.
        count: how many images there are, where that is known because they are a part.
        left_out: how many were kept out of a set whose number is not recorded.
        held: these are the ones that were kept out.
        made_by: the recipe by which they were poisoned, or else the source was read.
        reading: the recipe by which the source was read.
    """

    digest: str
    clean: str
    source: str | None
    poison: Poison | None
    rate: float | None
    limited: bool
    count: int | None
    left_out: int
    held: bool
    made_by: Mapping[str, Any]
    reading: Mapping[str, Any]


def walk(images: Header) -> Iterator[Header]:
    """The header of images, of those they were made of, and so on to the source."""
    yield images
    for parent in images["inputs"][:1]:
        yield from walk(parent)


def of(images: Header) -> Lineage:
    """The lineage of the images with this header. KeyError where it is incomplete."""
    line = list(walk(images))
    recipes = [head["recipe"] for head in line]
    maker = next((head for head in line if head["recipe"].get("method")), line[-1])
    made_by = maker["recipe"]
    method = made_by.get("method")
    clean = maker["inputs"][0] if method and maker["inputs"] else images
    sources = [r["source"] for r in recipes if r.get("source") not in (None, "file")]
    count, left_out = _count(recipes)
    return Lineage(
        digest=images["digest"],
        clean=clean["digest"],
        source=sources[-1] if sources else None,
        poison=_poison(made_by) if method else None,
        rate=made_by.get("poison_rate"),
        limited=any(recipe.get("limit") for recipe in recipes),
        count=count,
        left_out=left_out,
        held=recipes[0].get("part") == "held",
        made_by=made_by,
        reading=recipes[-1],
    )


def _poison(recipe: Mapping[str, Any]) -> Poison:
    return Poison(
        recipe["method"], recipe.get("scope"), bool(recipe.get("fast")), "imported" in recipe
    )


def _count(recipes: list[dict[str, Any]]) -> tuple[int | None, int]:
    """How many images, where they are a part; else None, and how many were left out."""
    count, out = None, 0
    for recipe in reversed(recipes):
        if recipe.get("limit"):
            count, out = recipe["limit"], 0
        if recipe.get("part") == "rest":
            out += recipe.get("holdout") or 0
        if recipe.get("part") == "held":
            count, out = recipe.get("holdout"), 0
    return (count - out, 0) if count else (None, out)
