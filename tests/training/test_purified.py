"""`--purified`: the held-out images washed; nothing of the training changes by it."""

from dataclasses import replace

import pytest

from stkit.core import artifact, header
from stkit.core.errors import RecipeError
from stkit.data.images import Images
from stkit.data.load import load
from stkit.data.prepare import prepare
from stkit.engine.runtime import pick
from stkit.measure.accuracy import evaluate
from stkit.models import create
from stkit.recipes.options import frame_with
from stkit.recipes.training import TrainingRecipe
from stkit.report import gather, groups
from stkit.report.rerun import chain
from stkit.report.result import summary
from stkit.training.loop import Training
from stkit.training.purified import Purified

CPU = pick("cpu", "fp32", threads=1)
NET = create("small", classes=10, size=16, seed=0)


@pytest.fixture(scope="module")
def digits() -> Images:
    return load("digits", limit=140, size=16)


def coloured(images: Images) -> Images:
    """Digits are grey, and so what grey does to them is nothing."""
    pixels = images.pixels.clone()
    pixels[:, 0] //= 2
    return replace(images, pixels=pixels, header={**images.header, "digest": ""})


def recipe(frame: str = "nt", *, purified: bool = True, **options) -> TrainingRecipe:
    chosen = frame_with(frame, epochs=2, **options)
    return TrainingRecipe(chosen, "small", 20, holdout=100, purified=purified)


def test_a_training_is_the_same_with_and_without(digits, tmp_path) -> None:
    """Weights to the last bit, one group in reports; resumed, too. What was measured is what `eval`
    finds of the washed images."""
    images = coloured(digits)
    bare = Training(images, recipe(purified=False), runtime=CPU)
    run = Training(images, recipe(), runtime=CPU)
    for training in (bare, run):
        for step, _ in enumerate(training.steps(), 1):
            if step == 3 and training is run:
                artifact.write(tmp_path / "part", run.tensors(), run.head())
    heads = [each.save(tmp_path / f"{i}.safetensors") for i, each in enumerate((bare, run))]
    assert heads[0]["digest"] == heads[1]["digest"]
    assert "purified" not in heads[0]["recipe"] and heads[1]["recipe"]["purified"] is True
    assert "left_out" not in heads[1] and "retained_share" not in heads[0]["records"][0]
    again = Training(images, recipe(), runtime=CPU)
    again.resume(*artifact.read(tmp_path / "part", "checkpoint"))
    assert again.epochs[0] == run.epochs[0]
    for _ in again.steps():
        pass
    assert header.dumps(again.head()["records"]) == header.dumps(run.head()["records"])

    last = run.epochs[-1]
    held = images.rows(run.plan.holdout_rows)
    for purifier, accuracy in last.purified_accuracy.items():
        washed = prepare(held, tuple(purifier.split(",")))
        assert accuracy == evaluate(run.model, washed, runtime=CPU).accuracy
    least = min(last.purified_accuracy.values())
    assert last.retained_share == least / last.holdout_accuracy == last.last["retained_share"]
    assert summary(heads[1])["retained_share"] == last.retained_share

    results = gather.gather(sorted(tmp_path.glob("*.safetensors"))).results
    assert len(groups.grouped(results, None)) == 1
    assert results[1].history[-1].purified_accuracy == last.purified_accuracy
    assert results[1].retained_share == results[1].history[-1].retained_share
    (*_, step) = chain(header.read(tmp_path / "1.safetensors"))
    assert step.command.options["purified"] is True and step.command.options["holdout"] == 100


WASH = ("jpeg-10", "gray,jpeg-10", "bdr-2", "gray")


@pytest.mark.parametrize(
    ("grey", "prepared", "left_out"),
    [
        (False, (), {}),
        (False, ("bdr",), {"bdr-2": "is how the training prepares its images"}),
        (True, (), {"gray": "changes no held-out image",
                    "gray,jpeg-10": "does to these images what jpeg-10 does"}),
        (True, ("jpeg-10",), {"gray": "changes no held-out image",
                              "jpeg-10": "is how the training prepares its images",
                              "gray,jpeg-10": "is how the training prepares its images"}),
    ],
)  # fmt: skip
def test_what_is_no_independent_purifier_does_not_judge(grey, prepared, left_out, digits):
    held = digits if grey else coloured(digits)
    purified = Purified(NET, held, prepared=prepared, runtime=CPU, wash=WASH)
    assert purified.left_out == left_out
    assert set(purified.judges) == set(WASH) - set(left_out)
    assert set(purified()["purified_accuracy"]) == set(WASH)


def test_where_none_is_left_to_judge_it_is_refused(digits):
    black = replace(digits, pixels=digits.pixels * 0)
    with pytest.raises(RecipeError, match=r"no purifier to judge by \(jpeg-10 changes no held-out"):
        Purified(NET, black, prepared=(), runtime=CPU)


def test_too_few_images_are_refused(digits):
    with pytest.raises(RecipeError, match="holdout is 50, expected 100 images or more to judge by"):
        Training(digits, replace(recipe(), holdout=50), runtime=CPU)
