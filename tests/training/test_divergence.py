"""Numbers that are not finite any more: never a result, never saved over what was good."""

from collections.abc import Callable

import pytest
import torch
from conftest import Steep
from torch import Tensor, nn

from stkit.core import artifact, header
from stkit.core.errors import DivergenceError
from stkit.data.images import Images
from stkit.data.load import load
from stkit.engine.runtime import pick
from stkit.recipes.options import frame_with
from stkit.recipes.staged import Staged
from stkit.recipes.training import OWN, TrainingRecipe
from stkit.training.loop import Training
from stkit.training.schedule import Verdict
from stkit.training.staged import StagedTraining, layer_groups

CPU = pick("cpu", "fp32")


@pytest.fixture(scope="module")
def digits() -> Images:
    return load("digits", limit=60)


class Net(nn.Module):
    """Two layers and a norm; in the passes of training numbered `steep`, from 1, weights blow up
    without a bad loss, in those numbered `bad` the loss is NaN or infinite."""

    def __init__(self, bad: dict[int, float], steep: tuple[int, ...]) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.conv, self.norm, self.fc = nn.Conv2d(3, 4, 3, 4), nn.BatchNorm2d(4), nn.Linear(4, 10)
        self.bad, self.steep, self.passes = bad, steep, 0

    def forward(self, images: Tensor) -> Tensor:
        self.passes += self.training
        now = self.passes if self.training else 0
        x = Steep.apply(self.conv(images), torch.inf if now in self.steep else 1.0)
        return self.fc(self.norm(x).relu().mean((2, 3))) + self.bad.get(now, 0.0)


def run_of(
    images: Images, frame: str, *, bad: dict[int, float] | None = None, steep=(), **options
) -> Training:
    """Three steps an epoch, two epochs."""
    recipe = TrainingRecipe(frame_with(frame, **{"epochs": 2, **options}), f"{OWN}Net", 20)
    return Training(images, recipe, runtime=CPU, model=Net(bad or {}, steep), test=images)


def finished(run: Training) -> Training:
    for _ in run.steps():
        pass
    return run


def sound(run: Training) -> bool:
    return all(value.isfinite().all() for value in run.model.state_dict().values())


@pytest.mark.parametrize("value", [torch.nan, torch.inf])
def test_a_bad_loss_is_reported_at_its_epoch_and_step(value, digits):
    with pytest.raises(DivergenceError, match=r"at step 5 of 6, epoch 2: .*loss.*lower --lr"):
        finished(run_of(digits, "nt", bad={5: value, 6: 0.0}))
    with pytest.raises(DivergenceError, match=r"at step 1 of 6, epoch 1: "):
        finished(run_of(digits, "nt", bad={1: value}))


def test_weights_that_overflow_in_the_last_step_are_no_result(digits):
    with pytest.raises(DivergenceError, match=r"step 6 of 6, epoch 2: 'conv\.weight' holds NaN or"):
        finished(run_of(digits, "nt", steep=(6,)))


@pytest.mark.parametrize("what", [{"bad": {2: torch.nan}}, {"steep": (2,)}])
def test_a_bad_state_is_not_saved(what, digits, tmp_path):
    run = run_of(digits, "nt", **what)
    steps = run.steps()
    next(steps)
    run.save(tmp_path / "part")
    before = (tmp_path / "part").read_bytes()
    next(steps)
    with pytest.raises(DivergenceError, match=r"step 2 of 6, epoch 1"):
        run.save(tmp_path / "part")
    assert (tmp_path / "part").read_bytes() == before


@pytest.mark.parametrize("every", [1, 2, 3, 4])
@pytest.mark.parametrize("what", [{"bad": {2: torch.inf}}, {"bad": {6: torch.nan}},
                                  {"steep": (3,)}, {"steep": (6,)}])  # fmt: skip
