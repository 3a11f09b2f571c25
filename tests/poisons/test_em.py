"""EM against its transcription, class-wise and sample-wise; stopping, resume, published images."""

from dataclasses import replace

import numpy as np
import pytest
import torch

import reference
from stkit import models, poisons
from stkit.core import arrays, artifact
from stkit.core.errors import ArtifactError, DataError, RecipeError
from stkit.core.rng import stream
from stkit.data.images import Images
from stkit.data.load import load
from stkit.data.sampling import balanced
from stkit.engine.runtime import pick
from stkit.poisons import em
from stkit.recipes.poisons import EM, em_for

CPU = pick("cpu", "fp32")
QUICK = EM(model="small", batch_size=16, model_steps=3, steps=2, stop_error=0.0, max_rounds=2)


@pytest.fixture(scope="module")
def digits() -> Images:
    return load("digits", limit=40)


def made(images: Images, recipe: EM, seed: int = 0) -> em.Making:
    making = em.Making(images, recipe, seed=seed, runtime=CPU)
    for _ in making.steps():
        pass
    return making


@pytest.mark.parametrize("scope", ["sample", "class"])
def test_noise_equals_the_transcription(scope, digits, monkeypatch):
    """Three rounds in float64: noise to 1e-12, errors exactly, so images to the grey level."""
    monkeypatch.setattr(em, "to_float", lambda pixels: pixels.double() / 255)
    if scope == "class":
        monkeypatch.setattr(em, "FIFTH", 0.8)
    recipe = replace(QUICK, scope=scope, max_rounds=3)
    torch.set_default_dtype(torch.float64)
    try:
        making = em.Making(digits, recipe, seed=0, runtime=CPU)
        slow = models.create("small", classes=10, size=32)
    finally:
        torch.set_default_dtype(torch.float32)
    last = [making.noise.clone() for record in making.steps() if record][-1]

    def permuted(rows, purpose, clock):
        return rows[torch.randperm(len(rows), generator=stream(0, purpose, clock))]

    everything = torch.arange(40)
    subset = permuted(everything, "fifth", 0)
    subset = subset[balanced(digits.labels[subset], 32)]
    classy = scope == "class"
    noise, errors = reference.em(
        slow, digits.pixels.double() / 255, digits.labels, per_class=classy, epsilon=8 / 255,
        step_size=0.8 / 255, steps=2, model_steps=3, batch_size=16, rounds=3, weight_decay=5e-4,
        order=lambda e: permuted(everything, "order", e) if classy else everything,
        fifth=lambda r: permuted(subset, "noise", r) if classy else everything,
    )  # fmt: skip
    assert [record["error"] for record in making.records] == pytest.approx(errors, abs=1e-12)
    assert torch.allclose(last, noise, rtol=0, atol=1e-12)
    assert noise.abs().max() > 1 / 255


@pytest.mark.parametrize("scope", ["sample", "class"])
def test_resume_at_any_step_gives_the_same_bytes(scope, digits, tmp_path):
    recipe = replace(QUICK, scope=scope)
    whole = made(digits, recipe)
    count = sum(1 for _ in em.Making(digits, recipe, seed=0, runtime=CPU).steps())
    for stop in range(1, count, 3):
        making = em.Making(digits, recipe, seed=0, runtime=CPU)
        for _, _ in zip(range(stop), making.steps(), strict=False):
            pass
        artifact.write(tmp_path / "part", making.tensors(), making.head())
        again = em.Making(digits, recipe, seed=0, runtime=CPU)
        again.resume(*artifact.read(tmp_path / "part", "state"))
        for _ in again.steps():
            pass
        assert torch.equal(again.best, whole.best) and again.records == whole.records, stop


def test_resume_refuses_other_settings(digits):
    making = em.Making(digits, QUICK, seed=0, runtime=CPU)
    other = em.Making(digits, replace(QUICK, epsilon=4 / 255), seed=0, runtime=CPU)
    with pytest.raises(ArtifactError, match="epsilon was 0.0313.*, now 0.0156"):
        other.resume(making.head(), making.tensors())


def test_the_best_round_is_kept_and_the_error_ends_the_run(digits, monkeypatch):
    making = em.Making(digits, replace(QUICK, max_rounds=5, stop_error=0.2), seed=0, runtime=CPU)
    errors, noises = iter([0.9, 0.5, 0.7, 0.1, 0.0]), []

    def judged():
        making._next(1, "model")
        record = {"round": len(making.records) + 1, "error": next(errors)}
        noises.append(making.noise.clone())
        making._keep(record)
        return record

    monkeypatch.setattr(making, "_judge", judged)
    for _ in making.steps():
        pass
    assert [r["error"] for r in making.records] == [0.9, 0.5, 0.7, 0.1] and making.converged
    assert torch.equal(making.best, noises[3])


def test_a_run_that_never_converges_ends_and_says_so(digits):
    making = made(digits, QUICK)
    _, about = making.result()
    assert about["rounds"] == 2 and about["converged"] is False
    assert about["best"]["error"] == min(r["error"] for r in making.records)


def test_sign_positive_drops_the_negative_half(digits):
    both, positive = (made(digits, replace(QUICK, sign=sign)) for sign in ("both", "positive"))
    rows = slice(0, 40)
    noise, half = both.result()[0](rows), positive.result()[0](rows)
    assert (noise < 0).any() and (half == noise.clip(0, None)).all()


def test_class_wise_noise_is_one_a_class(digits):
    making = made(digits, replace(QUICK, scope="class", steps=1))
    assert making.noise.shape == (10, 3, 32, 32)
    noise, _ = making.result()
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
    r = em_for(EM(scope=scope), size, classes)
    assert (r.steps, r.model_steps, r.batch_size, r.stop_error, r.weight_decay) == expected
    assert r.step_size == pytest.approx(0.8 / 255)


@pytest.mark.parametrize(
    "wrong", [{"epsilon": 0.0}, {"epsilon": float("nan")}, {"scope": "both"}, {"steps": 0}]
)
def test_wrong_settings(wrong):
    with pytest.raises(RecipeError):
        EM(**wrong)


def test_noise_that_does_not_fit_lies_in_a_file(digits, monkeypatch):
    """float16 in a memory-mapped file: within a level of what float32 gives, and within epsilon."""
    whole = made(digits, QUICK).result()[0](slice(0, 40))
    monkeypatch.setattr(arrays, "available", lambda: 0)
    making = made(digits, QUICK)
    noise = making.result()[0](slice(0, 40))
    assert noise.dtype == np.float16 and isinstance(arrays.zeros((1,), np.int8), np.memmap)
    assert np.abs(noise - whole).max() < 8 / 255
    assert (np.abs(noise - whole) < 1 / 255).mean() > 0.9
    pixels = poisons.published(making).pixels.int() - digits.pixels.int()
    assert pixels.abs().max() <= 8


def test_a_surrogate_that_diverges_is_an_error(digits):
    with pytest.raises(DataError, match="diverged at round 1.*lower --lr"):
        made(digits, replace(QUICK, lr=1000.0, clip=1e30, model_steps=20))
