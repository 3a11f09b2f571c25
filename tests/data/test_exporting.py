"""What is written for others: read as they read it, and imported again, the same images."""

import os
import pickle
import signal
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from conftest import snapshot
from PIL import Image

from stkit import load
from stkit.core.errors import ArtifactError, DataError, RecipeError
from stkit.data.exporting import formats
from stkit.data.exporting.export import export
from stkit.data.exporting.formats import em
from stkit.data.images import Images
from stkit.data.importing.load import load as load_foreign
from stkit.data.importing.values import Options
from stkit.measure import comparison
from stkit.poisons import poison
from stkit.recipes.poisons import OPS, SP

FORMATS = ("em", "rem", "png", "npz")


@pytest.fixture(scope="module")
def clean(photos) -> Images:
    """24 images in 3 classes, in another order than that of `index`, with black and white ones."""
    images = load(photos)
    pixels = images.pixels.clone()
    pixels[:6], pixels[6:12] = 0, 255
    pixels[:12, :, 2:5, 3:9] = images.pixels[:12, :, 2:5, 3:9]
    return replace(images, pixels=pixels)


def class_wise(clean: Images) -> Images:
    """One random noise a class, up to 40 grey levels, added and clipped."""
    generator = torch.Generator().manual_seed(0)
    noise = torch.randint(-40, 41, (3, *clean.pixels.shape[1:]), generator=generator)
    images = (clean.pixels + noise[clean.labels]).clamp(0, 255).to(torch.uint8)
    marks = torch.ones(len(clean), dtype=torch.bool)
    return replace(clean, pixels=images, poisoned=marks)


POISONS = {
    "sp": lambda clean: poison(clean, SP()),
    "half": lambda clean: poison(clean, SP(epsilon=16 / 255), poison_rate=0.5),
    "ops": lambda clean: poison(clean, OPS()),
    "class": class_wise,
    "none": lambda clean: poison(clean, SP(), poison_rate=0),
}


def by_index(images: Images) -> Images:
    return images.rows(images.index.argsort())


# Round trips


@pytest.mark.parametrize("format", FORMATS)
@pytest.mark.parametrize("name", POISONS)
def test_exported_and_imported_again_the_images_are_the_same(clean, tmp_path, name, format):
    poisoned = POISONS[name](clean)
    path = tmp_path / "deep" / "x"
    plain = clean if format in ("em", "rem") else None
    if (name, format) == ("ops", "rem"):
        with pytest.raises(DataError, match=r"run from .* grey levels, REM's int8 holds"):
            export(poisoned, path, format=format, clean=plain)
        assert not path.exists()
        return
    written = export(poisoned, path, format=format, clean=plain)
    assert written.n == len(clean)
    # OPS as EM noise is larger than EM noise is: its size has to be stated.
    options = Options(epsilon=1.0 if (name, format) == ("ops", "em") else None)
    found, _ = load_foreign(path, clean, options=options)
    assert torch.equal(found.pixels, poisoned.pixels)
    assert torch.equal(found.labels, poisoned.labels) and torch.equal(found.index, clean.index)
    differs = (poisoned.pixels != clean.pixels).flatten(1).any(1)
    assert torch.equal(found.poisoned, differs)
    assert [p.name for p in path.parent.iterdir()] == ["x"]


@pytest.mark.parametrize("limit", [None, 40])
@pytest.mark.parametrize("format", FORMATS)
def test_a_split_with_gaps_in_its_index(tmp_path, format, limit):
    """The train split of `digits`: 1,437 of 1,797."""
    clean = load("digits", limit=limit or 200)
    poisoned = poison(clean, SP())
    plain = clean if format in ("em", "rem") else None
    export(poisoned, tmp_path / "x", format=format, clean=plain)
    found, _ = load_foreign(tmp_path / "x", clean)
    assert torch.equal(found.pixels, poisoned.pixels)


