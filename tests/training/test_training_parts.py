"""What any frame can carry, in the loop: preparations, copies, mixes, dropout, an early stop."""

import pytest
import torch
import torch.nn.functional as F

from stkit import models
from stkit.core.errors import RecipeError
from stkit.core.rng import stream
from stkit.data import prepare
from stkit.data.images import Images, to_float
from stkit.data.load import load
from stkit.engine import augment, mix
from stkit.engine.runtime import pick
from stkit.measure import acm
from stkit.recipes.frames import FRAMES
from stkit.recipes.options import frame_with
from stkit.recipes.training import TrainingRecipe
from stkit.report.result import summary
from stkit.training.loop import Training
from stkit.training.snapshot import live
from stkit.training.staged import Measure

CPU = pick("cpu", "fp32")
SIDE = 20  # the smaller, the faster; on 16 the small net ends in one value a channel


@pytest.fixture(scope="module")
def digits() -> Images:
    return load("digits", limit=60, size=SIDE)


def run_of(
    images: Images,
    frame: str,
    *,
    test: Images | None = None,
    measure: Measure | None = None,
    **options,
) -> Training:
    recipe = TrainingRecipe(frame_with(frame, **{"epochs": 1, **options}), "small", 20)
    return Training(images, recipe, runtime=CPU, test=test, measure=measure)


def finished(run: Training) -> Training:
    for _ in run.steps():
        pass
    return run


def test_preparations_are_made_once_and_not_of_test_images(digits):
    """The model trains on what `prepare` gives, D^s is drawn from it, and the header is the
    published set's."""
    made = prepare.prepare(digits, ("gray", "bdr-3"))
    run = run_of(digits, "st", augment="gray,bdr-3,none", test=digits)
    assert torch.equal(run.sets.feed.images, made.pixels)
    assert not torch.equal(run.sets.test.feed.images, made.pixels)
    rows = acm.draw(digits.labels, classes=10, seed=0)
    assert torch.equal(run.sets.probe[0], made.pixels[rows])
    other = finished(run_of(made, "st", augment="none"))
    for name, value in finished(run).model.state_dict().items():
        assert torch.equal(value, other.model.state_dict()[name]), name
    assert run.head()["inputs"][0]["digest"] == digits.provenance["digest"]
    assert list(run.head()["recipe"]["phases"][0]["prepare"]) == ["gray", "bdr-3"]


def test_the_worst_of_the_copies_is_trained_on(digits):
    """The loss of one step of ueraser-max is that of the same, written out."""
    run = run_of(digits, "ueraser-max")
    next(run.steps())
    order = torch.randperm(60, generator=stream(0, "order", 0))[:20]
    x, labels = to_float(digits.pixels[order]), digits.labels[order]
    names = FRAMES["ueraser-max"].train.augment
    draws = augment.draw(names, 100, SIDE, seed=0)
    copies = augment.apply(x.repeat(5, 1, 1, 1), draws)
    model = models.create("small", classes=10, size=SIDE).train()
    losses = F.cross_entropy(model(copies), labels.repeat(5), reduction="none").view(5, 20)
    chosen = losses.argmax(0)
    worst = copies.view(5, 20, 3, SIDE, SIDE)[chosen, torch.arange(20)]
    loss = F.cross_entropy(model(worst), labels)
    assert float(run.step.sums[0]) == pytest.approx(float(loss.detach()), rel=1e-6)
    other = copies.view(5, 20, 3, SIDE, SIDE)[(chosen + 1) % 5, torch.arange(20)]
    assert abs(F.cross_entropy(model(other), labels) - loss) > 1e-3
    assert chosen.unique().numel() > 1


def test_mixed_batches_have_both_labels_in_their_loss(digits):
    for name in ("mixup", "cutmix"):
        run = run_of(digits, name)
        next(run.steps())
        order = torch.randperm(60, generator=stream(0, "order", 0))[:20]
        x, labels = to_float(digits.pixels[order]), digits.labels[order]
        x = augment.augment(x, ("crop", "flip"), seed=0)
        mixed = mix.apply(name, x, labels, mix.draw(name, 20, SIDE, stream(0, "mix", 0)))
        answers = models.create("small", classes=10, size=SIDE).train()(mixed.pixels)
        share = mixed.share[0]
        loss = share * F.cross_entropy(answers, labels)
        loss += (1 - share) * F.cross_entropy(answers, labels.roll(1))
        assert float(run.step.sums[0]) == pytest.approx(float(loss.detach()), rel=1e-5)


def test_dropout_acts_in_training_only_and_depends_on_the_step(digits):
    plain, dropped = (finished(run_of(digits, name)) for name in ("nt", "dropout"))
    assert plain.epochs[0].loss != dropped.epochs[0].loss
    again = finished(run_of(digits, "dropout"))
    assert dropped.epochs == again.epochs
    x = to_float(digits.pixels)
    with torch.no_grad():
        assert torch.equal(dropped.model.eval()(x), dropped.model.eval()(x))


