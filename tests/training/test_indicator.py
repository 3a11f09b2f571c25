"""`--indicator purified`: staged training judged by held-out images as purifiers leave them."""

from dataclasses import replace

import pytest
import torch
from torch import Tensor, nn

from stkit.core import artifact, header
from stkit.core.errors import DataError, RecipeError
from stkit.data.images import Images
from stkit.data.load import load
from stkit.engine.runtime import pick
from stkit.recipes.options import frame_with
from stkit.recipes.purifiers import passes
from stkit.recipes.training import TrainingRecipe
from stkit.report import history
from stkit.report.rerun import chain
from stkit.report.result import summary
from stkit.training.loop import Training
from stkit.training.run import train
from stkit.training.schedule import Held, Verdict

CPU = pick("cpu", "fp32", threads=1)


@pytest.fixture(scope="module")
def digits() -> Images:
    return load("digits", limit=160, size=16)


def recipe(frame: str = "st", *, holdout: int = 100, **options) -> TrainingRecipe:
    """Three steps an epoch, two epochs."""
    chosen = frame_with(frame, **{"epochs": 2, "indicator": "purified", **options})
    return TrainingRecipe(chosen, "small", 20, holdout=holdout)


def by_weights(model: nn.Module, images: Tensor, labels: Tensor) -> Held:
    """Scores that are a function of the weights alone; these decide on either side."""
    assert len(images) == len(labels) == 100, "the held-out images are looked at"
    share = float(model.state_dict()["fc.weight"].double().abs().sum()) * 77 % 1
    return Held(holdout_accuracy=0.9, purified_accuracy={"x": share * 0.9}, retained_share=share)


def test_checks_measure_what_an_epoch_measures(digits, tmp_path) -> None:
    """At its end once for both; ACM is not looked at, nor in the file. From there a report and a
    command to make it again."""
    run = Training(digits, recipe(check_every=2), runtime=CPU)
    asked = []
    measure = run.sets.purified.__call__
    run.sets.purified = lambda: asked.append(run.executed) or measure()
    for _ in run.steps():
        pass
    assert asked == [2, 3, 4, 6] and run.recipe.purified
    checks = [check for record in run.epochs for check in record.checks]
    assert [check.step for check in checks] == [2, 4, 6]
    last, record = checks[-1], run.epochs[-1]
    assert last.purified_accuracy == record.purified_accuracy and last.acm == {}
    assert (last.holdout_accuracy, last.retained_share) == (
        record.holdout_accuracy, record.retained_share,
    )  # fmt: skip
    run.sets.purified = Training(digits, recipe(), runtime=CPU).sets.purified
    head = run.save(tmp_path / "st.safetensors")
    assert "acm" not in head["records"][-1]["checks"][-1]
    assert summary(head)["retained_share"] == record.retained_share and "acm" not in summary(head)
    (epoch, _) = history.read(head["records"], head["recipe"])
    assert epoch.checks[0].retained_share == checks[0].retained_share
    (_, step) = chain(header.read(tmp_path / "st.safetensors"))
    wanted = {"frame": "st", "indicator": "purified", "check-every": 2, "holdout": 100}
    assert wanted.items() <= step.command.options.items()
    assert not {"acm-variant", "gamma"} & step.command.options.keys()


@pytest.mark.parametrize("frame", ["st", "nt-stop"])
def test_it_rolls_back_or_stops_and_resumes_to_the_same_bytes(frame, digits, tmp_path) -> None:
    chosen = recipe(frame, check_every=1)
    whole = Training(digits, chosen, runtime=CPU, measure=by_weights)
    for step, _ in enumerate(whole.steps(), 1):
        artifact.write(tmp_path / f"{step}", whole.tensors(), whole.head())
    checks = [check for record in whole.epochs for check in record.checks]
    judged = [c for c in checks if c.tau < 3 or c.verdict is not Verdict.KEEP]
    assert {c.verdict is Verdict.KEEP for c in judged} == {True, False}
    assert all(
        (c.verdict is Verdict.KEEP) == passes(c.retained_share, 0.9, 10, chosen.holdout)
        for c in judged
    )
    assert whole.stopped == (frame == "nt-stop") and len(judged) > 1
    for stop in {1, whole.executed - 1}:
        again = Training(digits, chosen, runtime=CPU, measure=by_weights)
        again.resume(*artifact.read(tmp_path / f"{stop}", "checkpoint"))
        for _ in again.steps():
            pass
        artifact.write(tmp_path / "again", again.tensors(), again.head())
        end = tmp_path / f"{whole.executed}"
        assert (tmp_path / "again").read_bytes() == end.read_bytes(), stop


def test_where_nothing_was_learned_it_passes(digits) -> None:
    run = Training(digits, recipe(lr=0.0, gamma=1.0, check_every=1), runtime=CPU)
    for _ in run.steps():
        pass
    checks = [check for record in run.epochs for check in record.checks]
    assert len(checks) == 6 and {check.verdict for check in checks} == {Verdict.KEEP}
    assert all(check.holdout_accuracy < 0.19 for check in checks)


def test_what_it_cannot_judge_by_is_refused(digits) -> None:
    small = {"model": "small", "device": "cpu", "threads": 1, "indicator": "purified"}
    with pytest.raises(RecipeError, match=r"'purified' is given without holdout.*pass --holdout N"):
        train(digits, "st", **small)
    with pytest.raises(RecipeError, match="holdout is 50, expected 100 images or more"):
        train(digits, "nt-stop", holdout=50, **small)
    with pytest.raises(RecipeError, match="so held-out images would never be judged; pass --check"):
        train(digits, "nt-stop", holdout=100, epochs=2, **small)
    one = digits.rows(torch.where(digits.labels == 0)[0].repeat(10))
    with pytest.raises(DataError, match="of one class only, expected two or more, which"):
        train(one, "st", holdout=100, **small)


def test_all_else_stays_where_acm_is_judged(digits) -> None:
    """The same weights with washed images beside it and without, and no word of them."""
    chosen = replace(recipe(indicator="acm", gamma=0.0), holdout=100)
    run = Training(digits, chosen, runtime=CPU)
    for _ in run.steps():
        pass
    check = run.epochs[-1].checks[-1].to_json()
    assert check.keys() == {"step", "acm", "tau", "verdict", "lr_scales"}
    assert "indicator" not in run.head()["recipe"]["phases"][0]["staged"]