def test_class_wise_noise_stays_class_wise(photos, tmp_path):
    clean = load(photos)
    poisoned = class_wise(clean)
    path = tmp_path / "em.pt"
    assert export(poisoned, path, format="em", clean=clean).scope == "class"
    assert torch.load(path, weights_only=True).shape == (3, *clean.pixels.shape[1:])
    found, _ = load_foreign(path, clean)
    assert torch.equal(found.pixels, poisoned.pixels)
    assert comparison.compare(found, clean).class_wise
    assert found.header["recipe"]["scope"] == "class"


def test_noise_that_only_seems_class_wise_is_written_for_each_image(clean, tmp_path):
    poisoned = class_wise(clean)
    poisoned.pixels[20, 1, 7, 7] ^= 4
    path = tmp_path / "em.pt"
    assert export(poisoned, path, format="em", clean=clean).scope == "sample"
    assert torch.equal(load_foreign(path, clean)[0].pixels, poisoned.pixels)


# As others read it


def test_every_grey_level_survives_every_known_reader():
    """EM's own arithmetic (float32), D-VAE's and AUE's, float64, and those that add in [0,1]."""
    level, x = np.arange(-255, 256), np.arange(256)[:, None]
    want = (x + level).clip(0, 255)
    noise = em.unit(torch.from_numpy(level)).numpy()
    assert noise.dtype == np.float32 and noise[255] == 0
    assert (np.abs(noise) <= np.abs(level) / 255 + 1e-6).all()
    for kind in (np.float32, np.float64):
        v, pixels = noise.astype(kind), x.astype(kind)
        added = np.clip(pixels + v * kind(255), 0, 255)
        inside = np.clip(pixels / kind(255) + v, 0, 1) * kind(255)
        assert added.dtype == inside.dtype == kind
        for found in (added, inside):
            assert (found.astype(np.uint8) == want).all() and (np.rint(found) == want).all()
        assert (np.rint(v * kind(255)) == level).all()
        assert (np.trunc(v.clip(0, None) * kind(255)) == level.clip(0)).all()


def test_without_the_hair_a_level_is_lost():
    """Why float32(k/255) is not stored as it is."""
    level = np.arange(-255, 256)
    noise = (level / 255).astype(np.float32).astype(np.float64)
    assert (np.floor(noise * 255) != level).any()


def test_em_file(clean, tmp_path):
    poisoned = poison(clean, SP())
    export(poisoned, tmp_path / "p.pt", format="em", clean=clean)
    noise = torch.load(tmp_path / "p.pt", weights_only=True)
    images, plain = by_index(poisoned).pixels, by_index(clean).pixels
    assert noise.dtype == torch.float32 and noise.shape == images.shape
    data = plain.permute(0, 2, 3, 1).numpy().astype(np.float32)
    data += noise.mul(255).clamp_(-255, 255).permute(0, 2, 3, 1).numpy()
    read = np.clip(data, 0, 255).astype(np.uint8).transpose(0, 3, 1, 2)
    assert (read == images.numpy()).all()


def test_rem_file(clean, tmp_path):
    poisoned = poison(clean, SP())
    export(poisoned, tmp_path / "n.pkl", format="rem", clean=clean)
    text = (tmp_path / "n.pkl").read_bytes()
    assert b"numpy._core" not in text and b"numpy.core.multiarray" in text
    noise = pickle.loads(text)
    assert isinstance(noise, np.ndarray) and noise.dtype == np.int8
    plain = by_index(clean).pixels.permute(0, 2, 3, 1).numpy().astype(np.int16)
    read = (plain + noise.astype(np.int16).transpose(0, 2, 3, 1)).clip(0, 255).astype(np.uint8)
    assert (read.transpose(0, 3, 1, 2) == by_index(poisoned).pixels.numpy()).all()


def test_png_and_npz_files(clean, tmp_path):
    poisoned = by_index(poison(clean, SP()))
    seen = []
    export(poisoned, tmp_path / "p", format="png", progress=lambda *done: seen.append(done))
    export(poisoned, tmp_path / "x.npz", format="npz")
    assert seen[-1] == (24, 24)
    assert {path.name for path in (tmp_path / "p").iterdir()} == {f"{i}.png" for i in range(24)}
    with np.load(tmp_path / "x.npz") as found:
        assert found["data"].dtype == np.uint8 and found["targets"].dtype == np.int64
        assert (found["targets"] == poisoned.labels.numpy()).all()
        for i, image in enumerate(poisoned.pixels.permute(0, 2, 3, 1).numpy()):
            assert (np.asarray(Image.open(tmp_path / "p" / f"{i}.png")) == image).all()
            assert (found["data"][i] == image).all()


