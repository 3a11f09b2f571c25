"""Training: Algorithm 1 against its transcription, roll-backs, resume, frames, determinism."""

import json
from dataclasses import replace

import pytest
import torch

import reference
from stkit import models
from stkit.core import artifact, header
from stkit.core.errors import ArtifactError, DataError, RecipeError
from stkit.core.rng import stream
from stkit.data.images import Images, to_float
from stkit.data.load import load
from stkit.engine import augment
from stkit.engine.runtime import pick
from stkit.recipes.acm import VARIANTS
from stkit.recipes.frames import FRAMES
from stkit.recipes.options import frame_with
from stkit.recipes.training import TrainingRecipe
from stkit.report.result import summary
from stkit.training.loop import Training
from stkit.training.plan import plan
from stkit.training.schedule import Verdict
from stkit.training.snapshot import live

CPU = pick("cpu", "fp32")
SIDE = 20  # the smaller, the faster; on 16 the small net ends in one value a channel


@pytest.fixture(scope="module")
def digits() -> Images:
    return load("digits", limit=120, size=SIDE)


@pytest.fixture(scope="module")
def few(digits) -> Images:
    """For what is done with every frame."""
    return digits.rows(torch.arange(50))


def recipe(frame: str = "nt", *, batch_size: int = 20, seed: int = 0, holdout: int = 0, **options):
    return TrainingRecipe(frame_with(frame, **options), "small", batch_size, seed, holdout)


def finished(images: Images, chosen: TrainingRecipe, **more) -> Training:
    run = Training(images, chosen, runtime=CPU, **more)
    for _ in run.steps():
        pass
    return run


def in_float64(images: torch.Tensor, generator: torch.Generator) -> torch.Tensor:
    names = ("crop", "flip")
    return augment.augment(images.double(), names, seed=generator.initial_seed())


@pytest.mark.usefixtures("thin")
def test_st_is_algorithm_1(digits):
    """Weights after six epochs with keep and roll back, in float64, as by the transcription."""
    some = digits.rows(torch.arange(60))
    scores = iter([0.1, 0.9, 0.8, 0.2, 0.7, 0.9])
    torch.set_default_dtype(torch.float64)
    try:
        run = Training(
            some, recipe("st", epochs=6, gamma=0.5, augment="none"), runtime=CPU,
            augment=in_float64, measure=lambda *probe: {"literal": next(scores)},
        )  # fmt: skip
        slow = models.create("small", classes=10, size=SIDE)
    finally:
        torch.set_default_dtype(torch.float32)
    for _ in run.steps():
        pass

    def batch(clock: int):
        epoch, offset = divmod(clock, 3)
        order = torch.randperm(60, generator=stream(0, "order", epoch))
        rows = order[offset * 20 : (offset + 1) * 20]
        generator = stream(0, "own augment, rank 0", clock)
        return in_float64(to_float(some.pixels[rows]), generator), some.labels[rows]

    values = iter([0.1, 0.9, 0.8, 0.2, 0.7, 0.9])
    seen = reference.staged_training(
        slow, batch, models.layers(slow, SIDE), epochs=6, steps=3, lr=0.1, beta=0.25, gamma=0.5,
        acm=lambda model: next(values),
    )  # fmt: skip
    checks = [record.checks[0] for record in run.epochs]
    assert [check.verdict.value for check in checks] == [
        "keep", "roll back", "roll back", "keep", "roll back", "keep",
    ]  # fmt: skip
    for check, h in zip(checks, seen, strict=True):
        assert check.lr_scales == pytest.approx(h, abs=1e-12)
    for name, value in slow.state_dict().items():
        assert torch.allclose(run.model.state_dict()[name], value, rtol=1e-9, atol=1e-12), name


def test_rollback_restores_weights_statistics_and_momentum(digits):
    run = Training(digits, recipe("st", epochs=2, gamma=0.0, check_every=3), runtime=CPU)
    before = {name: value.clone() for name, value in live(run.model, run.step.sgd).items()}
    for _ in range(3):
        next(run.steps())
    after = live(run.model, run.step.sgd)
    assert run.checks[0].verdict is Verdict.ROLL_BACK and run.staged.tau == 1
    assert all(torch.equal(after[name], value) for name, value in before.items())
    next(run.steps())
    moved = {
        name: (value - before[name]).abs().max()
        for name, value in live(run.model, run.step.sgd).items()
    }
    assert moved["fc.weight"] > 1e-3 and moved["conv1.weight"] < 1e-5, "shallow layers freeze"
    assert moved["bn1.running_mean"] > 0, "a frozen layer's statistics keep moving"


