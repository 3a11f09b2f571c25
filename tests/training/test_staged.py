"""`StagedTraining` in a loop of one's own: any module, any optimizer with a group a layer."""

import io
import re
import runpy
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

import reference
from stkit import models
from stkit.core.errors import DataError, RecipeError
from stkit.data.images import Images, to_float
from stkit.data.load import load
from stkit.recipes.staged import Staged
from stkit.training.schedule import Verdict, cosine, lr_scales
from stkit.training.snapshot import live
from stkit.training.staged import StagedTraining, layer_groups, measured

SIDE = 20  # the smaller, the faster
EXAMPLE = Path(__file__).parents[2] / "examples" / "own_loop.py"


class Net(nn.Module):
    """Two convolutions, one norm, a linear layer: three layers."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.norm = nn.Conv2d(3, 8, 3, 2, 1), nn.BatchNorm2d(8)
        self.second, self.linear = nn.Conv2d(8, 8, 3, 2, 1), nn.Linear(8, 10)

    def forward(self, images: Tensor) -> Tensor:
        x = self.second(self.norm(self.first(images)).relu()).relu()
        return self.linear(x.mean((2, 3)))


@pytest.fixture(scope="module")
def digits() -> Images:
    return load("digits", limit=60, size=SIDE)


def made(
    optimizer: Callable[..., torch.optim.Optimizer],
    digits: Images,
    *acm: float,
    settings: Staged = Staged(gamma=0.5),  # noqa: B008
    **more,
) -> StagedTraining:
    """Around a fresh net, with these scores instead of measured ones."""
    torch.manual_seed(0)
    net, scores = Net(), iter(acm)
    return StagedTraining(
        net, optimizer(layer_groups(net, SIDE), **more), (digits.pixels, digits.labels), settings,
        measure=lambda *probe: {"literal": next(scores)},
    )  # fmt: skip


def step(staged: StagedTraining, digits: Images) -> None:
    staged.optimizer.zero_grad()
    staged.model.train()
    F.cross_entropy(staged.model(to_float(digits.pixels)), digits.labels).backward()
    staged.optimizer.step()


def state(staged: StagedTraining) -> dict[str, Tensor]:
    return {k: v.detach().clone() for k, v in live(staged.model, staged.optimizer).items()}


def equal(one: dict[str, Tensor], other: dict[str, Tensor]) -> bool:
    return one.keys() == other.keys() and all(torch.equal(v, other[k]) for k, v in one.items())


OPTIMIZERS = [
    (torch.optim.SGD, {"lr": 0.1, "momentum": 0.9}),
    (torch.optim.SGD, {"lr": 0.1}),
    (torch.optim.Adam, {"lr": 1e-2}),
    (torch.optim.AdamW, {"lr": 1e-2, "amsgrad": True}),
    (torch.optim.RMSprop, {"lr": 1e-3, "momentum": 0.5}),
]


@pytest.mark.parametrize(("optimizer", "more"), OPTIMIZERS)
def test_a_roll_back_restores_every_tensor_of_the_optimizer(optimizer, more, digits):
    staged = made(optimizer, digits, 0.1, 0.9, 0.9, **more)
    step(staged, digits)
    assert staged.check().verdict is Verdict.KEEP
    accepted = state(staged)
    for tau in (1, 2):
        step(staged, digits)
        assert not equal(state(staged), accepted)
        check = staged.check()
        assert (check.verdict, check.tau, check.step) == (Verdict.ROLL_BACK, tau, tau + 1)
        assert equal(state(staged), accepted)
        rates = [group["lr"] for group in staged.optimizer.param_groups]
        assert rates == pytest.approx([more["lr"] * s for s in lr_scales(tau, 3, 0.25)])
        assert check.lr_scales == staged.scales


@pytest.mark.parametrize(("optimizer", "more"), OPTIMIZERS)
def test_a_first_roll_back_is_to_the_beginning(optimizer, more, digits):
    """The optimizer had no state then, so its next step is a first one."""
    staged = made(optimizer, digits, 0.9, **more)
    begun = state(staged)
    step(staged, digits)
    staged.check()
    assert equal(state(staged), begun)
    step(staged, digits)
    fresh = made(optimizer, digits, **more)
    fresh.tau = 1
    fresh.set_lr(more["lr"])
    step(fresh, digits)
    assert equal(state(staged), state(fresh))


@pytest.mark.parametrize("restore", ["weights", "zero"])
def test_what_else_may_become_of_an_optimizer(restore, digits):
    settings = Staged(gamma=0.5, restore=restore)
    staged = made(torch.optim.Adam, digits, 0.1, 0.9, settings=settings, lr=1e-2)
    step(staged, digits)
    staged.check()
    accepted = state(staged)
    step(staged, digits)
    moving = state(staged)
    staged.check()
    now = state(staged)
    for name, value in now.items():
        if not name.startswith("optimizer/"):
            assert torch.equal(value, accepted[name])
        elif restore == "zero":
            assert not value.any()
        else:
            assert torch.equal(value, moving[name])


def test_an_own_loop_is_algorithm_1(digits):
    """Six epochs in float64, against the transcription of the paper."""
    torch.set_default_dtype(torch.float64)
    try:
        fast, slow = (models.create("small", classes=10, size=SIDE) for _ in range(2))
    finally:
        torch.set_default_dtype(torch.float32)
    scores = [0.1, 0.9, 0.8, 0.2, 0.7, 0.9]
    pixels, labels = to_float(digits.pixels).double(), digits.labels

    def batch(clock: int) -> tuple[Tensor, Tensor]:
        rows = torch.arange(20) + 20 * (clock % 3)
        return pixels[rows], labels[rows]

    ahead = iter(scores)
    sgd = torch.optim.SGD(layer_groups(fast, SIDE), lr=0.1, momentum=0.9, weight_decay=1e-4)
    staged = StagedTraining(
        fast, sgd, (pixels, labels), Staged(gamma=0.5),
        measure=lambda *probe: {"literal": next(ahead)},
    )  # fmt: skip
    for epoch in range(6):
        staged.set_lr(cosine(0.1, epoch + 1, 6))
        for clock in range(3 * epoch, 3 * epoch + 3):
            images, answers = batch(clock)
            fast.train()
            sgd.zero_grad()
            F.cross_entropy(fast(images), answers).backward()
            sgd.step()
        staged.check()
    behind = iter(scores)
    seen = reference.staged_training(
        slow, batch, models.layers(slow, SIDE), epochs=6, steps=3, lr=0.1, beta=0.25, gamma=0.5,
        acm=lambda model: next(behind),
    )  # fmt: skip
    assert staged.scales == pytest.approx(seen[-1], abs=1e-12)
    for name, value in slow.state_dict().items():
        assert torch.allclose(fast.state_dict()[name], value, rtol=1e-9, atol=1e-12), name


def test_a_stopped_loop_goes_on_from_its_state(digits):
    """Through torch.save and torch.load: model, optimizer and schedule."""
    whole = made(torch.optim.Adam, digits, 0.1, 0.9, 0.9, lr=1e-2)
    step(whole, digits)
    whole.check()
    step(whole, digits)
    file = io.BytesIO()
    stored = (whole.model.state_dict(), whole.optimizer.state_dict(), whole.state_dict())
    torch.save(stored, file)
    again = made(torch.optim.Adam, digits, 0.9, 0.9, lr=1.0)
    file.seek(0)
    weights, moments, schedule = torch.load(file)
    again.model.load_state_dict(weights)
    again.optimizer.load_state_dict(moments)
    again.load_state_dict(schedule)
    for staged in (whole, again):
        staged.check()
        step(staged, digits)
    assert equal(state(whole), state(again)) and whole.checks == again.checks
    assert repr(again) == "StagedTraining(Net, 3 layers, tau 1 of 3, 2 checks)"


def test_probes_of_both_kinds_are_the_same(digits):
    net = Net()
    scores = measured(net, digits.pixels, digits.labels)
    assert scores == measured(net, to_float(digits.pixels), digits.labels)
    assert set(scores) == {"literal", "sum", "ratio"}


@pytest.mark.parametrize("stop", [False, True])
def test_an_own_loop_judges_by_purified_images(stop, digits):
    """With its own accuracies: at a share of .5 of .9 it is below what ten classes need, at .9 not;
    at chance nothing is judged."""
    torch.manual_seed(0)
    net = Net()
    told = iter([(0.9, 0.9), (0.11, 0.1), (0.9, 0.5), (0.9, 0.45)])

    def washed(model, images, labels):
        assert model is net and len(images) == len(labels) == 60
        held, share = next(told)
        washed = {"mine": held * share}
        return {"holdout_accuracy": held, "purified_accuracy": washed, "retained_share": share}

    settings = Staged(indicator="purified", stop=stop)
    optimizer = torch.optim.SGD(layer_groups(net, SIDE), lr=0.1)
    probe = (digits.pixels, digits.labels)
    staged = StagedTraining(net, optimizer, probe, settings, measure=washed)
    bad = Verdict.STOP if stop else Verdict.ROLL_BACK
    for verdict in (Verdict.KEEP, Verdict.KEEP, bad, bad):
        step(staged, digits)
        before = state(staged)
        check = staged.check()
        assert check.verdict is verdict and equal(state(staged), before) == (
            verdict is Verdict.KEEP
        )
    assert check.acm == {} and check.purified_accuracy == {"mine": 0.9 * 0.45}
    assert (check.holdout_accuracy, check.retained_share) == (0.9, 0.45)
    assert staged.tau == (0 if stop else 2)
    with pytest.raises(RecipeError, match=r"'purified' is given without measure.*pass measure="):
        StagedTraining(net, optimizer, probe, settings)
    with pytest.raises(RecipeError, match="measure gives accuracy, expected holdout_accuracy to"):
        staged.check(scores={"accuracy": 0.5})


def test_what_cannot_be_staged_is_refused(digits):
    net = Net()
    probe = (digits.pixels, digits.labels)
    with pytest.raises(RecipeError, match="one parameter group, expected one a layer"):
        StagedTraining(net, torch.optim.SGD(net.parameters(), lr=0.1), probe)
    sgd = torch.optim.SGD(layer_groups(net, SIDE), lr=0.1)
    with pytest.raises(
        DataError, match=re.escape(f"(60, 3, {SIDE}, {SIDE}) images and (5,) labels")
    ):
        StagedTraining(net, sgd, (digits.pixels, digits.labels[:5]))
    with pytest.raises(DataError, match=re.escape("torch.int64 images")):
        StagedTraining(net, sgd, (digits.pixels.long(), digits.labels))
    groups = torch.optim.SGD(layer_groups(net, SIDE)[1:], lr=0.1)
    with pytest.raises(RecipeError, match=re.escape("no group with parameter 'first.weight'")):
        StagedTraining(net, groups, probe)
    net.first.requires_grad_(False)
    net.norm.requires_grad_(False)
    assert StagedTraining(net, groups, probe).tau == 0


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda x, y: (x.numpy(), y), "ndarray images and Tensor labels, expected tensors"),
        (lambda x, y: (x[:, :1], y), f"(60, 1, {SIDE}, {SIDE}) images"),
        (lambda x, y: (to_float(x) * 2 - 1, y), "run from -1 to 1, expected [0,1]; divide by 255"),
        (lambda x, y: (to_float(x) * torch.nan, y), "run from nan to nan"),
        (lambda x, y: (x, y - 1), "labels are [-1, 0, 1, 2, 3], expected two classes or more"),
        (lambda x, y: (x, y * 0), "labels are [0], expected two classes or more"),
        (lambda x, y: (x[:0], y[:0]), "labels are [], expected two classes or more"),
    ],
)
def test_a_probe_on_which_acm_cannot_be_measured_is_refused(change, message, digits):
    net = Net()
    sgd = torch.optim.SGD(layer_groups(net, SIDE), lr=0.1)
    with pytest.raises(DataError, match=re.escape(message)):
        StagedTraining(net, sgd, change(digits.pixels, digits.labels))


def test_the_example_adds_ten_lines_to_a_plain_loop(capsys):
    lines = [line for line in EXAMPLE.read_text().splitlines() if "# ST" in line]
    assert len(lines[1:]) <= 10, "the first is the docstring's"
    verdicts = runpy.run_path(str(EXAMPLE))["main"](epochs=2, limit=200)
    assert len(verdicts) == 2 and set(verdicts) <= {"keep", "roll back"}
    assert capsys.readouterr().out.count("tau") == 2
