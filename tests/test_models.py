"""Models: sizes, layers in forward order, features, normalisation, seeds."""

import pytest
import torch
from torch import nn

from stkit import models
from stkit.recipes import MODELS


def test_names_agree():
    assert set(models.BUILDERS) == set(MODELS)


@pytest.mark.parametrize(("classes", "count"), [(10, 11_173_962), (100, 11_220_132)])
def test_resnet18_parameters(classes, count):
    model = models.create("resnet18", classes=classes, size=32)
    assert sum(p.numel() for p in model.parameters()) == count


def test_resnet18_loads_into_torchvision():
    from torchvision.models import resnet18

    theirs = resnet18(num_classes=10)
    theirs.conv1, theirs.maxpool = nn.Conv2d(3, 64, 3, 1, 1, bias=False), nn.Identity()
    ours = models.create("resnet18", classes=10, size=32).eval()
    theirs.load_state_dict(ours.state_dict())
    x = torch.rand(2, 3, 32, 32)
    assert torch.allclose(theirs.eval()(x), ours(x), atol=1e-5)


def test_layers_of_resnet18():
    model = models.create("resnet18", classes=10, size=32)
    layers = models.layers(model, 32)
    assert len(layers) == 21
    assert layers[0] == ["conv1.weight", "bn1.weight", "bn1.bias"]
    assert layers[7][0] == "layer2.0.downsample.0.weight", "a shortcut is called after its block"
    assert layers[-1] == ["fc.weight", "fc.bias"]
    assert sorted(sum(layers, [])) == sorted(dict(model.named_parameters()))


def test_small_has_at_least_ten_convolutions():
    model = models.create("small", classes=10, size=32)
    assert sum(isinstance(m, nn.Conv2d) for m in model.modules()) >= 10
    assert len(models.layers(model, 32)) == 14


def test_layers_of_a_pre_activation_net_and_of_loose_parameters():
    class Odd(nn.Module):
        def __init__(self):
            super().__init__()
            self.token = nn.Parameter(torch.zeros(1))
            self.stem, self.norm = nn.Conv2d(3, 4, 3, bias=False), nn.BatchNorm2d(4)
            self.conv, self.last = nn.Conv2d(4, 4, 3, bias=False), nn.BatchNorm1d(4)
            self.head = nn.Linear(4, 2)

        def forward(self, x):
            x = self.conv(torch.relu(self.norm(self.stem(x) * 2)))
            return self.head(self.last(x.mean((2, 3)) + self.token))

    assert models.layers(Odd(), 8) == [
        ["token", "stem.weight"],
        ["norm.weight", "norm.bias", "conv.weight"],
        ["last.weight", "last.bias", "head.weight", "head.bias"],
    ]


def test_features_are_the_input_of_the_last_linear():
    model = models.create("small", classes=7, size=32).eval()
    x = torch.rand(3, 3, 32, 32)
    found = models.features(model, x)
    assert found.shape == (3, 128) and found.dtype == torch.float32
    assert torch.allclose(model.fc(found), model(x))


def test_normalisation_is_in_the_model_and_not_in_its_state():
    plain = models.create("small", classes=2, size=32).eval()
    shifted = models.create("small", classes=2, size=32, mean=(0.5,) * 3, std=(0.25,) * 3).eval()
    assert plain.state_dict().keys() == shifted.state_dict().keys()
    x = torch.rand(2, 3, 32, 32)
    assert torch.allclose(shifted(x), plain((x - 0.5) / 0.25), atol=1e-6)


def test_weights_come_from_the_seed_and_leave_the_global_generator_alone():
    torch.manual_seed(5)
    expected = torch.rand(1)
    torch.manual_seed(5)
    one = models.create("small", classes=2, size=32, seed=3)
    assert torch.equal(torch.rand(1), expected)
    two, other = (models.create("small", classes=2, size=32, seed=seed) for seed in (3, 4))
    assert torch.equal(one.fc.weight, two.fc.weight)
    assert not torch.equal(one.fc.weight, other.fc.weight)
