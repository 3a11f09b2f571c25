"""Noise of a training size on photographs of any size."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from conftest import picture, snapshot
from PIL import Image

from stkit import AR, CUDA, OPS, SP, load, poison
from stkit.core.errors import ArtifactError, DataError
from stkit.data.pictures import read_image, resize
from stkit.poisons.photographs import Axis, Sample, added, keep_size

SIZES = [(80, 48), (48, 112), (64, 64), (48, 48), (50, 61), (20, 14), (33, 15), (16, 16)]
SIZE = 16


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """Photographs of many sizes, two of them smaller than the training size; dark and light."""
    root = tmp_path_factory.mktemp("photographs")
    for label, name in enumerate(("ant", "bee")):
        for i, size in enumerate(SIZES):
            picture(root / name / "deep" / f"{i}.png", 10 * label + i, size=size)
    return root


@pytest.fixture(scope="module")
def clean(folder):
    return load(folder, size=SIZE, recursive=True)


def deltas(folder, out):
    """What changed in each photograph, by its name: int [H,W,3]."""
    names = sorted(str(path.relative_to(out)) for path in out.rglob("*.png"))
    return {name: read_image(out / name).astype(int) - read_image(folder / name) for name in names}


@pytest.mark.parametrize("recipe", [SP(bound="linf"), SP(epsilon=4 / 255), AR()])
def test_no_pixel_changes_by_more_than_one_of_the_training_size(recipe, folder, clean, tmp_path):
    before = snapshot(folder)
    poisoned = poison(clean, recipe, poison_rate=0.5)
    kept = keep_size(poisoned, clean, folder, tmp_path / "out", recursive=True)
    assert snapshot(folder) == before
    changed = deltas(folder, tmp_path / "out")
    assert set(changed) == set(clean.names) == set(poisoned.names)
    small = (poisoned.pixels.int() - clean.pixels.int()).abs().amax((1, 2, 3)).tolist()
    marked = dict(zip(poisoned.names, poisoned.poisoned.tolist(), strict=True))
    for name, most in zip(poisoned.names, small, strict=True):
        assert np.abs(changed[name]).max() <= most
        assert changed[name].any() == marked[name]
    assert kept.n == len(clean) // 2
    assert kept.linf == max(np.abs(each).max() for each in changed.values()) / 255
    assert kept.l0_max == max(each.any(2).sum() for each in changed.values())
    rms = [np.sqrt((changed[n] ** 2).mean()) / 255 for n in poisoned.names if marked[n]]
    assert kept.rms == pytest.approx(np.mean(rms))
    if recipe == SP(bound="linf"):
        assert kept.linf * 255 <= 8


def test_a_block_is_a_pixel_and_what_is_beyond_the_square_is_mirrored():
    down, across = Axis.of(48, 16, 16), Axis.of(80, 27, 16)
    noise = np.random.default_rng(0).integers(-8, 9, (3, 16, 16))
    pixels = np.full((48, 80, 3), 100, np.uint8)
    clean = np.full((3, 16, 16), 100, np.uint8)
    added(pixels, (down, across), Sample(clean, (clean + noise).astype(np.uint8), 0, 2, {}))
    wide = np.pad(noise, ((0, 0), (0, 0), (5, 6)), mode="symmetric")  # 27 columns, as resized
    columns = ((np.arange(80) + 0.5) * 27 / 80).astype(int)
    assert (pixels.transpose(2, 0, 1).astype(int) - 100 == wide.repeat(3, 1)[:, :, columns]).all()


ALIKE = {"sp": 0.9, "ops": 0.5, "ar": 0.7, "cuda": 0.9}


def smooth(path, seed, size):
    """Write a picture of two by three colours that run into each other."""
    path.parent.mkdir(parents=True, exist_ok=True)
    colours = np.random.default_rng(seed).integers(30, 220, (2, 3, 3)).astype(np.uint8)
    Image.fromarray(colours).resize(size, Image.Resampling.BICUBIC).save(path)


@pytest.mark.parametrize("recipe", [SP(), OPS(), AR(), CUDA()])
def test_a_trainers_resize_leaves_the_noise(recipe, tmp_path):
    """Of photographs four times as large, of any shape; CUDA's edges are those of the photograph,
    not of the square."""
    for label, name in enumerate(("ant", "bee")):
        for i in range(6):
            size = (64 + 4 * i, 64) if label else (64, 64 + 4 * i)
            smooth(tmp_path / "in" / name / f"{i}.png", 10 * label + i, size)
    clean = load(tmp_path / "in", size=SIZE)
    poisoned = poison(clean, recipe)
    kept = keep_size(poisoned, clean, tmp_path / "in", tmp_path / "out")
    seen = load(tmp_path / "out", size=SIZE)
    assert seen.names == poisoned.names
    made, left = (each.pixels.double() - clean.pixels.double() for each in (poisoned, seen))
    lengths = left.flatten(1).norm(dim=1) / made.flatten(1).norm(dim=1)
    assert kept.left == pytest.approx(float(lengths.mean()), rel=1e-6)
    inner = (slice(None), slice(None), slice(2, -2), slice(2, -2))
    if recipe == CUDA():
        made, left = made[inner], left[inner]
    alike = torch.cosine_similarity(made.flatten(1), left.flatten(1))
    assert alike.min() > ALIKE[poisoned.header["recipe"]["method"]]


def test_a_trainers_resize_makes_the_pixel_of_ops_out_of_its_block(folder, clean, tmp_path):
    poisoned = poison(clean, OPS())
    kept = keep_size(poisoned, clean, folder, tmp_path / "out", recursive=True)
    seen = load(tmp_path / "out", size=SIZE, recursive=True)
    where = (poisoned.pixels != clean.pixels).any(1)
    apart = (seen.pixels.int() - poisoned.pixels.int()).abs().amax(1)[where]
    small = torch.tensor([min(SIZES[int(n.split("/")[-1][0])]) < SIZE for n in clean.names])
    assert apart[~small].max() <= 1
    for name, delta in deltas(folder, tmp_path / "out").items():
        rows, columns = np.nonzero(delta.any(2))
        scale = min(delta.shape[:2]) / SIZE
        assert 0 < len(rows) <= (1 if scale <= 1 else np.ceil(2 * scale) ** 2)
        after = read_image(tmp_path / "out" / name)[rows, columns]
        assert (after == after[0]).all() and set(after[0].tolist()) <= {0, 255}
    assert kept.l0_max <= 64


def test_what_is_no_folder_of_classes_is_refused(folder, clean, tmp_path):
    poisoned = poison(clean, SP())
    one = replace(clean, labels=torch.zeros_like(clean.labels))
    for images, where, out, message in (
        (replace(clean, names=None), folder, "out", "its images have no files"),
        (one, folder, "out", "found images of one class; unlearnable examples need two or more"),
        (clean, folder, folder / "out", "lies in .*, whose images are read; pass another -o"),
    ):
        with pytest.raises(DataError, match=message):
            keep_size(poisoned, images, where, tmp_path / out, recursive=True)
    (tmp_path / "taken").mkdir()
    (tmp_path / "taken" / "file").touch()
    with pytest.raises(ArtifactError, match="taken: exists already; pass a new folder"):
        keep_size(poisoned, clean, folder, tmp_path / "taken", recursive=True)
    assert not (tmp_path / "out").exists()


def test_a_photograph_as_large_as_the_training_size_gets_what_the_set_has(tmp_path):
    for i in range(6):
        picture(tmp_path / "in" / "ab"[i % 2] / f"{i}.png", i, size=(SIZE, SIZE))
    clean = load(tmp_path / "in", size=SIZE)
    for recipe in (SP(), OPS(), AR(), CUDA()):
        poisoned, out = poison(clean, recipe), tmp_path / type(recipe).__name__
        assert keep_size(poisoned, clean, tmp_path / "in", out).left == pytest.approx(1, abs=1e-3)
        seen = load(out)
        # the filter of CUDA is computed in float32 here
        assert (seen.pixels.int() - poisoned.pixels.int()).abs().max() <= (recipe == CUDA())
        assert resize(Image.fromarray(read_image(out / clean.names[0])), SIZE).size == (SIZE, SIZE)