def test_a_last_check_that_rolls_back_leaves_the_snapshot(digits):
    run = finished(
        digits, recipe("st", epochs=1, gamma=0.0), test=load("digits", "test", limit=50, size=SIDE)
    )
    fresh = models.create("small", classes=10, size=SIDE).state_dict()
    assert all(torch.equal(run.model.state_dict()[name], fresh[name]) for name in fresh)
    record = run.epochs[-1]
    assert record.rolled_back and record.final["accuracy"] != record.accuracy
    assert record.last["accuracy"] == record.final["accuracy"]
    row = summary(run.head())
    assert row["accuracy"] == record.final["accuracy"]
    assert row["best_accuracy"] == record.accuracy and row["best_rolled_back"]


def test_at_the_last_stage_acm_is_logged_each_epoch_and_not_judged(digits):
    run = finished(digits, recipe("st", epochs=3, gamma=0.0, check_every=1))
    checks = [check for record in run.epochs for check in record.checks]
    assert [check.tau for check in checks] == [1, 2, 3, 3, 3, 3]
    assert [check.step for check in checks] == [1, 2, 3, 6, 12, 18]
    assert {check.verdict for check in checks[3:]} == {Verdict.KEEP}
    assert set(checks[0].acm) == {"literal", "sum", "ratio"}


