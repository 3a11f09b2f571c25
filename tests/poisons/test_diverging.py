"""A surrogate that is not finite: an error in its round, never saved, never published."""

from dataclasses import replace

import pytest
import torch
from conftest import Steep
from torch import Tensor, nn

from stkit.core.errors import DivergenceError
from stkit.data.images import Images
from stkit.data.load import load
from stkit.engine.runtime import pick
from stkit.poisons import em, rem
from stkit.recipes.poisons import EM, REM

CPU = pick("cpu", "fp32")
FEW_EM = EM(batch_size=8, model_steps=3, steps=1, max_rounds=1, stop_error=0.0, clip=1e30)
FEW_REM = REM(batch_size=8, model_steps=3, steps=1, eot=1, adversary_steps=1)
MAKERS = [(em, FEW_EM), (em, replace(FEW_EM, scope="class")), (rem, FEW_REM)]
IDS = ["em-sample", "em-class", "rem"]


class Net(nn.Module):
    """In its pass of training number `at` the loss is `bad`, or the gradient has a factor `slope`;
    `judged` is added to what it answers in evaluation."""

    at = 0
    bad = 0.0
    slope = 1.0
    judged = 0.0

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.conv, self.fc, self.passes = nn.Conv2d(3, 4, 3, 4), nn.Linear(4, 10), 0

    def forward(self, images: Tensor) -> Tensor:
        self.passes += self.training
        now = self.training and self.passes == self.at
        x = Steep.apply(self.conv(images), self.slope if now else 1.0)
        more = self.bad if now else 0.0 if self.training else self.judged
        return self.fc(x.relu().mean((2, 3))) + more


def net(**values: float) -> Net:
    made = Net()
    for name, value in values.items():
        setattr(made, name, value)
    return made


@pytest.fixture(scope="module")
def digits() -> Images:
    return load("digits", limit=40)


@pytest.mark.parametrize(("maker", "recipe"), MAKERS, ids=IDS)
@pytest.mark.parametrize(
    ("values", "said"),
    [
        ({"at": 2, "bad": torch.inf}, "diverged at .*: the loss of its step 2 is NaN or infinite"),
        ({"at": 3, "slope": torch.inf}, r"diverged at .*: 'conv\.weight' holds NaN or infinity"),
        ({"judged": torch.nan}, "diverged at .*: its answers are NaN or infinite"),
    ],
)
def test_what_is_not_finite_ends_it(maker, recipe, values, said, digits):
    crafting = maker.Crafting(digits, recipe, seed=0, runtime=CPU, surrogate=net(**values))
    with pytest.raises(DivergenceError, match=said):
        for _ in crafting.steps():
            pass
    assert not crafting.done


@pytest.mark.parametrize(("maker", "recipe"), MAKERS, ids=IDS)
def test_it_is_not_saved(maker, recipe, digits):
    crafting = maker.Crafting(
        digits, recipe, seed=0, runtime=CPU, surrogate=net(at=1, slope=torch.inf)
    )
    crafting.head()
    before = crafting.surrogate.first
    for _ in crafting.steps():
        if crafting.surrogate.first is not before:
            break
    with pytest.raises(DivergenceError, match=r"'conv\.weight' holds NaN or infinity"):
        crafting.head()
