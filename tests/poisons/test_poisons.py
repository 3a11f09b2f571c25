"""What every poison shares: rounding, adding, the drawn subset, statistics, the file."""

import math
from dataclasses import replace

import numpy as np
import pytest
import torch
from threadpoolctl import threadpool_limits

from stkit.core import header
from stkit.core.errors import DataError, RecipeError
from stkit.data import load, perturbation
from stkit.data.images import Images
from stkit.poisons import poison
from stkit.recipes.poisons import CUDA, OPS, SP

RECIPES = [SP(), OPS(pixels=2), CUDA()]


def images_of(pixels, labels=None, classes=4, seed=0):
    """An `Images` of uint8 [N,3,H,W], or of a shape, drawn at random."""
    if isinstance(pixels, tuple):
        generator = torch.Generator().manual_seed(seed)
        pixels = torch.randint(0, 256, pixels, generator=generator, dtype=torch.uint8)
    labels = torch.arange(len(pixels)) % classes if labels is None else labels
    head = header.make(
        "dataset", {"source": "test"}, seed=0, inputs=[], split="train",
        classes=[f"class{k}" for k in range(classes)],
    )  # fmt: skip
    return Images(pixels, labels, torch.arange(len(pixels)), head)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_noise_at_a_grey_level_is_that_level(dtype):
    level = np.arange(-255, 256)
    for noise in (
        level / 255,
        level * (1 / 255),
        level * dtype(1 / 255),
        level.astype(dtype) / 255,
    ):
        for rounding in ("floor", "nearest"):
            got = perturbation.grey_levels(noise.astype(dtype), rounding)
            assert got.dtype == np.int16
            assert (got == level).all()
    eight = np.array([8, -8], dtype) / dtype(255)
    assert perturbation.grey_levels(eight, "floor").tolist() == [8, -8]


def test_noise_between_grey_levels_is_floored_or_rounded():
    noise = np.array([-1.9, -1.5, -0.5, -0.01, 0.0, 0.01, 0.5, 0.99, 1.5, 400.0]) / 255
    floor = [-2, -2, -1, -1, 0, 0, 0, 0, 1, 255]
    assert perturbation.grey_levels(noise, "floor").tolist() == floor
    assert perturbation.grey_levels(noise, "nearest").tolist() == [-2, -2, 0, 0, 0, 0, 0, 1, 2, 255]


def test_adding_whole_levels_is_adding_noise_clipping_and_rounding_once():
    images = torch.arange(256, dtype=torch.uint8)[:, None, None, None].expand(256, 3, 5, 7)
    noise = np.random.default_rng(0).uniform(-0.3, 0.3, (256, 3, 5, 7))
    for rounding, once in (("floor", np.floor), ("nearest", np.rint)):
        levels = perturbation.grey_levels(noise, rounding)
        got = perturbation.add(
            images.contiguous(), torch.ones(256, dtype=torch.bool), levels.__getitem__
        )
        want = once(np.clip(images.numpy() + noise * 255, 0, 255))
        assert (got.numpy() == want).all()


@pytest.mark.parametrize("recipe", RECIPES)
@pytest.mark.parametrize("shape", [(40, 3, 16, 20), (40, 3, 128, 128)])  # in one piece, in four
def test_statistics_are_those_of_the_applied_perturbation(recipe, shape):
    clean = images_of(shape)
    found = poison(clean, recipe, poison_rate=0.5)
    delta = (found.pixels.double() - clean.pixels.double()) / 255
    poisoned = delta[found.poisoned].flatten(1)
    got = found.header["statistics"]
    assert got["n"] == 20 == int(found.poisoned.sum())
    assert got["linf"] == pytest.approx(float(poisoned.abs().max()), rel=1e-15)
    assert got["l2_mean"] == pytest.approx(float(poisoned.norm(dim=1).mean()), rel=1e-12)
    assert got["l0_max"] == int((delta != 0).any(1).flatten(1).sum(1).max())
    assert (delta[~found.poisoned] == 0).all()


@pytest.mark.parametrize("recipe", RECIPES)
def test_the_result_does_not_depend_on_threads(recipe):
    clean, threads = images_of((400, 3, 32, 32)), torch.get_num_threads()
    assert len(list(perturbation.pieces(400, 3 * 32 * 32))) == 3
    made = []
    for count in (1, 3):
        torch.set_num_threads(count)
        try:
            with threadpool_limits(count):  # NumPy's, in scikit-learn's generator
                made.append(poison(clean, recipe))
        finally:
            torch.set_num_threads(threads)
    assert torch.equal(made[0].pixels, made[1].pixels)
    assert made[0].header == made[1].header


