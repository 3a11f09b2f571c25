"""Noise and noisy images of one's own, arrays and folders: read where they can only be one thing.

Their name in reports is the user's, or the file's, never that of a layout.
"""

import shlex
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from conftest import SIDE
from PIL import Image

from stkit import load
from stkit.core.errors import DataError, RecipeError
from stkit.data.exporting.export import export
from stkit.data.images import Images
from stkit.data.importing.load import load as bring
from stkit.data.importing.values import Options
from stkit.poisons import poison
from stkit.recipes.poisons import SP

N, K = 24, 3
DRAW = np.random.default_rng(0)
LEVELS = DRAW.integers(-8, 9, (N, 3, SIDE, SIDE)).astype(np.int8)


@pytest.fixture(scope="module")
def clean(photos) -> Images:
    """24 images in 3 classes, stored in another order than that of `index`."""
    return load(photos)


def plain(clean: Images) -> np.ndarray:
    """The clean pixels [N,3,H,W] in the order of `index`, as another code base has them."""
    return clean.pixels[clean.index.argsort()].numpy()


def wanted(clean: Images, levels: np.ndarray) -> np.ndarray:
    """The noisy images in the same order."""
    return (plain(clean).astype(int) + levels).clip(0, 255).astype(np.uint8)


def brought(path: Path, clean: Images, layout: str = "auto", **options) -> tuple[np.ndarray, str]:
    found, notes = bring(path, clean, layout=layout, options=Options(**options))
    assert torch.equal(found.labels, clean.labels) and torch.equal(found.index, clean.index)
    return found.pixels[found.index.argsort()].numpy(), "\n".join(notes)


def written(path: Path, values: np.ndarray) -> Path:
    if path.suffix == ".npy":
        np.save(path, values)
    elif path.suffix == ".npz":
        np.savez(path, anything=values)
    else:
        torch.save(torch.from_numpy(values.copy()), path)
    return path


READINGS = {
    "int8": LEVELS,
    "grey levels": LEVELS.astype(np.float64),
    "float32": (LEVELS / 255).astype(np.float32),
    "big-endian": (LEVELS / 255).astype(">f4"),
}


@pytest.mark.parametrize("ending", [".npy", ".npz", ".pt"])
@pytest.mark.parametrize("kind", READINGS)
def test_noise_that_can_only_be_one_thing(clean, tmp_path, kind, ending):
    """Whichever way its axes lie; and one a class."""
    values = READINGS[kind]
    if ending == ".pt":
        values = values.astype(values.dtype.newbyteorder("="))
    if ending == ".pt" and kind == "grey levels":
        values = values.transpose(0, 2, 3, 1).transpose(0, 3, 1, 2)  # else it is read as EM's
    labels = clean.labels[clean.index.argsort()].numpy()
    for name, some, levels in (("all", values, LEVELS), ("by-class", values[:K], LEVELS[labels])):
        last = written(tmp_path / f"{name}{ending}", some.transpose(0, 2, 3, 1))
        found, notes = brought(last, clean)
        assert np.array_equal(found, wanted(clean, levels)), notes
        assert f"called '{name}'" in notes and "noise of one's own" in notes
        if ending != ".pt":
            again, _ = brought(written(tmp_path / f"x{ending}", some), clean)
            assert np.array_equal(found, again)


@pytest.mark.parametrize("unit", [np.uint8, np.float32])
def test_images_that_can_only_be_one_thing(clean, tmp_path, unit):
    noisy = wanted(clean, LEVELS)
    values = noisy if unit is np.uint8 else (noisy / 255).astype(unit)
    for form, some in {"npy": values, "npz": values.transpose(0, 2, 3, 1)}.items():
        found, notes = brought(written(tmp_path / f"a.{form}", some), clean)
        assert np.array_equal(found, noisy) and "noisy images" in notes
    found, _ = brought(written(tmp_path / "b.npy", noisy.astype(np.float64)), clean)
    assert np.array_equal(found, noisy)
    with pytest.raises(DataError, match=r"is neither noise .* nor the clean images with noise"):
        brought(written(tmp_path / "c.npy", values[::-1]), clean)


