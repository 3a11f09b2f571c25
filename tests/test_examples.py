"""The examples in Python run, in small."""

import json
import runpy
from pathlib import Path

import pytest
import torch

from stkit import OPS, SP, load, poison

FOLDER = Path(__file__).parents[1] / "examples"


def test_own_model(capsys):
    runpy.run_path(str(FOLDER / "own_model.py"))["main"](epochs=1, limit=40)
    shown = capsys.readouterr().out
    assert shown.startswith("Run(") and "robust accuracy" in shown and "Acm(literal" in shown


def test_table6_adds_perturbations():
    """Of each poison what it changed, on the images or on grey, clipped once."""
    mixed = runpy.run_path(str(FOLDER / "table6.py"))["mixed"]
    clean = load("digits", limit=20)
    sp, ops = poison(clean, SP()), poison(clean, OPS())
    x, a, b = (images.pixels.int() for images in (clean, sp, ops))
    both = mixed(clean, sp, ops, name="sp+ops")
    assert torch.equal(both.pixels.int(), (a + b - x).clamp(0, 255))
    assert both.header["recipe"]["source"] == "sp+ops" and both.classes == clean.classes
    assert torch.equal(mixed(clean, sp, name="sp").pixels, sp.pixels)
    alone = mixed(clean, ops, name="ops", grey=True)
    assert torch.equal(alone.pixels.int(), (128 + b - x).clamp(0, 255))
    with pytest.raises(SystemExit, match="other images"):
        mixed(clean, poison(load("digits", limit=30), OPS()).rows(torch.arange(10, 30)), name="x")


def test_rotations(tmp_path, monkeypatch, capsys, cli):
    """Four turns of each image, or one; a mirror swaps two labels, so none is to train on."""
    example = runpy.run_path(str(FOLDER / "rotations.py"))
    clean = load("digits", limit=20, size=16)
    made = example["rotations"](clean)
    assert made.labels.tolist() == [0, 1, 2, 3] * 20
    assert made.classes == ("0", "90", "180", "270")
    x = clean.pixels
    assert torch.equal(made.pixels[::4], x)
    assert torch.equal(made.pixels[1::4], x.transpose(2, 3).flip(2)), "counter-clockwise"
    assert torch.equal(made.pixels[1::4].flip(3), x.flip(3).rot90(3, (2, 3)))
    once = example["rotations"](clean, once=True)
    assert torch.equal(once.labels, torch.arange(20) % 4)
    assert torch.equal(once.pixels[6], x[6].rot90(2, (1, 2)))
    files = [str(tmp_path / name) for name in ("clean.safetensors", "turned.safetensors")]
    clean.save(files[0])
    monkeypatch.setattr("sys.argv", ["rotations.py", *files, "--once"])
    example["main"]()
    assert capsys.readouterr().out == f"{files[1]}\n"
    line = "--frame nt --augment none,crop --model small --epochs 1 --batch-size 10 --device cpu"
    assert cli("train", files[1], *line.split(), "-o", tmp_path / "net").code == 0


@pytest.fixture
def notebook() -> dict:
    return json.loads((FOLDER / "quickstart.ipynb").read_text())


def test_the_notebook_is_valid_and_has_no_outputs(notebook):
    assert (notebook["nbformat"], notebook["nbformat_minor"]) == (4, 5)
    assert notebook["metadata"]["kernelspec"]["language"] == "python"
    assert len({cell["id"] for cell in notebook["cells"]}) == len(notebook["cells"])
    for cell in notebook["cells"]:
        assert cell["cell_type"] in ("code", "markdown")
        assert all(line.endswith("\n") for line in cell["source"][:-1])
        if cell["cell_type"] == "code":
            assert cell["outputs"] == [] and cell["execution_count"] is None


def test_the_notebook_runs(notebook, capsys):
    """On fewer images and epochs; every name is there when it is used."""
    names: dict = {}
    cells = ["".join(c["source"]) for c in notebook["cells"] if c["cell_type"] == "code"]
    for cell in cells:
        cell = cell.replace('load("shapes"', 'load("shapes", limit=40, split="train"', 1).replace(
            'load("shapes", "test")', 'load("shapes", "test", limit=40)'
        )
        exec(cell.replace("epochs = 6", "epochs = 1"), names)
    shown = capsys.readouterr().out.splitlines()
    assert [line.split(":")[0] for line in shown] == ["nt", "orthogonal"]