@pytest.mark.parametrize("format", ["em", "rem", "npz"])
def test_equal_data_equal_bytes(clean, tmp_path, format):
    plain = None if format == "npz" else clean
    for name in ("a", "b"):
        export(POISONS["sp"](clean), tmp_path / name, format=format, clean=plain)
    assert (tmp_path / "a").read_bytes() == (tmp_path / "b").read_bytes()


# What is refused


def test_a_clean_set_that_is_missing_not_needed_or_another(clean, tmp_path):
    poisoned = poison(clean, SP())
    for format in ("em", "rem"):
        with pytest.raises(RecipeError, match="holds the noise, not the images; pass --clean"):
            export(poisoned, tmp_path / "x", format=format)
        other = replace(clean, labels=clean.labels.roll(1))
        with pytest.raises(DataError, match="labels differ from the clean set's"):
            export(poisoned, tmp_path / "x", format=format, clean=other)
        with pytest.raises(DataError, match="same index"):
            part = clean.rows(torch.arange(9))
            export(poisoned, tmp_path / "x", format=format, clean=part)
    for format in ("folder", "png", "npz"):
        with pytest.raises(RecipeError, match="option clean does not belong to format"):
            export(poisoned, tmp_path / "x", format=format, clean=clean)
    with pytest.raises(RecipeError, match=r"unknown format 'em.pt'"):
        export(poisoned, tmp_path / "x", format="em.pt")
    twice = poisoned.rows(torch.tensor([0, 1, 1]))
    with pytest.raises(DataError, match="one index, so their files would collide"):
        export(twice, tmp_path / "x", format="png")
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("format", ["em", "rem", "npz"])
def test_a_full_disk_leaves_what_was_there(clean, tmp_path, monkeypatch, format):
    (tmp_path / "x").write_text("old")
    plain = None if format == "npz" else clean

    def full(*_):
        raise OSError(28, "No space left on device")

    with pytest.raises(ArtifactError, match="exists already; pass --force"):
        export(clean, tmp_path / "x", format=format, clean=plain)
    monkeypatch.setattr("os.fsync", full)
    with pytest.raises(ArtifactError, match=r"cannot be written .No space left"):
        export(clean, tmp_path / "x", format=format, clean=plain, force=True)
    assert snapshot(tmp_path) == {"x": b"old"}
    monkeypatch.undo()
    export(clean, tmp_path / "x", format=format, clean=plain, force=True)
    assert (tmp_path / "x").read_bytes() != b"old"


@pytest.mark.parametrize("format", ["em", "rem", "npz"])
def test_a_limit_on_file_size_leaves_nothing(clean, tmp_path, format):
    """A real failure of write(2), in the middle of a file."""
    resource = pytest.importorskip("resource")
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    plain = None if format == "npz" else clean
    poisoned = POISONS["half"](clean)
    resource.setrlimit(resource.RLIMIT_FSIZE, (5_000, hard))
    try:
        with pytest.raises(ArtifactError, match="cannot be written"):
            export(poisoned, tmp_path / "x", format=format, clean=plain)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert not list(tmp_path.iterdir())


# The command


def test_export_command(cli, photos, tmp_path):
    ops = tmp_path / "ops.safetensors"
    poison(load(photos), OPS()).save(ops)
    line = ("export", ops, "--format", "em", "--clean", photos)
    found = cli(*line, "-o", tmp_path / "p.pt", "--json").json
    assert found == {
        "output": str(tmp_path / "p.pt"), "format": "em", "n": 24, "scope": "class"
    }  # fmt: skip
    again = cli(*line, "-o", tmp_path / "p.pt")
    assert again.code == 1 and "exists already; pass --force" in again.err
    assert cli(*line, "-o", tmp_path / "p.pt", "--force", "-q").out == f"{tmp_path / 'p.pt'}\n"
    out = tmp_path / "back.safetensors"
    line = ("import", tmp_path / "p.pt", "--clean", photos, "--epsilon", "1", "-o", out, "--json")
    assert cli(*line).json["n"] == 24
    looked = cli("inspect", out, "--clean", photos, "--json").json
    wanted = cli("inspect", ops, "--clean", photos, "--json").json
    for key in ("linf", "l2_mean", "l0_max", "class_wise", "aligned", "poisoned_share"):
        assert looked[key] == wanted[key]


