"""The mean absolute gradient against autograd's, and all that it must leave alone."""

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from stkit.core.errors import RecipeError
from stkit.measure import gradients


class Net(nn.Module):
    """A convolution with its norm, dropout, a linear layer, and a module that is not used."""

    def __init__(self) -> None:
        super().__init__()
        self.conv, self.norm = nn.Conv2d(3, 4, 3, 2), nn.BatchNorm2d(4)
        self.drop, self.relu, self.fc = nn.Dropout(), nn.ReLU(), nn.Linear(36, 3)
        self.idle = nn.Linear(2, 2)

    def forward(self, x: Tensor) -> Tensor:
        out: Tensor = self.fc(self.drop(self.relu(self.norm(self.conv(x)))).flatten(1))
        return out


def net() -> nn.Module:
    """The same net every time, in float64 and training mode, with statistics of its own."""
    with torch.random.fork_rng():
        torch.default_generator.manual_seed(1)
        model = Net().double()
        model(torch.rand(20, 3, 8, 8, dtype=torch.float64))
    return model


@pytest.fixture(scope="module")
def probe() -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(0)
    pixels = torch.randint(0, 256, (17, 3, 8, 8), dtype=torch.uint8, generator=generator)
    return pixels, torch.arange(17) % 3


LAYERS = {"1": 1, "2": 2, "conv": "conv", "idle": "idle"}


def measured(model: nn.Module, probe: tuple[Tensor, Tensor], **how: int) -> dict[str, float]:
    layers = {name: gradients.parameters(model, layer, 8) for name, layer in LAYERS.items()}
    return gradients.measure(model, *probe, layers, **how)


def test_it_is_the_mean_absolute_gradient_of_one_pass(probe) -> None:
    """Of the whole D^s at once, by plain backward; in batches of any size it is the same."""
    model = net().eval()
    F.cross_entropy(model(probe[0].double() / 255), probe[1]).backward()

    def mean(*modules: nn.Module) -> float:
        each = [p for module in modules for p in module.parameters()]
        made = [torch.zeros_like(p) if p.grad is None else p.grad for p in each]
        return float(torch.cat([gradient.flatten() for gradient in made]).abs().mean())

    first = mean(model.conv, model.norm, model.idle)  # with what is not used
    wanted = {"1": first, "2": mean(model.fc), "conv": mean(model.conv)}
    for size in (None, 4, 17):
        assert measured(net(), probe, batch_size=size) == pytest.approx(wanted | {"idle": 0.0})


def test_nothing_of_the_model_changes(probe) -> None:
    """Gradients at hand, hooks, modes, buffers, what is frozen, and torch's generator."""
    model, wanted = net(), measured(net(), probe)
    model.conv.requires_grad_(False)
    model.norm.eval()
    model.fc.weight.grad = torch.ones_like(model.fc.weight)
    called = []
    model.fc.weight.register_hook(called.append)
    before = {name: value.clone() for name, value in model.state_dict().items()}
    modes, drawn = [m.training for m in model.modules()], torch.get_rng_state()
    with torch.no_grad():
        assert measured(model, probe) == wanted, "a frozen layer has a gradient too"
    assert not called and torch.equal(drawn, torch.get_rng_state())
    assert [m.training for m in model.modules()] == modes
    assert all(torch.equal(before[name], value) for name, value in model.state_dict().items())
    assert torch.equal(model.fc.weight.grad, torch.ones_like(model.fc.weight))
    assert model.conv.weight.grad is None and not model.conv.weight.requires_grad
    assert isinstance(model.fc.weight, nn.Parameter) and model.fc.weight.requires_grad


@pytest.mark.parametrize(
    ("layer", "said"),
    [
        ("convv", "unknown layer 'convv'; did you mean 'conv'?"),
        (3, "layer is 3, expected a number from 1 to 2"),
        ("relu", "layer 'relu' has no parameters"),
    ],
)
def test_layers_without_gradients(layer: str | int, said: str) -> None:
    with pytest.raises(RecipeError, match=said):
        gradients.parameters(net(), layer, 8)