@pytest.mark.parametrize("recipe", RECIPES)
def test_rates_nest_and_the_noise_is_made_with_the_whole_set(recipe):
    clean = images_of((50, 3, 32, 32))
    whole = poison(clean, recipe, seed=3)
    assert whole.poisoned.all()
    inner = torch.zeros(50, dtype=torch.bool)
    for rate in (0.0, 0.11, 0.5, 0.9):
        part = poison(clean, recipe, seed=3, poison_rate=rate)
        assert int(part.poisoned.sum()) == round(rate * 50)
        assert (part.poisoned | ~inner).all()
        inner = part.poisoned
        assert torch.equal(part.pixels[inner], whole.pixels[inner])
        assert torch.equal(part.pixels[~inner], clean.pixels[~inner])
    other = poison(clean, recipe, seed=4, poison_rate=0.5).poisoned
    assert not torch.equal(other, poison(clean, recipe, seed=3, poison_rate=0.5).poisoned)


def test_rate_zero_is_the_clean_set():
    clean = images_of((12, 3, 16, 16))
    found = poison(clean, SP(), poison_rate=0)
    assert torch.equal(found.pixels, clean.pixels)
    assert found.header["statistics"] == {"n": 0, "linf": 0.0, "l2_mean": 0.0, "l0_max": 0}


@pytest.mark.parametrize("recipe", RECIPES)
def test_same_seed_same_bytes_and_the_file_says_what_it_is(recipe, tmp_path):
    clean = images_of((40, 3, 32, 32))
    before = clean.pixels.clone()
    for name in ("a", "b"):
        poison(clean, recipe, seed=5, poison_rate=0.75).save(tmp_path / name)
    assert (tmp_path / "a").read_bytes() == (tmp_path / "b").read_bytes()
    assert torch.equal(clean.pixels, before)
    found = load.load(tmp_path / "a")
    assert found.pixels.dtype == torch.uint8 and found.poisoned.dtype == torch.bool
    assert torch.equal(found.labels, clean.labels) and torch.equal(found.index, clean.index)
    head = found.header
    assert head["kind"] == "dataset" and head["split"] == "train" and head["seed"] == 5
    assert head["method"] == type(recipe).__name__.lower()
    assert head["recipe"]["poison_rate"] == 0.75
    assert head["inputs"][0]["digest"] == clean.provenance["digest"]
    assert head["classes"] == list(clean.classes)
    assert ("scikit-learn" in head["versions"]) == isinstance(recipe, SP)


def test_another_seed_is_another_sp():
    clean = images_of((40, 3, 32, 32))
    assert not torch.equal(poison(clean, SP(), seed=1).pixels, poison(clean, SP()).pixels)


@pytest.mark.parametrize("rate", [-0.1, 1.1, math.nan, math.inf])
def test_a_rate_outside_zero_to_one_is_refused(rate):
    with pytest.raises(RecipeError, match="poison-rate"):
        poison(images_of((8, 3, 16, 16)), SP(), poison_rate=rate)


def test_a_seed_that_scikit_learn_cannot_take_is_refused():
    with pytest.raises(RecipeError, match="seed"):
        poison(images_of((8, 3, 16, 16)), SP(), seed=-1)


def test_a_poisoned_set_is_not_poisoned_again():
    once = poison(images_of((8, 3, 16, 16)), OPS())
    with pytest.raises(DataError, match=r"poisoned already \(ops\)"):
        poison(once, SP())
    bare = replace(once, header={k: v for k, v in once.header.items() if k != "method"})
    with pytest.raises(DataError, match="poisoned already"):
        poison(bare, SP())


def test_float16_noise_is_floored_as_float32_is() -> None:
    """Whole levels survive storage in float16, and values between levels go down."""
    levels = np.arange(-8, 9)
    assert (perturbation.grey_levels((levels / 255).astype(np.float16), "floor") == levels).all()
    between = (np.array([0.8, 1.76, -0.2, -1.2, 8.0]) / 255).astype(np.float16)
    assert perturbation.grey_levels(between, "floor").tolist() == [0, 1, -1, -2, 8]
