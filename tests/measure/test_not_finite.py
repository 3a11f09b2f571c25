"""A model whose weights or answers are not finite has no accuracy and no ACM."""

from collections.abc import Callable

import pytest
import torch
from torch import Tensor, nn

from stkit import Images, acm, evaluate
from stkit.core.errors import DataError
from stkit.engine.runtime import pick
from stkit.measure.accuracy import Evaluator
from stkit.measure.subject import Checkpoint

CPU = pick("cpu", "fp32")


class Net(nn.Module):
    """Three numbers an image, the last one masked; what is dark is infinitely so."""

    def __init__(self) -> None:
        super().__init__()
        self.norm, self.fc = nn.BatchNorm2d(3), nn.Linear(3, 3)
        self.register_buffer("mask", torch.tensor([0.0, 0.0, -torch.inf]))
        self.dark = 0.0

    def forward(self, images: Tensor) -> Tensor:
        x = self.norm(images).mean((2, 3))
        bright = images.amax((1, 2, 3), keepdim=True)[:, 0, 0] > 0
        return self.fc(torch.where(bright, x, self.dark)) + self.mask


@pytest.fixture(scope="module")
def images() -> Images:
    pixels = torch.randint(1, 256, (20, 3, 8, 8), generator=torch.Generator().manual_seed(0))
    pixels[7] = 0
    return Images.from_tensors(
        pixels.to(torch.uint8), torch.arange(20) % 2, classes=("a", "b", "c")
    )


@pytest.mark.parametrize("measure", [evaluate, acm])
@pytest.mark.parametrize("name", ["fc.weight", "norm.running_var"])
@pytest.mark.parametrize("value", [torch.nan, torch.inf])
def test_a_tensor_that_is_not_finite_is_named(measure: Callable, name, value, images):
    """An infinite variance gives finite answers, the same for every image."""
    net = Net()
    assert measure(net, images)
    net.state_dict()[name].flatten()[1] = value
    for model in (net, Checkpoint(net, {"seed": 0}, "a.safetensors")):
        who = "a Net" if model is net else r"a\.safetensors"
        for data in (images, [(images.pixels, images.labels)]):
            if model is net or data is not images:
                with pytest.raises(DataError, match=rf"^{who}: '{name}' holds NaN or inf.*again"):
                    measure(model, data)


@pytest.mark.parametrize(("measure", "what"), [(evaluate, "answers"), (acm, "features")])
@pytest.mark.parametrize("dark", [torch.nan, torch.inf])
def test_answers_that_are_not_finite_are_no_class(measure: Callable, what, dark, images):
    net = Net()
    net.dark = dark
    for data in (images, [(images.pixels, images.labels)]):
        with pytest.raises(DataError, match=f"a Net: its {what} to an image hold NaN or infinity"):
            measure(net, data)
    with torch.no_grad():
        net.fc.bias[0] = 9
    evaluator = Evaluator(net, images, runtime=CPU)
    assert evaluator.count == 20 and evaluator.confusion().tolist() == [
        [10, 0, 0],
        [9, 0, 0],
        [0, 0, 0],
    ]
