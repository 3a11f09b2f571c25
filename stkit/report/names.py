"""What reports call the images that were trained on, and what the literature calls them."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from stkit.core import lineage
from stkit.core.header import Header
from stkit.core.lineage import Lineage
from stkit.recipes.frames import Adversary

CLEAN = "clean"
SHOWN = 4
"""Names that a sentence lists, at most."""


def few(listed: Sequence[str]) -> str:
    """Names in a sentence: the first ones, and how many more."""
    more = f" and {len(listed) - SHOWN} more" if len(listed) > SHOWN else ""
    return ", ".join(listed[:SHOWN]) + more


def poison(images: Lineage) -> str:
    """The poison, or that there is none."""
    return images.poison.name if images.poison else CLEAN


def rated(name: str, rate: float | None) -> str:
    """A poison's name with its rate, where not all images are poisoned."""
    return name if rate is None or rate == 1 else f"{name} {rate:g}"


def label(images: Lineage) -> str:
    """What images are called in a row of files: the poison and its rate, or the clean source."""
    if images.poison is None:
        return f"{CLEAN} ({images.source or 'unknown'})"
    return rated(images.poison.method + ("-fast" if images.poison.fast else ""), images.rate)


def dataset(name: str, images: Lineage) -> str:
    """A data set, where it is a part of one with its number of images."""
    if images.count is not None:
        return f"{name}, {images.count} images"
    return f"{name}, all but {images.left_out} images" if images.left_out else name


def started(frame: str, recipe: Mapping[str, Any], given: Header | None) -> str:
    """A frame, and from which layers of which net it started, where that was one: `nt, from first:2
    of nt on clean, frozen`. recipe: the training's; given: the checkpoint's header."""
    init = recipe.get("init")
    if init is None or given is None:
        return frame
    images = lineage.of(given["inputs"][0])
    layers = f"{init['layers']} of " if init.get("layers") else ""
    before = given["recipe"]
    net = started(before["frame"], before, donor(given["inputs"]))
    if given.get("kept"):
        net += f" after epoch {given['kept']['epoch']}"
    if not any(phase.get("lr", 1) for phase in before["phases"]):
        net += " at rate 0"  # which leaves the weights as random as they were
    said = f"{frame}, from {layers}{net} on {rated(poison(images), images.rate)}"
    return f"{said}, frozen" if init["freeze"] else said


def donor(inputs: Sequence[Header]) -> Header | None:
    """The checkpoint that a training started from, of all that it was made of."""
    return next((each for each in inputs if each.get("kind") == "checkpoint"), None)


def files(paths: Sequence[Path]) -> list[str]:
    """What to call files: their names, after as many of their folders as tell them apart."""
    places = [path.absolute().parts for path in paths]

    def told(mine: tuple[str, ...], count: int = 1) -> str:
        alike = any(other != mine and other[-count:] == mine[-count:] for other in places)
        return told(mine, count + 1) if alike else "/".join(mine[-count:])

    return [told(mine) for mine in places]


def literature(images: Lineage, recipe: dict[str, Any], given: Header | None) -> tuple[str, str]:
    """The poison and the frame as tables of the literature have them; recipe: the training's;
    given: the header of the checkpoint that it started from.

    The frame bears the radius of its adversary, where that is unusual, and what it started from.
    A poison that was imported has no name there, whatever it was called.
    """
    adversary, usual = recipe["phases"][0].get("adversary") or {}, Adversary().epsilon
    radius = round(adversary.get("epsilon", usual) * 255)
    apart = "" if radius == round(usual * 255) else f"-{radius}/255"
    own = images.poison is not None and images.poison.imported
    return "" if own else poison(images), started(recipe["frame"] + apart, recipe, given)
