"""EM against its transcription, class-wise and sample-wise; stopping, resume, published images."""

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch

import reference
from stkit import models, poisons
from stkit.core import arrays, artifact
from stkit.core.errors import ArtifactError, DivergenceError, RecipeError
from stkit.core.rng import stream
from stkit.data.images import Images
from stkit.data.load import load
from stkit.data.sampling import stratified
from stkit.engine.runtime import pick
from stkit.poisons import em
from stkit.poisons.rounds import Round, Rounds
from stkit.recipes.poisons import EM, resolve

pytestmark = pytest.mark.usefixtures("thin")
CPU = pick("cpu", "fp32")
SIDE = 20  # the smaller, the faster; on 16 a batch of one would have one value a channel
QUICK = EM(model="small", batch_size=16, model_steps=3, steps=2, stop_error=0.0, max_rounds=2)


@pytest.fixture(scope="module")
def digits() -> Images:
    return load("digits", limit=40, size=SIDE)


def crafted(images: Images, recipe: EM, **options: Any) -> em.Crafting:
    crafting = em.Crafting(images, recipe, seed=0, runtime=CPU, **options)
    for _ in crafting.steps():
        pass
    return crafting


@pytest.mark.parametrize("scope", ["sample", "class"])
def test_noise_equals_the_transcription(scope, digits):
    """Three rounds in float64: noise to 1e-12, errors exactly, so images to the grey level."""
    recipe = replace(QUICK, scope=scope, max_rounds=3)
    slow = models.create("small", classes=10, size=SIDE).double()
    crafting = em.Crafting(digits, recipe, seed=0, runtime=CPU, surrogate=slow, share=0.8)
    last = [crafting.noise.clone() for record in crafting.steps() if record][-1]

    def permuted(rows, purpose, clock):
        return rows[torch.randperm(len(rows), generator=stream(0, purpose, clock))]

    everything = torch.arange(40)
    subset = permuted(everything, "fifth", 0)
    subset = subset[stratified(digits.labels[subset], 32)]
    classy = scope == "class"
    noise, errors = reference.em(
        slow, digits.pixels.double() / 255, digits.labels, per_class=classy, epsilon=8 / 255,
        step_size=0.8 / 255, steps=2, model_steps=3, batch_size=16, rounds=3, weight_decay=5e-4,
        order=lambda e: permuted(everything, "order", e) if classy else everything,
        fifth=lambda r: permuted(subset, "noise", r) if classy else everything,
    )  # fmt: skip
    assert [each.error for each in crafting.rounds.all] == pytest.approx(errors, abs=1e-12)
    assert torch.allclose(last, noise, rtol=0, atol=1e-12)
    assert noise.abs().max() > 1 / 255


@pytest.mark.parametrize("scope", ["sample", "class"])
def test_resume_at_any_step_gives_the_same_bytes(scope, digits, tmp_path):
    recipe = replace(QUICK, scope=scope)
    whole = em.Crafting(digits, recipe, seed=0, runtime=CPU)
    for count, _ in enumerate(whole.steps(), 1):
        if count % 3 == 1:
            artifact.write(tmp_path / f"{count}", whole.tensors(), whole.head())
    for stop in range(1, count, 3):
        again = em.Crafting(digits, recipe, seed=0, runtime=CPU)
        again.resume(*artifact.read(tmp_path / f"{stop}", "state"))
        for _ in again.steps():
            pass
        assert torch.equal(again.best, whole.best) and again.rounds.all == whole.rounds.all, stop


def test_resume_refuses_other_settings(digits):
    crafting = em.Crafting(digits, QUICK, seed=0, runtime=CPU)
    other = em.Crafting(digits, replace(QUICK, epsilon=4 / 255), seed=0, runtime=CPU)
    with pytest.raises(ArtifactError, match=r"epsilon was 0.0313.*, now 0.0156"):
        other.resume(crafting.head(), crafting.tensors())


def test_the_error_ends_the_rounds_and_the_best_is_remembered():
    rounds = Rounds(stop_error=0.2, max_rounds=5)
    best = [(rounds.add(error), rounds.done) for error in (0.9, 0.5, 0.7, 0.5, 0.2)]
    assert best == [(True, False), (True, False), (False, False), (False, False), (True, True)]
    assert rounds.converged and rounds.best == Round(5, 0.2)
    few = Rounds(stop_error=0.2, max_rounds=2)
    assert [(few.add(0.6), few.done), (few.add(0.7), few.done)] == [(True, False), (False, True)]
    assert not few.converged and few.best == Round(1, 0.6)


def test_the_noise_of_the_best_round_is_kept(digits):
    crafting = em.Crafting(digits, replace(QUICK, max_rounds=4), seed=0, runtime=CPU)
    noises = {each: crafting.noise.clone() for each in crafting.steps() if each}
    assert len(noises) == 4 and len({each.error for each in noises}) > 1
    assert torch.equal(crafting.best, noises[crafting.rounds.best])


