"""A training that climbs a ladder: pilots, a fall, the state that comes back, and going on."""

from dataclasses import replace

import pytest
import torch

from stkit.core import artifact
from stkit.core.errors import RecipeError
from stkit.data.images import Images
from stkit.data.load import load
from stkit.data.prepare import prepare
from stkit.engine.runtime import pick
from stkit.measure.subject import Checkpoint
from stkit.recipes.frames import Frame
from stkit.recipes.ladder import RUNGS, Ladder
from stkit.recipes.options import frame_with
from stkit.recipes.purifiers import MIRROR
from stkit.recipes.training import TrainingRecipe
from stkit.report.result import summary
from stkit.training import pilots
from stkit.training.ladder import Switch
from stkit.training.loop import Training
from stkit.training.purified import Purified
from stkit.training.run import train
from stkit.training.schedule import Held
from stkit.training.snapshot import live

pytestmark = pytest.mark.usefixtures("thin")
CPU = pick("cpu", "fp32")
SIDE = 20
LADDER = Ladder(
    rungs=("plain", "cg", "jpeg-50", "bdr-2"), images=40, steps=2, batch_size=20, falls=1
)
PILOTS = [(0.9, 0.2), (0.9, 0.3), (0.5, 0.9)]
EPOCHS = [(0.5, 0.9), (0.6, 0.95), (0.9, 0.3), (0.9, 0.3)]
"""Accuracy on what is held out, and the share of it that is retained: `jpeg-50` passes, and falls
in the third epoch."""


@pytest.fixture(scope="module")
def digits() -> Images:
    return load("digits", limit=140, size=SIDE)


class Script:
    """Stands in for what is measured, in the order in which a training asks for it."""

    def __init__(self, *told: tuple[float, ...]) -> None:
        self.told, self.asked = told, 0

    def __call__(self, purified: Purified) -> Held:
        accuracy, share, *of_mirror = self.told[self.asked]
        self.asked += 1
        washed = dict.fromkeys(purified.feeds, accuracy * share)
        if MIRROR in washed and of_mirror:
            washed[MIRROR] = accuracy * of_mirror[0]
        return Held(holdout_accuracy=accuracy, purified_accuracy=washed, retained_share=share)


@pytest.fixture
def scripted(monkeypatch):
    def put(*told: tuple[float, ...]) -> Script:
        script = Script(*told)
        monkeypatch.setattr(Purified, "__call__", lambda purified: script(purified))
        return script

    return put


def recipe(frame: str = "nt", *, epochs: int = 4, ladder: Ladder = LADDER, **options):
    chosen = frame_with(frame, augment="auto", epochs=epochs, **options)
    phases = [replace(phase, ladder=ladder) for phase in chosen.phases]
    return TrainingRecipe(Frame(*phases, name=frame), "small", 20, holdout=100)


def ended(run: Training) -> Training:
    for _ in run.steps():
        pass
    return run


def test_the_mildest_rung_that_passes_is_trained_on_until_it_falls(digits, scripted):
    scripted(*PILOTS, *EPOCHS)
    told = []
    run = Training(digits, recipe(), runtime=CPU, on_chosen=told.append)
    states = {}
    for record in run.steps():
        if record is not None:
            states[record.epoch] = {k: v.clone() for k, v in live(run.model, run.step.sgd).items()}
    assert [pilot.rung for pilot in told[0].pilots] == ["plain", "cg", "jpeg-50"]
    assert told[0].rung == "jpeg-50" and [p.passed for p in told[0].pilots] == [False, False, True]
    chosen = run.climb.chosen
    assert chosen.switches == (Switch(3, "jpeg-50", "bdr-2", 2),) and chosen.rung == "bdr-2"
    assert [record.rolled_back for record in run.epochs] == [False, False, True, False]
    assert summary(run.head())["rung"] == "bdr-2"
    assert all(torch.equal(states[3][name], value) for name, value in states[2].items())
    assert not all(torch.equal(states[4][name], value) for name, value in states[2].items())
    trained = Checkpoint(run.model, run.head())
    assert torch.equal(trained.as_trained(digits).pixels,
                       prepare(digits, ("bdr-2",)).pixels[run.plan.train_rows])  # fmt: skip


