"""The truth table of the staged schedule: Eq. 6-7, Algorithm 1 and the cosine, as numbers."""

import itertools
import math

import pytest

from stkit.training.schedule import (
    Check,
    Epoch,
    Verdict,
    cosine,
    judge,
    last_stage,
    lr_scales,
)

KEEP, ROLL_BACK, STOP = Verdict

GAMMA = 2.6e-4


@pytest.mark.parametrize(
    ("tau", "frozen", "between", "free"), [(1, 4, 2, 15), (2, 8, 4, 9), (3, 12, 7, 2)]
)
def test_resnet18_at_a_quarter(tau: int, frozen: int, between: int, free: int) -> None:
    """21 layers, beta 1/4: how many are below 0.01, between, above 0.99."""
    scales = lr_scales(tau, 21, 0.25)
    below, above = sum(s < 0.01 for s in scales), sum(s > 0.99 for s in scales)
    assert (below, 21 - below - above, above) == (frozen, between, free)


def test_the_last_layer_learns_in_the_last_stage() -> None:
    assert lr_scales(3, 21, 0.25)[-1] == pytest.approx(0.9991, abs=5e-5)


@pytest.mark.parametrize("tau", [1, 2, 3, 4])
def test_four_stages_of_figure_4(tau: int) -> None:
    """20 layers, beta 1/5: the half-point stands at tau fifths of the depth."""
    scales = lr_scales(tau, 20, 0.2)
    assert scales[4 * tau - 1] == pytest.approx(0.5)
    assert scales[4 * tau - 2] < 0.5 < scales[4 * tau]
    for i, scale in enumerate(scales, 1):
        assert scale == pytest.approx(1 / (1 + math.exp(20 - i / (0.2 * tau))), rel=1e-9)


@pytest.mark.parametrize("layers", [1, 14, 21, 54, 121])
def test_scales_rise_with_depth_and_fall_with_the_stage(layers: int) -> None:
    stages = [lr_scales(tau, layers, 0.25) for tau in range(4)]
    assert stages[0] == (1.0,) * layers
    for scales in stages:
        assert len(scales) == layers
        assert all(0 <= s <= 1 for s in scales) and list(scales) == sorted(scales)
    for earlier, later in itertools.pairwise(stages):
        assert all(b <= a for a, b in zip(earlier, later, strict=True))


@pytest.mark.parametrize("beta", [1e-300, 5e-324, 1e-3])
def test_a_tiny_beta_does_not_overflow(beta: float) -> None:
    """i / (beta tau) may be infinite: the limit of Eq. 7 at tau = 0, where every layer is free."""
    assert lr_scales(1, 21, beta) == pytest.approx((1.0,) * 21)


def test_very_deep_models_do_not_overflow() -> None:
    assert lr_scales(1, 5000, 0.5)[0] == 0
    assert lr_scales(1, 5000, 0.5)[-1] == 1


@pytest.mark.parametrize("stages", range(1, 101))
def test_last_stage_of_every_reciprocal(stages: int) -> None:
    """1/beta - 1 is not an integer in floating point for many of these."""
    assert last_stage(1 / stages) == stages - 1


@pytest.mark.parametrize(("beta", "last"), [(0.25, 3), (0.2, 4), (0.1, 9), (0.333, 2), (0.3, 2)])
def test_last_stage_of_decimals(beta: float, last: int) -> None:
    assert last_stage(beta) == last
    assert lr_scales(last, 21, beta)[-1] > 0.5  # something is left that learns


@pytest.mark.parametrize(
    ("acm", "verdict"),
    [
        (0.0, KEEP),
        (GAMMA * (1 - 1e-9), KEEP),
        (GAMMA, KEEP),  # strictly larger triggers
        (GAMMA * (1 + 1e-9), ROLL_BACK),
        (0.03, ROLL_BACK),
        (math.inf, ROLL_BACK),
        (math.nan, ROLL_BACK),
    ],
)
@pytest.mark.parametrize("tau", [0, 1, 2, 3])
def test_judge(tau: int, acm: float, verdict: Verdict) -> None:
    assert judge(tau, acm, GAMMA, 0.25) == (KEEP if tau == 3 else verdict)
    stopping = KEEP if verdict == KEEP else STOP
    assert judge(tau, acm, GAMMA, 0.25, stop=True) == stopping


@pytest.mark.parametrize(
    ("share", "verdict"),
    [
        (1.2, KEEP),  # washed images may be answered better
        (0.6 + 1e-9, KEEP),
        (0.6, KEEP),  # strictly smaller triggers
        (0.6 - 1e-9, ROLL_BACK),
        (0.0, ROLL_BACK),
        (math.inf, ROLL_BACK),
        (math.nan, ROLL_BACK),
        (None, KEEP),  # nothing was learned that could be judged
    ],
)
@pytest.mark.parametrize("tau", [0, 1, 2, 3])
def test_judge_of_a_score_that_falls(tau: int, share: float | None, verdict: Verdict) -> None:
    """The other way round than ACM: a small retained share is what a shortcut leaves."""
    assert judge(tau, share, 0.6, 0.25, falls=True) == (KEEP if tau == 3 else verdict)
    stopping = KEEP if verdict == KEEP else STOP
    assert judge(tau, share, 0.6, 0.25, falls=True, stop=True) == stopping


def test_judge_without_limit_still_distrusts_what_is_not_a_number() -> None:
    assert judge(0, 1e300, math.inf, 0.25) == KEEP
    assert judge(0, math.inf, math.inf, 0.25) == ROLL_BACK
    assert judge(0, math.nan, math.inf, 0.25) == ROLL_BACK


def test_judge_with_one_stage_only_always_keeps() -> None:
    assert judge(0, math.nan, GAMMA, 1.0) == KEEP


def test_cosine() -> None:
    values = [cosine(0.2, epoch, 60) for epoch in range(1, 61)]
    assert values[0] == 0.2
    assert values[30] == pytest.approx(0.1)  # epoch 31: half-way
    assert values[59] == pytest.approx(0.1 * (1 + math.cos(math.pi * 59 / 60)))
    assert values == sorted(values, reverse=True) and values[-1] > 0
    assert cosine(0.1, 1, 1) == 0.1


def test_an_epoch_goes_through_a_header_and_back() -> None:
    """What does not apply is left out; a final that measured nothing is kept."""
    plain = {"epoch": 1, "phase": 1, "lr": 0.1, "loss": 2.5, "train_accuracy": 0.25}
    check = {"step": 6, "acm": {"literal": 0.5}, "tau": 1, "verdict": "roll back",
             "lr_scales": [0.5, 1.0]}  # fmt: skip
    share = {"step": 6, "holdout_accuracy": 0.0, "purified_accuracy": {"jpeg-10": 0.25},
             "retained_share": 0.0, "tau": 1, "verdict": "keep", "lr_scales": [0.5]}  # fmt: skip
    for record in (
        plain,
        {**plain, "checks": [share]},
        {**plain, "accuracy": 0.0, "holdout_accuracy": 0.5},
        {**plain, "holdout_accuracy": 0.5, "purified_accuracy": {"bdr-2": 0.25},
         "retained_share": 0.5},
        {**plain, "checks": [check], "rolled_back": True, "final": {}},
        {**plain, "accuracy": 0.5, "checks": [{**check, "verdict": "stop"}], "rolled_back": True,
         "final": {"accuracy": 0.75}},
    ):  # fmt: skip
        assert Epoch.from_json(record).to_json() == record
    assert Check.from_json(check).verdict is ROLL_BACK
    assert Epoch.from_json(record).last == {"accuracy": 0.75}