def test_noise_with_colours_first_is_nobody_elses(clean, tmp_path):
    """Patches, one pixel, or nothing at all: SP's and OPS's files have their colours last."""
    side = SIDE // 2 * 2
    patches = np.zeros((24, 3, SIDE, SIDE), np.float32)
    patches[:, :, :side, :side] = 8 / 255
    pixel = np.zeros_like(patches)
    pixel[:, 0, 0, 0] = 8 / 255
    for name, values in (("s", patches), ("o", pixel), ("z", np.zeros_like(patches))):
        _, notes = brought(written(tmp_path / f"{name}.npy", values), clean)
        assert "noise of one's own" in notes


def test_noise_in_the_order_of_rows(clean, tmp_path):
    """As who reads the clean file has it; the same for positions."""
    given = clean.pixels.numpy().astype(int) + LEVELS
    right = given.clip(0, 255).astype(np.uint8)[clean.index.argsort()]
    found, notes = brought(written(tmp_path / "r.npy", LEVELS), clean, order="rows")
    assert np.array_equal(found, right) and "sorted class and file name" not in notes
    images = written(tmp_path / "i.npy", given.clip(0, 255).astype(np.uint8))
    assert np.array_equal(brought(images, clean, order="rows")[0], right)
    at = np.array([3, 20])
    found, _ = brought(
        written(tmp_path / "p.npy", LEVELS[at]), clean, order="rows",
        index=written(tmp_path / "at.npy", at),
    )  # fmt: skip
    changed = (found != plain(clean)).any((1, 2, 3)).nonzero()[0]
    assert sorted(changed) == sorted(clean.index[at].tolist())


def test_a_part_by_its_positions(clean, tmp_path):
    """The others stay clean, which is a poison rate."""
    at = np.array([7, 2, 19, 11])
    levels = np.zeros_like(LEVELS)
    levels[at] = LEVELS[:4]
    np.save(tmp_path / "at.npy", at)
    np.savez(tmp_path / "n.npz", noise=LEVELS[:4], index=at)
    noisy = wanted(clean, levels)
    for path, more in (
        (written(tmp_path / "n.npy", LEVELS[:4]), {"index": tmp_path / "at.npy"}),
        (written(tmp_path / "f.pt", LEVELS[:4] / 255), {"index": tmp_path / "at.npy"}),
        (tmp_path / "n.npz", {}),
        (written(tmp_path / "i.npy", noisy[at]), {"index": tmp_path / "at.npy"}),
    ):
        found, notes = brought(path, clean, **more)
        assert np.array_equal(found, noisy) and "for 4 of 24 images" in notes, path
    made, _ = bring(tmp_path / "n.npz", clean)
    assert made.header["recipe"]["poison_rate"] == 4 / 24 and int(made.poisoned.sum()) == 4
    for bad, message in (
        ([7, 2, 19, 24], r"1 of 4 positions are not of the clean set \(24"),
        ([7, 2, 19, 7], "positions stand there twice"),
        ([7, 2, 19], r"int64 \[3\], expected 4 whole numbers"),
    ):
        np.save(tmp_path / "at.npy", bad)
        with pytest.raises(DataError, match=message):
            brought(tmp_path / "n.npy", clean, index=tmp_path / "at.npy")


