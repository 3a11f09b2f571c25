"""Shapes of JSON: what fits, and the place and the words for what does not."""

from typing import Any

import pytest

from stkit.core import schema
from stkit.core.errors import ArtifactError


def tree() -> dict[str, Any]:
    return {"name": str, "children": [tree]}


SHAPE = {
    "n": schema.COUNT, "rate?": schema.SHARE, "rows": [{"acm": float}, schema.SOME],
    "by": {str: int}, "tree?": tree, "bare?": bool,
}  # fmt: skip
GOOD: dict[str, Any] = {"n": 3, "rows": [{"acm": 1}], "by": {"x": 1}, "unknown": object}


@pytest.mark.parametrize(
    "more",
    [
        {},
        {"rate": None, "bare": False, "n": 2**62},
        {"rate": 0.5, "tree": {"name": "a", "children": [{"name": "b", "children": []}]}},
    ],
)
def test_what_fits(more: dict[str, Any]) -> None:
    schema.check(GOOD | more, SHAPE)


@pytest.mark.parametrize(
    ("more", "message"),
    [
        ({"n": None}, "n is None, expected a whole number"),
        ({"n": True}, "n is True, expected a whole number"),
        ({"n": -1}, "n is -1, expected a whole number from 0 to inf"),
        ({"n": 2**63}, "expected a smaller number"),
        ({"rate": "0.5"}, "rate is '0.5', expected a number"),
        ({"rate": float("nan")}, "rate is nan, expected a number from 0 to 1"),
        ({"rows": []}, "rows is .*, expected at least one"),
        ({"rows": [{"acm": 1}, {}]}, "it lacks 'rows.1.acm'"),
        ({"by": {"x": 1, "y": 1.5}}, "by.y is 1.5, expected a whole number"),
        ({"by": [1]}, "by is .*, expected an object"),
        ({"tree": {"name": "a", "children": [{"name": "\x1b"}]}}, "tree.children.0.name is"),
        ({"bare": 1}, "bare is 1, expected true or false"),
    ],
)
def test_the_first_place_that_does_not_fit_is_named(more: dict[str, Any], message: str) -> None:
    with pytest.raises(ArtifactError, match=message):
        schema.check(GOOD | more, SHAPE)


def test_a_long_value_is_cut() -> None:
    with pytest.raises(ArtifactError) as caught:
        schema.check("x" * 1000, int)
    assert str(caught.value).startswith("damaged, it is 'xxx") and len(str(caught.value)) < 100
