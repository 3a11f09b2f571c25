"""Where images come from: what a header says of them and of their parents."""

from typing import Any

import pytest

from stkit.core import lineage


def head(recipe: dict[str, Any], *parents: dict[str, Any], digest: str = "") -> dict[str, Any]:
    """A header's common part; its digest is the recipe, where none is given."""
    digest = digest or str(recipe)
    return {"kind": "dataset", "recipe": recipe, "digest": digest, "inputs": [*parents], "seed": 0}


SOURCE = head({"source": "cifar10", "limit": None}, digest="clean")
CUT = head({"source": "cifar10", "limit": 1000}, digest="cut")
POISON = {"method": "x", "scope": "class", "poison_rate": 0.5}


def test_clean_images() -> None:
    found = lineage.of(SOURCE)
    assert (found.digest, found.clean, found.source) == ("clean", "clean", "cifar10")
    assert (found.poison, found.rate, found.limited, found.count) == (None, None, False, None)
    assert found.made_by == found.reading == SOURCE["recipe"]


def test_a_poison_of_a_part() -> None:
    found = lineage.of(head(POISON, CUT, digest="poisoned"))
    assert found.poison == lineage.Poison("x", "class") and found.poison.name == "x-class"
    assert (found.digest, found.clean, found.rate) == ("poisoned", "cut", 0.5)
    assert (found.limited, found.count, found.source) == (True, 1000, "cifar10")


def test_a_file_of_poisoned_images_says_so_by_its_parent() -> None:
    poisoned = head({**POISON, "fast": True}, SOURCE)
    rest = head({"source": "file", "holdout": 200, "part": "rest"}, poisoned, digest="rest")
    found = lineage.of(rest)
    assert found.poison is not None and found.poison.name == "x-class-fast"
    assert (found.digest, found.clean, found.made_by) == ("rest", "clean", poisoned["recipe"])
    assert (found.left_out, found.count, found.held) == (200, None, False)


@pytest.mark.parametrize(
    ("kept", "source", "count", "left_out"),
    [
        ("rest", SOURCE, None, 200), ("rest", CUT, 800, 0),
        ("held", SOURCE, 200, 0), ("held", CUT, 200, 0),
    ],
)  # fmt: skip
def test_how_many_images_a_part_has(kept, source, count, left_out) -> None:
    found = lineage.of(head({"source": "file", "holdout": 200, "part": kept}, source))
    assert (found.count, found.left_out, found.held) == (count, left_out, kept == "held")
    assert found.source == "cifar10"


def test_no_header_says_what_was_read() -> None:
    assert lineage.of(head({"source": "file"})).source is None
    assert lineage.of(head({})).source is None


def test_the_walk_goes_from_the_images_to_the_source() -> None:
    poisoned = head(POISON, CUT)
    assert list(lineage.walk(poisoned)) == [poisoned, CUT]
