"""Names and numbers: what is refused, and what the message says to do."""

from dataclasses import dataclass
from math import inf, nan

import numpy as np
import pytest
import torch

from stkit.core.checks import as_dict, choose, given, nearest, number, suggestion, whole
from stkit.core.errors import RecipeError


@dataclass(frozen=True)
class Recipe:
    steps: int = 3
    rounding: str | None = None


def test_an_unknown_name_is_answered_with_the_nearest_or_all() -> None:
    known = {"jpeg": 1, "gray": 2}
    assert choose("preparation", "gray", known) == "gray"
    with pytest.raises(RecipeError, match=r"^unknown preparation 'GREY'; did you mean 'gray'[?]$"):
        choose("preparation", "GREY", known)
    with pytest.raises(RecipeError, match=r"^unknown preparation 'x'; choose one of jpeg, gray$"):
        choose("preparation", "x", known)


@pytest.mark.parametrize(
    ("typed", "meant"),
    [
        ("resent18", "'resnet18'"), ("resnet81", "'resnet18'"), ("RESNET18", "'resnet18'"),
        ("resnet34", ""), ("resnet19", ""), ("resnet1", ""),  # another number is another net
        ("resnet", "'resnet18' or 'resnet50'"), ("vgg16", "'vgg16-bn'"), ("smal1", "'small'"),
    ],
)  # fmt: skip
def test_who_types_another_number_means_it(typed: str, meant: str) -> None:
    known = ("resnet18", "resnet50", "vgg16-bn", "small")
    assert suggestion(typed, known) == (f"did you mean {meant}?" if meant else "")


def test_of_hundreds_of_names_a_line_lists_some_and_how_many_there_are() -> None:
    message = nearest("layer", "x", [f"block.{number}" for number in range(400)])
    assert "block.0, block.1," in message and message.endswith(", ... (400 in all)")
    assert len(message) < 400


@pytest.mark.parametrize(
    ("value", "high", "message"),
    [
        (0, 50_000, "count is 0, expected a number from 1 to 50,000"),
        (nan, 2.5, "count is nan, expected a number from 1 to 2.5"),
        (0.5, inf, "count is 0.5, expected a number of at least 1"),
    ],
)
def test_a_number_out_of_its_range(value: float, high: float, message: str) -> None:
    number("count", 1, 1, high)
    with pytest.raises(RecipeError, match=f"^{message}$"):
        number("count", value, 1, high)


@pytest.mark.parametrize("value", ["8/255", None, [1], 1j, np.ones(2), torch.ones(2)])
def test_what_is_no_number(value: object) -> None:
    with pytest.raises(RecipeError, match=r"^count is .*, expected a number from 0 to 1$") as error:
        number("count", value, 0, 1)  # type: ignore[arg-type]
    assert repr(value) in str(error.value)


def test_what_counts_is_whole() -> None:
    for value in (2, np.int64(2), torch.tensor(2)):
        whole("count", value, 1, inf)  # type: ignore[arg-type]
    for value in (1.5, 2.0, np.float32(1.5), torch.tensor(1.5)):
        with pytest.raises(RecipeError, match=r"^count is .*, expected a whole number$"):
            whole("count", value, 1, inf)  # type: ignore[arg-type]
    with pytest.raises(RecipeError, match=r"^count is 0, expected a number of at least 1$"):
        whole("count", 0, 1, inf)


def test_options_that_are_given_replace_fields() -> None:
    recipe = Recipe()
    assert given(recipe, steps=5, rounding=None) == Recipe(steps=5)
    assert given(recipe, steps=0, rounding="floor") == Recipe(0, "floor")
    assert as_dict(recipe) == {"steps": 3, "rounding": None}
    with pytest.raises(AssertionError):
        given(recipe, step=5)