@pytest.mark.parametrize("scope", ["class", "sample"])
@pytest.mark.parametrize("most", [9, 10])
def test_what_tues_reader_clamps_is_said(cli, photos, tmp_path, scope, most):
    """Once, on stderr, of noise of more than nine grey levels: its reader clamps to these."""
    clean = load(photos)
    noise = torch.zeros(3, *clean.pixels.shape[1:], dtype=torch.int16)
    noise[1, 2, 3, 4] = most
    pixels = (clean.pixels.clamp(64, 128) + noise[clean.labels]).to(torch.uint8)
    plain = replace(clean, pixels=clean.pixels.clamp(64, 128))
    if scope == "sample":
        pixels[0, 0, 0, 0] += 1
    marks = torch.ones(len(clean), dtype=torch.bool)
    replace(clean, pixels=pixels, poisoned=marks).save(tmp_path / "x")
    plain.save(tmp_path / "clean")
    line = ("export", tmp_path / "x", "--format", "em", "--clean", tmp_path / "clean")
    found = cli(*line, "-o", tmp_path / "p.pt", "--json")
    assert found.json["scope"] == scope and set(found.json) == {"output", "format", "n", "scope"}
    assert found.err.count("TUE's reader clamps it to 9") == (most > 9)
    read = torch.load(tmp_path / "p.pt", weights_only=True).mul(255).clamp(-9, 9)  # as TUE does
    labels = clean.labels[clean.index.argsort()]
    theirs = plain.pixels[clean.index.argsort()] + (read[labels] if scope == "class" else read)
    same = torch.equal(theirs.to(torch.uint8), pixels[clean.index.argsort()])
    assert same == (most == 9)


def test_export_that_fails_is_one_line(cli, photos, tmp_path):
    ops = tmp_path / "ops.safetensors"
    poison(load(photos), OPS()).save(ops)
    found = cli("export", ops, "--format", "em", "-o", tmp_path / "x")
    assert (found.code, found.out) == (2, "") and found.err.count("\n") == 1
    assert "pass --clean SOURCE" in found.err
    found = cli("export", ops, "--format", "pngs", "-o", tmp_path / "x")
    assert found.code == 2 and "did you mean 'png'?" in found.err
    assert list(tmp_path.iterdir()) == [ops]


def test_a_format_is_a_module_with_a_place_of_its_own():
    """The command's help is made of them, so they bring neither torch nor NumPy."""
    assert len({form.place for form in formats.FORMATS.values()}) == len(formats.FORMATS)
    home = Path(formats.__path__[0])
    assert {path.stem for path in home.glob("*.py")} == {"__init__", *formats.FORMATS}
    code = f"import sys, {formats.__name__}; print({{'torch', 'numpy'}} & set(sys.modules))"
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert run.stdout == "set()\n"


def test_a_signal_while_em_noise_is_written_comes_after_it(clean, tmp_path, monkeypatch):
    """torch.save would end with an error of its own."""
    save, seen = torch.save, []

    def saved(values, file):
        os.kill(os.getpid(), signal.SIGTERM)
        assert seen == []
        save(values, file)

    before = signal.signal(signal.SIGTERM, lambda number, frame: seen.append(number))
    monkeypatch.setattr("torch.save", saved)
    try:
        export(poison(clean, SP()), tmp_path / "p.pt", format="em", clean=clean)
    finally:
        signal.signal(signal.SIGTERM, before)
    assert seen == [signal.SIGTERM] and torch.load(tmp_path / "p.pt").ndim == 4