def test_staged_training_rolls_back(what, every, digits):
    """At the next check, at the latest at the epoch's end."""
    run = finished(run_of(digits, "st", gamma=1e9, check_every=every, **what))
    checks = [check for record in run.epochs for check in record.checks]
    [back] = [check for check in checks if check.verdict is Verdict.ROLL_BACK]
    bad = next(iter(what.get("bad", what.get("steep"))))
    assert bad <= back.step <= min(-(-bad // 3) * 3, -(-bad // every) * every)
    assert sound(run) and run.staged.tau == 1
    last = run.epochs[-1]
    assert last.accuracy is not None
    if back.step % 3 and bad == 2:
        assert 0 < run.epochs[0].loss < 10, "over the steps since the roll-back"


def test_what_comes_after_a_roll_back_is_watched_too(digits):
    with pytest.raises(DivergenceError, match=r"step 3 of 12, epoch 1: the loss"):
        finished(run_of(digits, "st-full", gamma=1e9, check_every=2, beta=0.5,
                        bad={2: torch.nan, 3: torch.nan}))  # fmt: skip
    with pytest.raises(DivergenceError, match=r"step 5 of 12, epoch 2: the loss"):
        finished(
            run_of(digits, "st-full", gamma=1e9, epochs=1, fine_tune_epochs=3, bad={5: torch.nan})
        )


def test_a_rolled_back_run_resumes_to_the_same_bytes(digits, tmp_path):
    """Saved between the bad step and its check, and after it."""
    options = {"gamma": 1e9, "check_every": 2, "bad": {1: torch.inf, 5: torch.nan}}
    whole = finished(run_of(digits, "st", **options))
    for stop in range(1, 6):
        run = run_of(digits, "st", **options)
        for _, _ in zip(range(stop), run.steps(), strict=False):
            pass
        run.save(tmp_path / "part")
        again = run_of(digits, "st", **options)
        again.model.passes = stop
        again.resume(*artifact.read(tmp_path / "part", "checkpoint"))
        finished(again)
        assert header.dumps(again.head()) == header.dumps(whole.head()), stop
        assert artifact.digest(again.tensors()) == artifact.digest(whole.tensors()), stop


@pytest.mark.parametrize("restore", ["weights", "zero", "all"])
def test_momentum_that_is_not_finite_goes_with_the_weights(restore, digits):
    run = finished(run_of(digits, "st", gamma=1e9, check_every=1, restore=restore, steep=(2,)))
    assert sound(run) and all(value.isfinite().all() for value in run.staged.trusted.values())


def own(images: Images, score: Callable[[], float], *, start: float = 0.0) -> StagedTraining:
    net = Net({}, ())
    with torch.no_grad():
        net.fc.bias += start
    sgd = torch.optim.SGD(layer_groups(net, 32), lr=0.1, momentum=0.9)
    return StagedTraining(
        net, sgd, (images.pixels, images.labels), Staged(gamma=0.5, beta=0.5),
        measure=lambda *probe: {"literal": score()},
    )  # fmt: skip


def test_an_own_loop_rolls_back_and_at_the_last_stage_ends(digits):
    staged = own(digits, lambda: 0.1)
    assert staged.check(loss=0.3).verdict is Verdict.KEEP
    assert staged.check(loss=torch.nan).verdict is Verdict.ROLL_BACK
    with pytest.raises(DivergenceError, match=r"check 3.*the loss.*no stage is left"):
        staged.check(loss=torch.inf)
    with torch.no_grad():
        staged.model.norm.running_var[0] = torch.inf
    with pytest.raises(DivergenceError, match=r"'norm\.running_var' holds NaN or"):
        staged.check()
    with pytest.raises(DivergenceError, match="ACM is nan"):
        staged = own(digits, lambda: torch.nan)
        staged.check()
        staged.check()


def test_weights_that_are_bad_from_the_start_are_refused(digits):
    with pytest.raises(DivergenceError, match=r"'fc\.bias' holds NaN or .* before the first step"):
        own(digits, lambda: 0.1, start=torch.nan)