def test_a_run_that_never_converges_ends_and_says_so(digits):
    crafting = crafted(digits, QUICK)
    about = crafting.result().about
    assert about["rounds"] == 2 and about["converged"] is False
    assert about["best"]["error"] == min(each.error for each in crafting.rounds.all)


def test_sign_positive_drops_the_negative_half(digits):
    both, positive = (crafted(digits, replace(QUICK, sign=sign)) for sign in ("both", "positive"))
    rows = slice(0, 40)
    noise, half = both.result().rows(rows), positive.result().rows(rows)
    assert (noise < 0).any() and (half == noise.clip(0, None)).all()


def test_the_fifth_is_stratified(digits):
    """Unequal classes keep their shares, as by the authors' `train_test_split(stratify=...)`."""
    labels = torch.tensor([0] * 50 + [1] * 30 + [2] * 2).repeat_interleave(5)
    images = digits.rows(torch.zeros(len(labels), dtype=torch.int64))
    images = replace(images, labels=labels, index=torch.arange(len(labels)))
    recipe = replace(QUICK, scope="class")
    some = em.Crafting(images, recipe, seed=0, runtime=CPU).some
    assert labels[some].bincount().tolist() == [50, 30, 2] and len(some.unique()) == 82


def test_class_wise_noise_is_one_a_class(digits):
    crafting = crafted(digits, replace(QUICK, scope="class", steps=1))
    assert crafting.noise.shape == (10, 3, SIDE, SIDE)
    noise = crafting.result().rows
    rows = (digits.labels == 4).nonzero().flatten()
    assert all((noise(slice(r, r + 1)) == noise(slice(rows[0], rows[0] + 1))).all() for r in rows)


@pytest.mark.parametrize(
    ("scope", "size", "classes", "expected"),
    [
        ("sample", 32, 10, (20, 10, 512, 0.01, 5e-4)),
        ("sample", 32, 100, (20, 20, 512, 0.01, 5e-5)),
        ("sample", 224, 100, (20, 100, 32, 0.1, 5e-5)),
        ("class", 32, 10, (1, 10, 512, 0.01, 5e-4)),
        ("class", 32, 100, (1, 10, 512, 0.01, 5e-5)),
        ("class", 224, 100, (1, 100, 32, 0.1, 5e-5)),
    ],
)
def test_the_authors_settings(scope, size, classes, expected):
    r = resolve(EM(scope=scope), (size, size), classes)
    assert (r.steps, r.model_steps, r.batch_size, r.stop_error, r.weight_decay) == expected
    assert r.step_size == pytest.approx(0.8 / 255)


@pytest.mark.parametrize(
    "wrong", [{"epsilon": 0.0}, {"epsilon": float("nan")}, {"scope": "both"}, {"steps": 0}]
)
def test_wrong_settings(wrong):
    with pytest.raises(RecipeError):
        EM(**wrong)


def test_noise_that_does_not_fit_lies_in_a_file(digits):
    """float16 in a memory-mapped file: within a level of what float32 gives, and within epsilon."""
    whole = crafted(digits, QUICK).result().rows(slice(0, 40))
    crafting = crafted(digits, QUICK, memory=0)
    noise = crafting.result().rows(slice(0, 40))
    assert noise.dtype == np.float16 and isinstance(arrays.zeros((1,), np.int8, 0), np.memmap)
    assert np.abs(noise - whole).max() < 8 / 255
    assert (np.abs(noise - whole) < 1 / 255).mean() > 0.9
    pixels = poisons.finish(crafting).pixels.int() - digits.pixels.int()
    assert pixels.abs().max() <= 8


@pytest.mark.parametrize(("count", "size", "other"), [(17, 8, 7), (3, 2, 3), (7, 2, 4)])
def test_a_last_batch_of_one_image_is_refused_where_a_norm_needs_two(count, size, other, digits):
    """At 16x16 the small net ends in one pixel, at 20x20 in four."""
    pixels = torch.randint(256, (count, 3, 16, 16), dtype=torch.uint8)
    images = Images.from_tensors(pixels, torch.arange(count) % 2)
    recipe = replace(QUICK, batch_size=size)
    with pytest.raises(RecipeError, match=f"batch-size is {size}, .* pass --batch-size {other}$"):
        em.Crafting(images, recipe, seed=0, runtime=CPU)
    crafted(images, replace(recipe, batch_size=other, max_rounds=1))
    crafted(images, replace(recipe, scope="class", max_rounds=1), share=1.0)
    larger = digits.rows(torch.arange(count))
    crafted(larger, replace(recipe, max_rounds=1))


def test_a_surrogate_that_diverges_is_an_error(digits):
    with pytest.raises(DivergenceError, match=r"diverged at round 1.*lower --lr"):
        crafted(digits, replace(QUICK, lr=1000.0, clip=1e30, model_steps=20))
