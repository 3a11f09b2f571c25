"""The grammar of a layer and of `--record`."""

import pytest

from stkit.core.errors import RecipeError
from stkit.recipes.layers import Record, layer, record


def test_a_layer_is_a_number_a_name_or_the_penultimate_one() -> None:
    texts = ("3", "layer1.0", "penultimate", "0", "9" * 30)
    assert [layer(text) for text in texts] == [3, "layer1.0", None, 0, "9" * 30]


@pytest.mark.parametrize(
    ("text", "wanted"),
    [
        ("acm", Record(("penultimate",), ())),
        ("gradients", Record((), ("1",))),
        ("acm,gradients", Record(("penultimate",), ("1",))),
        (" acm , gradients:1, layer2.0,1", Record(("penultimate",), ("1", "layer2.0"))),
        ("gradients:2,acm:1,penultimate,acm:fc", Record(("1", "penultimate", "fc"), ("2",))),
    ],
)
def test_what_is_to_be_recorded(text: str, wanted: Record) -> None:
    assert record(text) == wanted == record(wanted.text)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("gradient", "unknown thing to record 'gradient'; did you mean 'gradients'?"),
        ("acm,1", "unknown thing to record '1'; choose one of acm, gradients"),
        ("", "unknown thing to record ''"),
        ("acm:", "expected a layer after each colon and comma"),
        ("gradients:1,,2", "expected a layer after each colon and comma"),
        ("gradients:penultimate", "penultimate has no parameters to have gradients; pass a number"),
    ],
)
def test_what_cannot_be_recorded(text: str, said: str) -> None:
    with pytest.raises(RecipeError, match=said):
        record(text)
