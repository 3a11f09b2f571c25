"""`stkit.poison` from Python: names, records, an own surrogate; and a poison of one's own."""

import json
import os
import subprocess
import sys
from pathlib import Path
from shutil import copytree, ignore_patterns
from textwrap import dedent

import pytest
import torch
from test_poisons import images_of
from torch import nn

import stkit
from stkit import load, poison, poisons
from stkit.core.errors import RecipeError
from stkit.data.images import Images
from stkit.engine.runtime import pick
from stkit.recipes.poisons import EM, METHODS, OPS, REM, SP, resolve
from stkit.recipes.settings import Costly

CPU = pick("cpu", "fp32")
END = "-- the next command"
FEW = {
    "em": EM(batch_size=16, model_steps=2, steps=2, max_rounds=2, stop_error=0.0),
    "rem": REM(batch_size=16, model_steps=2, steps=2, eot=2, adversary_steps=1),
}


class Pooled(nn.Module):
    """A net that stkit does not know."""

    def __init__(self, classes: int) -> None:
        super().__init__()
        self.conv, self.norm = nn.Conv2d(3, 6, 3, stride=2), nn.BatchNorm2d(6)
        self.head = nn.Linear(6, classes)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.head(self.norm(self.conv(x)).relu().mean((2, 3)))


@pytest.fixture(scope="module")
def digits() -> Images:
    return load("digits", limit=40)


def test_a_method_by_name_is_its_recipe():
    clean = images_of((20, 3, 32, 32))
    for name, recipe in (("sp", SP()), ("ops", OPS())):
        one, other = poison(clean, name), poison(clean, recipe)
        assert torch.equal(one.pixels, other.pixels) and one.header == other.header
    with pytest.raises(RecipeError, match="unknown method 'spp'; did you mean 'sp'"):
        poison(clean, "spp")


@pytest.mark.parametrize("wrong", [None, 3, SP, {"epsilon": 0.1}])
def test_what_is_no_recipe_is_refused(wrong):
    with pytest.raises(RecipeError, match=r"is no recipe; pass one of EM\(\), REM\(\), SP\(\)"):
        poison(images_of((8, 3, 16, 16)), wrong)


@pytest.mark.parametrize("method", FEW)
def test_an_own_surrogate_is_copied_and_named_in_the_header(method, digits):
    net = Pooled(10).train()
    before = {name: value.clone() for name, value in net.state_dict().items()}
    records = []
    made = poison(digits, FEW[method], surrogate=net, runtime=CPU, on_record=records.append)
    assert net.training and all(torch.equal(v, before[k]) for k, v in net.state_dict().items())
    assert made.header["recipe"]["model"] == "Pooled"
    assert (made.pixels != digits.pixels).flatten(1).any(1).all()
    assert (made.pixels.int() - digits.pixels.int()).abs().max() <= 8
    assert [sorted(record.to_json()) for record in records] == (
        [["error", "round"]] * 2 if method == "em" else [["loss", "lr", "step"]]
    )
    again = poison(digits, FEW[method], surrogate=net, runtime=CPU)
    assert torch.equal(again.pixels, made.pixels) and again.header == made.header


@pytest.mark.parametrize(
    ("recipe", "net", "message"),
    [
        (SP(), Pooled(10), "sp trains no surrogate"),
        (FEW["em"], Pooled(7), r"Pooled answers an image by \[1, 7\], expected \[1, 10\]"),
        (FEW["rem"], nn.Flatten(), "Flatten has no parameters"),
    ],
)
def test_a_surrogate_that_does_not_fit_is_refused(recipe, net, message, digits):
    with pytest.raises(RecipeError, match=message):
        poison(digits, recipe, surrogate=net, runtime=CPU)


@pytest.mark.parametrize("method", METHODS)
def test_resolved_recipes_leave_nothing_open(method):
    for size in ((32, 32), (224, 300)):
        full = resolve(METHODS[method](), size, 10)
        assert None not in vars(full).values() and resolve(full, size, 10) == full
        assert poisons.method(full) == method
        assert isinstance(full, Costly) == METHODS[method].trains_surrogate


def test_headers_record_resolved_settings():
    assert poison(images_of((20, 3, 32, 48)), SP()).header["recipe"]["patch"] == 8


def blocks(text: str) -> list[str]:
    """The indented blocks of a docstring."""
    found, inside = [""], False
    for line in text.splitlines():
        if inside and line and not line.startswith("    "):
            found.append("")
        inside = line.startswith("    ") or (inside and not line)
        found[-1] += f"{line}\n" if inside else ""
    return [dedent(block) for block in found if block.strip()]


def test_the_documented_poison_opens_two_files(tmp_path):
    """The example of `stkit.poisons`, put into a copy of stkit, is a method like the others."""
    recipe, module = blocks(poisons.__doc__)
    root = copytree(
        Path(stkit.__file__).parent, tmp_path / "stkit", ignore=ignore_patterns("__pycache__")
    )
    (root / "poisons" / "checker.py").write_text(module)
    (root / "recipes" / "poisons" / "checker.py").write_text(recipe)

    lines = (
        ("poison", "checker", "--help"), ("list", "methods"),
        ("poison", "checker", "digits", "-o", "f", "--side", "8", "--epsilon", "4/255", "--json"),
        ("inspect", "f"),
    )  # fmt: skip
    code = "import sys, stkit.cli\n" + "".join(
        f"sys.exit(1) if stkit.cli.main({list(words)}) else print({END!r})\n" for words in lines
    )
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=tmp_path, check=True, capture_output=True, text=True,
        env=os.environ | {"PYTHONPATH": str(tmp_path), "COLUMNS": "100"},
    )  # fmt: skip
    help_, methods, said, header, _ = done.stdout.split(END)
    assert "Side of a square in pixels.  [default: 4]" in help_
    assert "checker" in methods
    assert json.loads(said)["linf"] == pytest.approx(4 / 255)
    made, clean = load(tmp_path / "f"), load("digits")
    assert made.header["recipe"] == {
        "method": "checker", "epsilon": 4 / 255, "side": 8, "poison_rate": 1.0,
    }  # fmt: skip
    grey = (clean.pixels >= 4) & (clean.pixels <= 251)
    delta = (made.pixels.int() - clean.pixels.int()).masked_fill(~grey, 0)
    assert delta.unique().tolist() == [-4, 0, 4]
    assert "checker" in header
