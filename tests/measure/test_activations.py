"""Means of channels against a hook's, and how far apart they are."""

import math

import pytest
import torch

from stkit import models
from stkit.core.errors import RecipeError
from stkit.data.images import to_float
from stkit.measure.activations import channel_means, correlation, depths, distance


def test_means_are_a_hooks_over_images_and_space_whatever_the_batches():
    model = models.create("small", classes=3, size=8).train()
    pixels = torch.randint(256, (7, 3, 8, 8), dtype=torch.uint8)
    found = channel_means(model, pixels, ["layer2", 1, None], batch_size=3)
    assert all(module.training for module in model.modules()), "modes are as before"
    caught = {}
    for name in ("layer2", "bn1", "layer4"):
        model.get_submodule(name).register_forward_hook(
            lambda _, args, output, name=name: caught.update({name: output})
        )
    with torch.no_grad():
        model.eval()(to_float(pixels))
    for means, name in zip(found, ("layer2", "bn1", "layer4"), strict=True):
        expected = caught[name].double().mean((0, 2, 3))
        assert means.dtype == torch.float64
        torch.testing.assert_close(means, expected, rtol=1e-6, atol=1e-7)


def test_a_layer_that_is_not_there_is_answered_with_the_nearest():
    model = models.create("small", classes=3, size=8)
    with pytest.raises(RecipeError, match="did you mean 'layer1'"):
        channel_means(model, torch.zeros(1, 3, 8, 8, dtype=torch.uint8), ["laier1"])


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("resnet18", ("layer1", "layer2", "layer3", None)),  # the ends of blocks 2, 4 and 6
        ("small", ("layer1", "layer2", "layer3", None)),
        ("vgg16-bn", ("features.11", "features.25", "features.38", None)),  # no blocks: layers
    ],
)
def test_depths_are_where_quarters_of_the_blocks_end(name, expected):
    assert depths(models.create(name, classes=10, size=32), 32) == expected


def test_depths_of_a_net_of_two_layers():
    net = torch.nn.Sequential(
        torch.nn.Conv2d(3, 4, 3), torch.nn.AdaptiveAvgPool2d(1), torch.nn.Flatten(),
        torch.nn.Linear(4, 2),
    )  # fmt: skip
    assert depths(net, 8) == ("0", None)
    assert depths(torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(12, 2)), 2) == (None,)


def test_distances_ask_how_means_are_distributed_and_correlation_asks_where():
    means = torch.tensor([1.0, 2.0, 3.0, 6.0])
    assert distance(means, means.flip(0)) == 0
    assert distance(means, 2 * means) == pytest.approx(1)
    assert correlation(means, 2 * means) == pytest.approx(1)
    assert correlation(means, -means) == pytest.approx(-1)
    assert math.isnan(correlation(means, torch.ones(4)))
    assert math.isnan(distance(torch.zeros(4), torch.zeros(4)))