@pytest.mark.usefixtures("thin")
@pytest.mark.parametrize("frame", [name for name in FRAMES if name != "auto"])  # test_climb.py
def test_resume_at_any_step_gives_the_same_bytes(frame, few, tmp_path):
    options = {"gamma": 0.05, "check_every": 4} if FRAMES[frame].train.staged else {}
    chosen = recipe(frame, epochs=2, holdout=10, **options)
    whole = Training(few, chosen, runtime=CPU)
    stops = {1, 2, whole.plan.steps // 2, whole.plan.steps - 1}
    for step, _ in enumerate(whole.steps(), 1):
        if step in stops:
            artifact.write(tmp_path / f"{step}", whole.tensors(), whole.head())
    artifact.write(tmp_path / "whole", whole.tensors(), whole.head())
    for stop in stops:
        again = Training(few, chosen, runtime=CPU)
        again.resume(*artifact.read(tmp_path / f"{stop}", "checkpoint"))
        for _ in again.steps():
            pass
        artifact.write(tmp_path / "resumed", again.tensors(), again.head())
        assert (tmp_path / "resumed").read_bytes() == (tmp_path / "whole").read_bytes(), stop


def test_same_seed_same_weights_other_seed_other_weights(digits):
    one, two, other = (finished(digits, recipe(epochs=1, seed=seed)) for seed in (0, 0, 1))
    assert artifact.digest(one.tensors()) == artifact.digest(two.tensors())
    assert artifact.digest(one.tensors()) != artifact.digest(other.tensors())


def test_resume_names_what_differs(digits):
    run = Training(digits, recipe("st", epochs=2), runtime=CPU)
    next(run.steps())
    stored = json.loads(header.dumps(run.head()))
    other = Training(digits, recipe("st", epochs=3, gamma=0.5, seed=1), runtime=CPU)
    with pytest.raises(ArtifactError) as error:
        other.resume(stored, run.tensors())
    for item in ("phases.0.epochs was 2, now 3", "gamma was 0.00026, now 0.5", "seed was 0, now 1"):
        assert item in str(error.value)


def test_work_begun_with_other_draws_is_not_gone_on_with(digits):
    run = Training(digits, recipe(epochs=2), runtime=CPU)
    next(run.steps())
    stored = json.loads(header.dumps(run.head()))
    assert stored["progress"].pop("draws") == "augment/NAME"
    with pytest.raises(ArtifactError, match="augmentation from other streams; pass --force to"):
        Training(digits, recipe(epochs=2), runtime=CPU).resume(stored, run.tensors())
    for _ in run.steps():
        pass
    assert "draws" not in run.head()["progress"], "finished files are as they were"


def test_a_header_leaves_nothing_open_so_a_changed_default_is_noticed(digits):
    """gamma and check-every by default: what they were is written, and resuming refuses others."""
    run = Training(digits, recipe("st", epochs=2), runtime=CPU)
    next(run.steps())
    stored = json.loads(header.dumps(run.head()))
    staged = stored["recipe"]["phases"][0]["staged"]
    assert (staged["gamma"], staged["check_every"]) == (VARIANTS["literal"].gamma, 6)
    assert None not in staged.values()
    staged["gamma"] = 3e-4  # as where the variant said so
    again = Training(digits, recipe("st", epochs=2), runtime=CPU)
    with pytest.raises(ArtifactError, match=r"gamma was 0.0003, now 0.00026"):
        again.resume(stored, run.tensors())


@pytest.mark.usefixtures("thin")
def test_every_frame_learns_and_keeps_its_settings(few):
    for name, frame in FRAMES.items():
        if name == "auto":  # takes more images, see test_climb.py
            continue
        often = {"check_every": 2} if name == "nt-stop" else {}
        run = Training(few, recipe(name, epochs=1, **often), runtime=CPU)
        assert [phase.lr for phase in run.plan.phases] == [phase.lr for phase in frame.phases]
        loss = [float(run.step.sums[0]) for _ in run.steps()]
        assert len(loss) == 2 * len(frame.phases)


def test_st_full_is_two_runs_with_a_fresh_optimizer(digits):
    run = Training(digits, recipe("st-full", epochs=1, fine_tune_epochs=2, gamma=0.0), runtime=CPU)
    steps = run.steps()
    for _ in range(7):
        next(steps)
    assert run.plan.epochs == 3 and run.staged is None
    rates = [float(group["lr"]) for group in run.step.sgd.param_groups]
    assert rates == pytest.approx([0.3] * len(run.layers))


def test_holdout_is_balanced_and_never_trained_on(digits):
    todo = plan(digits, recipe(holdout=30))
    held = digits.labels[todo.holdout_rows].bincount(minlength=10)
    assert held.tolist() == [3] * 10 and len(todo.train_rows) == 90
    assert not set(todo.holdout_rows.tolist()) & set(todo.train_rows.tolist())
    run = finished(digits, recipe(holdout=30, epochs=1))
    assert 0 <= run.epochs[0].holdout_accuracy <= 1


def test_ragged_batch_is_left_out_and_a_small_set_is_one_batch(digits):
    assert plan(digits, recipe(batch_size=50)).steps_per_epoch == 2
    todo = plan(digits, recipe(batch_size=500))
    assert (todo.batch_size, todo.steps_per_epoch) == (120, 1)


def test_default_epochs_depend_on_the_data(digits):
    assert plan(digits, recipe()).epochs == 60
    hundred = replace(digits, header={**digits.header, "classes": [str(i) for i in range(100)]})
    assert plan(hundred, recipe()).epochs == 100


def test_an_option_of_another_frame_is_refused():
    for frame, options in {
        "nt": {"gamma": 1.0}, "st": {"adversary": 0.1}, "st-cg": {"fine_tune_lr": 0.1},
        "at": {"beta": 0.5},
    }.items():  # fmt: skip
        with pytest.raises(RecipeError, match="does not belong to frame"):
            frame_with(frame, **options)


def test_adversary_keeps_its_proportions():
    adversary = frame_with("at", adversary=8 / 255).train.adversary
    assert adversary.step_size == pytest.approx(1.6 / 255) and adversary.steps == 10


def test_a_test_set_of_other_classes_is_refused(digits):
    other = replace(digits, header={**digits.header, "classes": list("abcdefghij")})
    with pytest.raises(DataError, match="knows 10 classes"):
        Training(digits, recipe(), runtime=CPU, test=other)


def test_a_diverged_run_resumes_with_its_numbers(digits, tmp_path):
    """NaN is text in a header; what is resumed has numbers again."""
    run = Training(digits, recipe("st", epochs=2, gamma=0.5, check_every=1), runtime=CPU)
    next(run.steps())
    run.step.sums[0] = float("nan")
    run.checks[0].acm["literal"] = float("inf")
    run.save(tmp_path / "part")
    again = Training(digits, recipe("st", epochs=2, gamma=0.5, check_every=1), runtime=CPU)
    again.resume(*artifact.read(tmp_path / "part", "checkpoint"))
    assert again.step.sums[0].isnan() and again.checks[0].acm["literal"] == float("inf")


def test_no_fine_tune_epochs_is_refused():
    with pytest.raises(RecipeError, match="epochs is 0"):
        frame_with("st-full", fine_tune_epochs=0)