def test_what_may_be_several_things_is_asked(clean, tmp_path):
    """Each reading with the option that chooses it, which then does."""
    three = clean.rows(torch.tensor([(clean.labels == k).nonzero()[1] for k in (2, 0, 1)]))
    dark = replace(three, pixels=three.pixels // 8)
    noisy = wanted(dark, LEVELS[:3]).clip(1)
    path = written(tmp_path / "x.npy", noisy)
    with pytest.raises(RecipeError) as asked:
        brought(path, dark)
    assert str(asked.value).endswith(
        "is, one of 3: noise, one an image: --format noise --scope sample; noise, one a class: "
        "--format noise --scope class; noisy images: --format images"
    )
    assert np.array_equal(brought(path, dark, "images")[0], noisy)
    for scope in ("sample", "class"):
        assert "one's own" in brought(path, dark, "noise", scope=scope)[1]
    patches = LEVELS[:, :, ::4, ::4].repeat(4, 2).repeat(4, 3) / 255
    with pytest.raises(RecipeError, match="order of its own: --labels FILE"):
        brought(written(tmp_path / "p.npy", patches.transpose(0, 2, 3, 1)), clean)
    assert np.array_equal(
        brought(tmp_path / "p.npy", clean, "noise")[0], wanted(clean, np.rint(patches * 255))
    )


@pytest.mark.parametrize(
    ("values", "error", "message"),
    [
        (LEVELS[:9], RecipeError, r"9 are neither .*\(24\) nor .*\(3\); pass --index FILE"),
        (LEVELS.astype(np.int32), DataError, "is int32, expected floating point, int8 or uint8"),
        (LEVELS / 20, DataError, r"is neither noise \(up to 51/255; --epsilon admits more\) nor"),
        (LEVELS[:, :2], DataError, r"is \[24, 2, 16, 16\], expected \[N,3,H,W\] or"),
        (LEVELS[..., :8], DataError, "is for 8x16 images, the clean ones are 16x16"),
        (LEVELS[0], DataError, r"expected \[N,3,H,W\] or \[N,H,W,3\]"),
    ],
)
def test_what_fits_in_no_way(clean, tmp_path, values, error, message):
    with pytest.raises(error, match=message):
        brought(written(tmp_path / "x.npy", values), clean)


def test_a_folder_named_as_the_clean_one(clean, photos, tmp_path):
    made = poison(clean, SP())
    root = tmp_path / "mine"
    export(made, root, format="folder")
    noisy = made.pixels[made.index.argsort()].numpy()
    found, notes = brought(root, clean)
    assert np.array_equal(found, noisy) and "24 files, by their names; the" in notes
    (tmp_path / "split").mkdir()
    root.rename(tmp_path / "split" / "train")
    assert np.array_equal(brought(tmp_path / "split", clean)[0], noisy)
    root = tmp_path / "split" / "train"
    one = sorted(root.rglob("*.png"))[0]
    Image.new("RGB", (8, 8)).save(one)
    with pytest.raises(DataError, match=f"{one.name} is for 8x8 images"):
        brought(root, clean)
    one.rename(one.with_name("other.png"))
    with pytest.raises(DataError, match=rf"1 of 24 images are missing \(\w+/{one.name}\)"):
        brought(root, clean)
    Image.new("RGB", (SIDE, SIDE)).save(one)
    with pytest.raises(DataError, match=r"1 images have no clean one of their name \(\w+/other"):
        brought(root, clean)


def test_names(cli, clean, photos, tmp_path):
    """Of the user, of the file; what is no name; the layout is another thing."""
    path = written(tmp_path / "sp.npy", LEVELS)
    line = ("import", path, "--clean", photos, "--force", "-o", tmp_path / "x")
    for more, name in (((), "sp"), (("--name", "My noise 2"), "My noise 2")):
        made = cli(*line, *more, "--json").json
        assert (made["method"], made["layout"]) == (name, "noise")
        (row,) = cli("report", tmp_path / "x", "--json").json
        assert row["data"] == row["method"] == name
        assert f"--name {shlex.quote(name)}` needs" in cli("rerun", tmp_path / "x").err
    for bad in ("", " ", "clean", "a\nb", "x" * 61):
        found = cli(*line, "--name", bad)
        assert found.code == 2 and "expected 1 to 60 characters" in found.err, bad
    found = cli("import", written(tmp_path / "clean.npy", LEVELS), *line[2:])
    assert found.code == 2 and "pass --name NAME" in found.err


def test_noise_that_stkit_kept_has_its_own_name(cli, photos, tmp_path):
    out, noise, clean = tmp_path / "em", tmp_path / "n.safetensors", tmp_path / "clean"
    assert cli("data", photos, "-o", clean).code == 0
    line = "--scope class --model small --max-rounds 1 --model-steps 1 --stop-error 0 --device cpu"
    made = cli("poison", "em", clean, *line.split(), "--class-noise", noise, "-o", out, "-q")
    assert made.code == 0
    found = cli("import", noise, "--clean", clean, "-o", tmp_path / "again", "--json")
    assert found.json["method"] == "em" and "layout" not in found.json
    assert (tmp_path / "again").read_bytes() == out.read_bytes()
    refused = cli("import", noise, "--clean", clean, "-o", tmp_path / "b", "--name", "mine")
    assert refused.code == 2 and "its header says what it is" in refused.err
    other = cli("import", noise, "--clean", "digits", "-o", tmp_path / "b")
    assert other.code == 1 and "was made for other images" in other.err
    own = cli("import", out, "--clean", clean, "-o", tmp_path / "b")
    assert own.code == 1 and "found a dataset of stkit's own" in own.err
