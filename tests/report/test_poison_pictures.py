"""Which images of which files stand beside each other in a picture, and what it says of them."""

import csv
import shutil
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from stkit import Images, load, poison
from stkit.core.errors import DataError
from stkit.recipes.poisons import OPS, SP
from stkit.report import lettering, samples

K = 12


@pytest.fixture(scope="module")
def images() -> Images:
    pixels = torch.randint(0, 256, (36, 3, 16, 16), generator=torch.Generator().manual_seed(0))
    return Images.from_tensors(
        pixels.byte(), torch.arange(36) % K, classes=[f"c{i}" for i in range(K)]
    )


@pytest.fixture(scope="module")
def home(images, tmp_path_factory) -> Path:
    root = tmp_path_factory.mktemp("sets")
    images.save(root / "clean.safetensors")
    poison(images, SP(patch=4)).save(root / "sp.safetensors")
    poison(images, OPS(), poison_rate=0.5).save(root / "ops.safetensors")
    poison(images, OPS(), seed=1).save(root / "again.safetensors")
    return root


def test_the_same_images_of_all_files(home, images):
    """Those of a class that the poisons changed, found by their index; names by the headers."""
    paths = [home / f"{name}.safetensors" for name in ("ops", "clean", "sp")]
    shown = samples.read(paths)
    assert shown.classes == tuple(f"c{i}" for i in range(10)) and shown.left_out == 2
    assert [each.name for each in shown.poisons] == [
        "OPS 0.5",
        "SP",
    ] and shown.clean.name == "clean"
    assert [index % K for index in shown.index] == list(range(10))
    for column, index in enumerate(shown.index):
        assert shown.clean.images[column] == images.pixels[index].numpy().tobytes()
    marks = load(paths[0]).poisoned
    for index in shown.index:
        assert marks[index] or not marks[index % K :: K].any()


def test_a_part_in_another_order(home, images, tmp_path):
    """Rows are not positions: a poison of some of the images, turned around."""
    part = load(home / "sp.safetensors").rows(torch.arange(35, 11, -1))
    part.save(tmp_path / "part.safetensors")
    shown = samples.read([home / "clean.safetensors", tmp_path / "part.safetensors"])
    assert shown.index == tuple(range(12, 22))
    rows = [(part.index == index).nonzero().item() for index in shown.index]
    assert b"".join(shown.poisons[0].images) == part.pixels[rows].numpy().tobytes()


def test_what_only_a_damaged_file_says(images, tmp_path):
    """Two images of one index are no reason to fail; labels without a class are."""
    twice = replace(images, index=images.index.clone().fill_(7))
    twice.save(tmp_path / "twice.safetensors")
    assert samples.read([tmp_path / "twice.safetensors"]).index == (7,) * 10
    replace(images, labels=images.labels - 1).save(tmp_path / "labels.safetensors")
    with pytest.raises(DataError, match="labels run from -1 to 10, expected 0 to 11"):
        samples.read([tmp_path / "labels.safetensors"])


def test_two_of_one_name(home, tmp_path):
    shown = samples.read([home / "again.safetensors", home / "ops.safetensors"])
    assert shown.clean is None and [each.name for each in shown.poisons] == ["OPS", "OPS 0.5"]
    twice = shutil.copy(home / "again.safetensors", tmp_path / "twice.safetensors")
    called = [each.name for each in samples.read([home / "again.safetensors", twice]).poisons]
    assert called == ["OPS (again)", "OPS (twice)"]


def test_files_that_do_not_belong_together(cli, home, images, made, tmp_path):
    other = replace(images, pixels=255 - images.pixels)
    other.save(tmp_path / "other.safetensors")
    small = Images.from_tensors(images.pixels[:, :, :8, :8], images.labels, classes=images.classes)
    small.save(tmp_path / "small.safetensors")
    sp = home / "sp.safetensors"
    for paths, message in (
        ((tmp_path / "other.safetensors", sp), "images of another source than those of"),
        ((tmp_path / "small.safetensors", sp), "found images of 16x16, expected 8x8"),
        ((made / "clean.safetensors", sp), "found 12 classes, expected 3"),
        ((home / "clean.safetensors", home / "clean.safetensors"), "found 2 clean data sets"),
        ((made / "nt.safetensors",), "expected a dataset file"),
    ):
        said = cli("plot", "poison", *paths, "-o", tmp_path / "x.png")
        assert (said.code, said.err.count("\n")) == (1, 1) and message in said.err, said.err


def test_what_is_drawn(cli, home, images, tmp_path):
    """The numbers are those of the pixels; one changed pixel a ring, in both of its rows."""
    pytest.importorskip("matplotlib")
    out, data = tmp_path / "p.svg", tmp_path / "p.csv"
    paths = [home / f"{name}.safetensors" for name in ("clean", "sp", "again")]
    said = cli("plot", "poison", *paths, "-o", out, "--data", data)
    assert said.code == 0 and "shown are 10 of 12 classes" in said.err
    rows = list(csv.DictReader(data.read_text().splitlines()))
    assert [row["poison"] for row in rows] == ["SP"] * 10 + ["OPS"] * 10
    noisy = load(paths[1]).pixels
    for row in rows[:10]:
        delta = (noisy[int(row["index"])].double() - images.pixels[int(row["index"])]) / 255
        assert float(row["linf"]) == pytest.approx(float(delta.abs().max()), rel=1e-12)
        assert float(row["l2"]) == pytest.approx(float(delta.norm()), rel=1e-12)
        assert int(row["changed_pixels"]) == int((delta != 0).any(0).sum())
    assert {row["changed_pixels"] for row in rows[10:]} == {"1"}
    text = out.read_text()
    for word in ("clean", "SP", "OPS", "difference \N{MULTIPLICATION SIGN} 0.5", "c9"):
        assert word in text
    assert text.count('<g id="patch_') - 1 == 2 * 2 * 10  # the figure's own; white and black
    alone = cli("plot", "poison", paths[1], "-o", out, "--force", "--data", "-")
    assert alone.out.splitlines()[:2] == ["poison,class,index", f"SP,c0,{rows[0]['index']}"]
    assert "difference" not in out.read_text()


def test_names_of_classes():
    """Cut to their width; what no font here can write is called by its number."""
    pytest.importorskip("matplotlib")
    from matplotlib.figure import Figure

    figure = Figure()
    places = [figure.text(0, 0, "") for _ in range(4)]
    notes: list[str] = []
    names = ["a very long name of a class", "short", "\U00012000\U00012001", "a$b$\n"]
    lettering.put(places, names, width=80, kind="class", on_note=notes.append)
    first, short, unknown, formula = (place.get_text() for place in places)
    assert first.startswith("a very") and first.endswith("…") and short == "short"
    assert all(place.get_window_extent().width <= 80 for place in places)
    assert (unknown, formula) == ("class 3", r"a\$b\$\n")
    assert len(notes) == 1 and "1 names" in notes[0]