@pytest.mark.parametrize("frame", ["nt", "st"])
def test_a_climb_that_was_stopped_anywhere_ends_in_the_same_bytes(
    frame, digits, scripted, tmp_path
):
    """In a pilot, before a fall and after it, and where staged training rolls back as well."""
    options = {"gamma": 0.0, "check_every": 5} if frame == "st" else {}
    stopped = {"nt": (4, 9, 12), "st": (13,)}[frame]
    script = scripted(*PILOTS, *EPOCHS)
    whole = Training(digits, recipe(frame, **options), runtime=CPU)
    stops = {}
    for number, _ in enumerate(whole.steps(), 1):
        if number in stopped:  # 6 steps of pilots, then 8, with a fall after the 6th
            artifact.write(tmp_path / f"{number}", whole.tensors(), whole.head())
            stops[number] = script.asked
    artifact.write(tmp_path / "whole", whole.tensors(), whole.head())
    assert number == 14 and script.asked == len(script.told)
    assert whole.climb.chosen.switches
    for number, asked in stops.items():
        script.asked = asked
        again = Training(digits, recipe(frame, **options), runtime=CPU)
        again.resume(*artifact.read(tmp_path / f"{number}", "checkpoint"))
        artifact.write(tmp_path / "resumed", ended(again).tensors(), again.head())
        same = (tmp_path / "resumed").read_bytes() == (tmp_path / "whole").read_bytes()
        assert same, number


def test_a_training_that_ends_on_plain_is_natural_training_to_the_last_bit(digits):
    """Pilots take nothing from its random streams."""
    few = Ladder(rungs=("plain", "gray"), images=40, steps=1, batch_size=20)
    climbed = ended(Training(digits, recipe(epochs=2, ladder=few), runtime=CPU))
    assert climbed.climb.chosen.rung == "plain" and len(climbed.climb.chosen.pilots) == 1
    natural = TrainingRecipe(frame_with("nt", epochs=2), "small", 20, holdout=100)
    plain = ended(Training(digits, natural, runtime=CPU))
    assert artifact.digest(climbed.tensors()) == artifact.digest(plain.tensors())


def test_a_fall_at_the_end_of_the_budget_brings_the_best_state_back(digits, scripted):
    scripted((0.5, 0.9), (0.5, 0.9), (0.9, 0.3), (0.6, 0.8))
    run = ended(Training(digits, recipe(epochs=2), runtime=CPU))
    assert run.climb.chosen.rung == "plain" and not run.climb.chosen.switches
    last = run.epochs[-1]
    assert last.rolled_back and last.retained_share == 0.3 and last.final["retained_share"] == 0.8


@pytest.mark.parametrize(
    ("of_mirror", "read", "rungs", "judges"),
    [
        (0.9, None, ["plain"], True),  # all pass: nobody needs to know what a mirror does
        (0.2, (0.9, 0.8), ["plain", "cg"], True),  # what a probe reads survives it: a shortcut
        (0.2, (0.9, 0.28), ["plain"], False),  # it makes other classes, so it says nothing
        (0.45, (0.9, 0.5), ["plain"], True),  # half of it survives, as much as of what it learned
    ],
)
def test_a_mirror_judges_the_lowest_rung_where_it_makes_no_other_class(
    of_mirror, read, rungs, judges, digits, scripted, monkeypatch
):
    def convolved(images, names, *, seed):
        assert read is not None, "what a mirror does is asked, though nothing hangs on it"
        return dict.fromkeys(names, read)

    monkeypatch.setattr(pilots, "convolved", convolved)
    monkeypatch.setattr(pilots, "least", lambda classes: 1)
    scripted(*[(0.9, 0.9, of_mirror), (0.9, 0.9, 0.9)][: len(rungs)], *[(0.9, 0.9)] * 4)
    run = ended(Training(digits, recipe(), runtime=CPU))
    tried = run.climb.chosen.pilots
    assert [pilot.rung for pilot in tried] == rungs and tried[-1].passed
    assert (MIRROR in tried[0].purified_accuracy) is judges
    assert "passed over" not in run.climb.chosen.told()