def test_an_early_stop_ends_with_the_last_accepted_weights(digits):
    """Checks after steps 2, 4, 6 of 3 an epoch; the third is above gamma."""
    scores = iter([0.1, 0.2, 0.9])
    run = run_of(
        digits, "nt-stop", epochs=5, gamma=0.5, check_every=2,
        test=load("digits", "test", limit=30, size=SIDE),
        measure=lambda *probe: {"ratio": next(scores)},
    )  # fmt: skip
    steps = run.steps()
    for _ in range(4):
        next(steps)
    accepted = {k: v.clone() for k, v in run.model.state_dict().items()}
    finished(run)
    assert run.done and run.executed == 6 and len(run.epochs) == 2
    verdicts = [check.verdict.value for record in run.epochs for check in record.checks]
    assert verdicts == ["keep", "keep", "stop"]
    for name, value in run.model.state_dict().items():
        assert torch.equal(value, accepted[name]), name
    row = summary(run.head())
    assert row["epochs"] == 2 and "unfinished" not in row
    assert row["accuracy"] == run.epochs[-1].final["accuracy"]


def test_an_early_stop_within_an_epoch_closes_it(digits):
    run = finished(run_of(digits, "nt-stop", epochs=5, check_every=2, test=digits,
                          measure=lambda *probe: {"ratio": 9.0}))  # fmt: skip
    assert run.executed == 2 and len(run.epochs) == 1
    record = run.epochs[0]
    assert record.accuracy == record.final["accuracy"] and record.loss > 1
    fresh = models.create("small", classes=10, size=SIDE).state_dict()
    assert all(torch.equal(run.model.state_dict()[name], fresh[name]) for name in fresh)


@pytest.mark.parametrize("frame", ["st", "st-full"])
def test_any_part_goes_into_staged_training(frame, digits):
    run = finished(run_of(digits, frame, augment="jpeg-50,cg,cutout,cutmix,dropout", gamma=0.0))
    assert run.done and (run.staged.tau == 1 if frame == "st" else run.staged is None)
    for phase in run.plan.phases:
        assert phase.prepare == ("jpeg-50",) and phase.mix == "cutmix" and phase.dropout == 0.5
    assert all(torch.isfinite(v).all() for v in run.model.state_dict().values())


def test_train_takes_names_as_an_option(digits, cli, tmp_path):
    digits.save(tmp_path / "digits")
    line = ("train", tmp_path / "digits", "--frame", "st", "--model", "small", "--epochs", 1,
            "--device", "cpu", "-o", tmp_path / "f", "--batch-size", 20)  # fmt: skip
    found = cli(*line, "--augment", "jpeg-50,cg", "--weight-decay", "1e-3", "--json").json
    assert found["frame"] == "st+jpeg-50,cg"
    assert (
        cli("acm", tmp_path / "f", tmp_path / "digits", "--json", "--device", "cpu").json["acm"] > 0
    )
    wrong = cli(*line, "--augment", "jpge", "--force")
    assert wrong.code == 2 and "did you mean 'jpeg'?" in wrong.err


@pytest.mark.parametrize("restore", ["all", "weights", "zero"])
def test_what_a_roll_back_does_with_momentum(restore, digits):
    run = run_of(digits, "st", gamma=0.0, restore=restore)
    before = {name: value.clone() for name, value in live(run.model, run.step.sgd).items()}
    steps = run.steps()
    for _ in range(2):
        next(steps)
    moving = {name: value.clone() for name, value in live(run.model, run.step.sgd).items()}
    next(steps)  # the third is the epoch's last: rolled back
    for name, value in live(run.model, run.step.sgd).items():
        if not name.startswith("optimizer/"):
            assert torch.equal(value, before[name]), name
    kept = live(run.model, run.step.sgd)["optimizer/fc.weight"]
    assert moving["optimizer/fc.weight"].any()
    assert kept.any() == (restore == "weights"), "before the first step momentum is zero"


def test_a_gated_fine_tune_is_judged_too(digits):
    run = finished(run_of(digits, "st-full", gamma=0.0, gate=True))
    assert [record.checks[0].verdict.value for record in run.epochs] == ["roll back"] * 2
    assert run.staged.tau == 1, "it begins anew"
    with pytest.raises(RecipeError, match="gate does not belong to frame 'st'"):
        frame_with("st", gate=True)


def test_strength_of_the_jitter(digits):
    weak, one, strong = (
        augment.draw(("crop", "jitter"), 200, SIDE, seed=0, strength=s)["jitter"] for s in (0, 1, 2)
    )
    assert torch.equal(weak["factors"], torch.ones(200, 3)) and not weak["hue"].any()
    assert one["factors"].min() >= 0.6 and one["factors"].max() <= 1.4
    torch.testing.assert_close(strong["factors"] - 1, 2 * (one["factors"] - 1))
    assert run_of(digits, "nt-cg", jitter=2).plan.phases[0].jitter == 2
    with pytest.raises(RecipeError, match="--augment cg"):
        frame_with("nt", jitter=2)
    four = augment.draw(("jitter",), 200, SIDE, seed=0, strength=(0.4, 0.4, 0.4, 0.1))["jitter"]
    assert all(torch.equal(four[name], one[name]) for name in four), "the number 1"
    rad = run_of(digits, "nt-cg", jitter=(0.4, 0.4, 0.4, 0.5))
    assert rad.head()["recipe"]["phases"][0]["jitter"] == (0.4, 0.4, 0.4, 0.5)
    for wrong, message in (
        ((0.4, 0.4, 0.5), "a number, or a tuple of four: brightness, contrast, saturation, hue"),
        ((0.4, 0.4, 0.4, 0.6), "jitter of the hue is 0.6, expected a number from 0 to 0.5"),
        ((-1, 0.4, 0.4, 0.1), "jitter of the brightness is -1, expected a number from 0 to 10"),
    ):
        with pytest.raises(RecipeError, match=message):
            frame_with("nt-cg", jitter=wrong)
