"""REM against its transcription; resume, settings, the stacked draws, gradients through CG."""

from dataclasses import replace
from functools import cache

import pytest
import torch

import reference
from stkit import models
from stkit.core import artifact
from stkit.core.errors import ArtifactError, RecipeError
from stkit.core.rng import stream
from stkit.data.images import Images
from stkit.data.load import load
from stkit.engine import augment, pgd
from stkit.engine.runtime import pick
from stkit.poisons import rem
from stkit.recipes.carried import PLAIN
from stkit.recipes.poisons import resolve
from stkit.recipes.poisons.rem import REM, REM_SETTINGS

pytestmark = pytest.mark.usefixtures("thin")
CPU = pick("cpu", "fp32")
SIDE = 20  # the smaller, the faster; on 16 a batch of one would have one value a channel
QUICK = REM(
    model="small", batch_size=8, steps=2, eot=2, adversary_steps=2, adversary_step_size=2 / 255,
    step_size=4 / 255, model_steps=3, lr_decay_every=2,
)  # fmt: skip


@pytest.fixture(scope="module")
def digits() -> Images:
    return load("digits", limit=20, size=SIDE)


def test_noise_equals_the_transcription(digits):
    """Three surrogate steps over two learning rates and the last pass, in float64: every level."""
    slow = models.create("small", classes=10, size=SIDE).double()
    own = models.create("small", classes=10, size=SIDE, mean=(0.5,) * 3).double()
    crafting = rem.Crafting(digits, QUICK, seed=0, runtime=CPU, surrogate=own)
    for _ in crafting.steps():
        pass
    batches = []
    for clock in range(3):
        epoch, number = divmod(clock, 2)
        order = torch.randperm(20, generator=stream(0, "order", epoch))
        batches.append(order[number * 8 : (number + 1) * 8])
    final = list(torch.arange(20).split(8))

    def places(table):
        top, left = (table["crop"][name].long().flatten().tolist() for name in ("top", "left"))
        return zip(top, left, table["flip"]["on"].flatten().tolist(), strict=True)

    @cache
    def draws(what, clock, number):
        if what == "model":
            table = augment.draw(PLAIN, 8, SIDE, seed=0, clock=clock)
            like = torch.zeros(8, 3, SIDE, SIDE, dtype=torch.float64)
            starts = pgd.random_start(like.shape, 4 / 255, stream(0, "adversary", clock))
            return list(zip(places(table), starts, strict=True))
        count = 8 if what == "noise" else len(final[clock])
        like = torch.zeros(count, 3, SIDE, SIDE, dtype=torch.float64)
        if number is None:
            return pgd.random_start(like.shape, 8 / 255, stream(0, what, clock))
        own, at = f"{what}, step", clock * 2 + number
        table = augment.draw(PLAIN, 2 * count, SIDE, seed=0, clock=at, purpose=own)
        generator = stream(0, own, at)
        starts = pgd.random_start(like.repeat(2, 1, 1, 1).shape, 4 / 255, generator)
        both = list(zip(places(table), starts, strict=True))
        return [both[:count], both[count:]]

    noise = reference.rem(
        slow, digits.pixels.double(), digits.labels, batches=batches, final=final, steps=2, eot=2,
        ru=8 / 255, au=4 / 255, ra=4 / 255, ka=2, aa=2 / 255, draws=draws,
        rate=lambda clock: 0.1 * 0.1 ** (clock // 2),
    )  # fmt: skip
    assert torch.equal(crafting.noise, noise)
    assert noise.abs().max() == 8 and len(noise.unique()) > 10


def test_resume_at_any_step_gives_the_same_bytes(digits, tmp_path):
    whole = rem.Crafting(digits, QUICK, seed=0, runtime=CPU)
    for count, _ in enumerate(whole.steps(), 1):
        if count % 2:
            artifact.write(tmp_path / f"{count}", whole.tensors(), whole.head())
    for stop in range(1, count, 2):
        again = rem.Crafting(digits, QUICK, seed=0, runtime=CPU)
        again.resume(*artifact.read(tmp_path / f"{stop}", "state"))
        for _ in again.steps():
            pass
        assert torch.equal(again.noise, whole.noise) and again.records == whole.records, stop


def test_work_begun_with_other_draws_is_not_gone_on_with(digits):
    crafting = rem.Crafting(digits, QUICK, seed=0, runtime=CPU)
    head = crafting.head()
    del head["progress"]["draws"]
    with pytest.raises(ArtifactError, match="augmentation from other streams; pass --force to"):
        crafting.resume(head, crafting.tensors())


def test_before_the_last_pass_no_noise_is_saved(digits):
    crafting = rem.Crafting(digits, QUICK, seed=0, runtime=CPU)
    next(crafting.steps())
    assert crafting.tensors()["noise"].numel() == 0


def test_every_image_gets_noise_within_epsilon(digits):
    crafting = rem.Crafting(digits, replace(QUICK, epsilon=5 / 255), seed=0, runtime=CPU)
    for _ in crafting.steps():
        pass
    assert int(crafting.noise.abs().max()) == 5
    assert (crafting.noise.flatten(1) != 0).any(1).all()


def test_cg_changes_the_noise_and_lets_gradients_through(digits):
    noises = []
    for name in ("plain", "cg"):
        crafting = rem.Crafting(digits, replace(QUICK, augment=name), seed=0, runtime=CPU)
        for _ in crafting.steps():
            pass
        noises.append(crafting.noise)
    assert not torch.equal(*noises) and int(noises[1].abs().max()) == 8


@pytest.mark.parametrize(("size", "row"), [(32, "32"), (224, "224")])
def test_the_authors_settings(size, row):
    found = resolve(REM(), (size, size), 10)
    assert all(getattr(found, k) == v for k, v in REM_SETTINGS[row].items())
    assert found.epsilon == 8 / 255 and found.adversary == 4 / 255 and found.batch_size == 128


def test_the_recipes_cost_is_the_published_one():
    """Section 3.4: 2,805,000 batches of 128 and the last pass, 3.9e8 image passes."""
    r = resolve(REM(), (32, 32), 10)
    defend = r.steps * r.eot * (r.adversary_steps + 1)
    batches = r.model_steps * (defend + r.adversary_steps + 1)
    assert batches == 2_805_000
    assert batches * 128 + 50_000 * defend == pytest.approx(3.9e8, rel=0.01)


@pytest.mark.parametrize(
    "wrong", [{"epsilon": 0.0}, {"epsilon": 0.6}, {"augment": "all"}, {"eot": 0}]
)
def test_wrong_settings(wrong):
    with pytest.raises(RecipeError):
        REM(**wrong)