def test_pilots_are_without_flip_and_without_crop_but_where_pixels_move(
    digits, scripted, monkeypatch
):
    seen = {}

    def recipe_of(frame, *others):
        seen[frame.name] = frame.train.augment
        return TrainingRecipe(frame, *others)

    monkeypatch.setattr(pilots, "TrainingRecipe", recipe_of)
    scripted((0.9, 0.2), (0.9, 0.3), (0.9, 0.4), (0.9, 0.9))
    ladder = replace(LADDER, rungs=("plain", "ueraser", "coin"), pilots=3)
    ended(Training(digits, recipe(epochs=1, ladder=ladder), runtime=CPU))
    assert seen == {
        "nt+plain": (), "nt+ueraser": ("plasma", "channel-shuffle", "trivial"),
        "nt+coin": ("crop", "coin"),
    }  # fmt: skip


def test_a_probe_is_asked_of_what_prepares_and_of_what_moves(digits, scripted, monkeypatch):
    asked = []

    def convolved(images, rungs, *, seed):
        asked.extend(rungs)
        return dict.fromkeys(rungs, (0.5, 0.5))

    monkeypatch.setattr(pilots, "convolved", convolved)
    monkeypatch.setattr(pilots, "least", lambda classes: 1)
    scripted((0.9, 0.2), (0.9, 0.9), (0.9, 0.9))
    rungs = ("plain", "cg", "jpeg-30", "coin", "coin,cg", "jpeg-30,coin")
    run = ended(
        Training(digits, recipe(epochs=1, ladder=replace(LADDER, rungs=rungs)), runtime=CPU)
    )
    assert asked == ["plain", "jpeg-30", "coin", "jpeg-30,coin"]
    assert run.climb.chosen.probe.keys() == set(rungs) - {"cg"}


def test_where_none_passes_the_nearest_is_taken_and_said(digits, scripted):
    scripted((0.9, 0.2), (0.9, 0.4), (0.9, 0.3), *EPOCHS[:1])
    run = ended(Training(digits, recipe(epochs=1), runtime=CPU))
    assert run.climb.chosen.rung == "cg"
    assert run.climb.chosen.note == (
        "none of 3 pilots passed, the budget left 1 untried; cg came nearest"
    )


def test_both_phases_are_on_the_rung_and_have_what_else_they_carry(digits, scripted):
    scripted((0.9, 0.2), (0.5, 0.9), *EPOCHS[:2])
    chosen = frame_with("st-full", augment="auto,dropout", epochs=1)
    phases = [replace(phase, ladder=LADDER) for phase in chosen.phases]
    run = Training(digits, TrainingRecipe(Frame(*phases), "small", 20, holdout=100), runtime=CPU)
    ended(run)
    for phase in run.planned.phases:
        assert phase.augment == ("crop", "flip", "jitter", "random-gray") and phase.dropout == 0.5
    assert all(phase["augment"] == ("crop", "flip") for phase in run.head()["recipe"]["phases"])


def test_on_grey_images_what_makes_grey_does_nothing(digits):
    assert pilots.same(
        Ladder(rungs=("plain", "gray", "jpeg-30", "gray,jpeg-30", "cg")), digits
    ) == {
        "gray": "on these images the same as plain",
        "gray,jpeg-30": "on these images the same as jpeg-30",
    }
    fitted = Ladder(rungs=("orthogonal", "gray,orthogonal", "orthogonal,gray"))
    assert list(pilots.same(fitted, digits)) == ["gray,orthogonal"]


def test_a_pilot_takes_no_more_steps_than_the_training(digits):
    run = Training(digits, recipe(epochs=1, ladder=Ladder()), runtime=CPU)
    assert run.climb.pilots.size == pilots.Size(40, 20, 1, 2, most=3, share=3.0)


def test_it_judges_by_a_tenth_where_no_number_is_given(digits):
    with pytest.raises(
        RecipeError, match="found 14 of 140, expected 100 or more; pass 1000 images"
    ):
        train(digits, "auto", model="small", epochs=1)
    with pytest.raises(RecipeError, match="holdout is 50, expected 100"):
        train(digits, "auto", model="small", epochs=1, holdout=50)
    with pytest.raises(RecipeError, match=r"frame 'auto' chooses .*<lambda> beside it"):
        train(digits, "auto", augment=lambda images, generator: images)
    large = load("digits", limit=1_100, size=SIDE)
    asked = TrainingRecipe(frame_with("auto", epochs=1), "small", purified=True)
    run = Training(large, asked, runtime=CPU)
    assert run.recipe.holdout == 110 and run.recipe.purified
    assert run.head()["recipe"]["phases"][0]["ladder"]["rungs"] == RUNGS
