"""Models: sizes, layers in forward order, features, normalisation, seeds, and those of timm."""

from itertools import chain

import pytest
import timm
import torch
import torch.nn.functional as F
from torch import nn

from stkit import models
from stkit.core.errors import RecipeError
from stkit.models.structure import WEIGHTED
from stkit.models.wide_resnet import WideResNet
from stkit.recipes.catalogue import MODELS

NAMES = list(MODELS)
AT_100 = {
    "resnet18": 11_220_132, "resnet50": 23_705_252, "vgg16-bn": 15_299_748,
    "densenet121": 7_048_548, "wrn-28-10": 36_536_884, "wrn-34-10": 46_218_164, "small": 320_724,
}  # fmt: skip
TINY = (
    "test_vit", "test_resnet", "test_convnext", "test_efficientnet", "test_nfnet", "test_mambaout",
    "test_vit_relpos", "test_byobnet",
)  # fmt: skip
SIDE = {"vgg16-bn": 32}  # the smallest images that are not 8x8


def size(model: nn.Module) -> int:
    return sum(p.numel() for p in model.parameters())


def once(groups: list[list[str]], model: nn.Module) -> bool:
    """Whether every parameter is in exactly one layer."""
    return sorted(chain(*groups)) == sorted(dict(model.named_parameters()))


def group_of(name: str, groups: list[list[str]]) -> list[str]:
    return next(group for group in groups if name in group)


def test_names_agree():
    assert set(models.BUILDERS) == set(MODELS) and set(models.LARGE) < set(MODELS)


@pytest.mark.parametrize("name", NAMES)
def test_parameters_are_those_of_the_literature(name):
    with torch.device("meta"):
        assert size(models.BUILDERS[name](10, 32)) == MODELS[name].parameters
        assert size(models.BUILDERS[name](100, 32)) == AT_100[name]


@pytest.mark.parametrize("name", NAMES)
def test_layers_and_shapes(name):
    side = SIDE.get(name, 8)
    model = models.create(name, classes=3, size=side)
    groups = models.layers(model, side)
    assert len(groups) == MODELS[name].layers and once(groups, model)
    assert model.training, "looking at the layers changes no mode"
    with torch.no_grad():
        assert model.eval()(torch.rand(2, 3, side + 9, side + 9)).shape == (2, 3)


@pytest.mark.parametrize("name", NAMES)
def test_above_64_pixels_it_is_timms_where_timm_has_it(name):
    with torch.device("meta"):
        model = models.create(name, classes=5, size=72).eval()
        theirs = name in models.LARGE
        assert hasattr(model, "pretrained_cfg") == theirs
        if theirs:
            assert model.pretrained_cfg["architecture"] == models.LARGE[name]
        assert model(torch.empty(2, 3, 72, 72)).shape == (2, 5)
    assert (models.normalisation(name, 72)[0] == (0.485, 0.456, 0.406)) == theirs
    assert models.normalisation(name, 64) == ((0.0,) * 3, (1.0,) * 3)


@pytest.mark.parametrize("name", models.LARGE)
def test_timms_nets_have_as_many_layers_as_ours(name):
    """At 224 pixels and everywhere above 64. Any weights will do: VGG-16's take seconds to draw."""
    with torch.device("meta"):
        model = models.create(name, classes=3, size=72)
    groups = models.layers(model.to_empty(device="cpu"), 72)
    assert len(groups) == MODELS[name].layers and once(groups, model)


def same_in_torchvision(name: str, theirs: nn.Module) -> bool:
    """Whether our weights fit torchvision's net and give the same logits."""
    ours = models.create(name, classes=10, size=32).eval()
    theirs.load_state_dict(ours.state_dict(), assign=True)
    x = torch.rand(2, 3, 32, 32)
    with torch.no_grad():
        return torch.allclose(theirs.eval()(x), ours(x), atol=1e-5)


@pytest.mark.parametrize("name", ["resnet18", "resnet50"])
def test_resnets_load_into_torchvision(name):
    import torchvision

    theirs = getattr(torchvision.models, name)(num_classes=10)
    theirs.conv1, theirs.maxpool = nn.Conv2d(3, 64, 3, 1, 1, bias=False), nn.Identity()
    assert same_in_torchvision(name, theirs)


def test_densenet_loads_into_torchvision():
    from torchvision.models import densenet121

    theirs = densenet121(num_classes=10)
    theirs.features.conv0 = nn.Conv2d(3, 64, 3, 1, 1, bias=False)
    for name in ("norm0", "relu0", "pool0"):
        setattr(theirs.features, name, nn.Identity())
    assert same_in_torchvision("densenet121", theirs)


def test_vgg_loads_into_torchvision():
    from torchvision.models import vgg16_bn

    with torch.device("meta"):
        theirs = vgg16_bn(num_classes=10)
    theirs.avgpool = nn.Identity()
    theirs.classifier = nn.Sequential(
        nn.Dropout(), nn.Linear(512, 512), nn.ReLU(), nn.Dropout(), nn.Linear(512, 512), nn.ReLU(),
        nn.Linear(512, 10),
    )  # fmt: skip
    assert same_in_torchvision("vgg16-bn", theirs)


def test_wide_resnet_is_pre_activation():
    """The logits of a WRN-10-1 by its formula: shortcuts that project start after norm and ReLU."""
    net = WideResNet(10, 1, 3).eval()
    for module in net.modules():
        if isinstance(module, nn.BatchNorm2d):
            module.running_mean.normal_()
            module.weight.data.uniform_(0.5, 2)
    images = torch.rand(2, 3, 8, 8)
    x = net.conv1(images)
    for i, (width, stride) in enumerate(((16, 1), (32, 2), (64, 2)), 1):
        block = net.get_submodule(f"group{i}.0")
        active = F.relu(block.bn1(x))
        out = F.conv2d(active, block.conv1.weight, stride=stride, padding=1)
        out = F.conv2d(F.relu(block.bn2(out)), block.conv2.weight, padding=1)
        if i > 1:
            x = F.conv2d(active, block.shortcut.weight, stride=stride)
        x = x + out
        assert x.shape[1] == width and (block.shortcut is None) == (i == 1)
    assert torch.allclose(net.fc(F.relu(net.bn(x)).mean((2, 3))), net(images), atol=1e-5)


def test_initial_weights_of_vgg_and_wide_resnet():
    with torch.random.fork_rng():
        torch.manual_seed(0)
        net, vgg = WideResNet(10, 4, 3), models.BUILDERS["vgg16-bn"](10, 32)
    weights = net.group3[0].conv2.weight
    assert weights.std().item() == pytest.approx((2 / (9 * 256)) ** 0.5, rel=0.01)
    assert vgg.features[40].weight.std().item() == pytest.approx((2 / (9 * 512)) ** 0.5, rel=0.01)
    assert not net.fc.bias.any() and not vgg.features[40].bias.any()


def test_layers_of_resnet18():
    groups = models.layers(models.create("resnet18", classes=10, size=32), 32)
    assert groups[0] == ["conv1.weight", "bn1.weight", "bn1.bias"]
    assert groups[7][0] == "layer2.0.downsample.0.weight", "a shortcut is called after its block"
    assert groups[-1] == ["fc.weight", "fc.bias"]


def test_norms_of_a_pre_activation_net_go_with_what_they_feed():
    groups = models.layers(models.create("wrn-28-10", classes=10, size=8), 8)
    assert groups[0] == ["conv1.weight"]
    assert groups[1] == [f"group1.0.{n}" for n in ("bn1.weight", "bn1.bias", "conv1.weight")]
    assert groups[2] == [f"group1.0.{n}" for n in ("bn2.weight", "bn2.bias", "conv2.weight")]
    assert groups[3] == ["group1.0.shortcut.weight"]
    assert groups[-1] == ["bn.weight", "bn.bias", "fc.weight", "fc.bias"]
    groups = models.layers(models.create("densenet121", classes=10, size=8), 8)
    assert groups[-1][::2] == ["features.norm5.weight", "classifier.weight"]
    assert all(len(group) == 3 for group in groups[1:-1])


class Odd(nn.Module):
    """Loose parameters and an unused layer. Pre-activation where the first norm takes a sum, else
    that norm follows the stem by way of operations on its output alone."""

    def __init__(self, pre: bool) -> None:
        super().__init__()
        self.pre, self.token = pre, nn.Parameter(torch.zeros(1))
        self.stem, self.norm1 = nn.Conv2d(3, 4, 3, bias=False), nn.BatchNorm2d(4)
        self.conv1, self.norm2 = nn.Conv2d(4, 4, 3, bias=False), nn.BatchNorm2d(4)
        self.conv2, self.last = nn.Conv2d(4, 4, 1, bias=False), nn.LayerNorm(4)
        self.head, self.unused = nn.Linear(4, 2), nn.Linear(4, 2)

    def forward(self, images):
        x = F.gelu(self.stem(images) * 2)
        x = self.norm1(x + images[:, :1, 1:-1, 1:-1] if self.pre else x + x.sigmoid())
        x = self.conv2(torch.relu(self.norm2(self.conv1(torch.relu(x)))))
        return self.head(self.last((x.mean((2, 3)) + images.mean()) + self.token))


@pytest.mark.parametrize("pre", [True, False])
def test_layers_of_an_odd_net(pre):
    net = Odd(pre)
    groups = models.layers(net, 8)
    assert once(groups, net) and len(groups) == 4, "an unused layer is none"
    assert {"token", "stem.weight", "unused.weight", "unused.bias"} <= set(groups[0])
    assert group_of("norm1.bias", groups) == groups[1 if pre else 0]
    assert group_of("norm2.weight", groups) == groups[2 if pre else 1]
    assert group_of("last.weight", groups) == groups[3]


class Functional(nn.Module):
    """What modules of timm do: standardised weights, `F.linear` with a module's weight, a bias put
    together of loose parts, a norm of its own, tuples between modules, a look at the data."""

    class Attention(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.qkv, self.proj = nn.Linear(4, 12, bias=False), nn.Linear(4, 4)
            self.bias, self.places = nn.Parameter(torch.zeros(12)), nn.Parameter(torch.zeros(9, 9))

        def forward(self, pair):
            x, _ = pair
            q, k, v = F.linear(x, self.qkv.weight, self.bias).chunk(3, -1)
            return {"out": self.proj((q @ k.mT + self.places).softmax(-1) @ v)}

    class Norm(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.scale, self.shift = nn.Parameter(torch.ones(4)), nn.Parameter(torch.zeros(4))

        def forward(self, x):
            return x * torch.rsqrt(x.square().mean(-1, keepdim=True) + 1) * self.scale + self.shift

    def __init__(self) -> None:
        super().__init__()
        self.stem, self.norm1, self.norm2 = nn.Conv2d(3, 4, 2, 2), self.Norm(), self.Norm()
        self.attention, self.head = self.Attention(), nn.Linear(4, 2)
        self.head2 = nn.MultiheadAttention(4, 2, batch_first=True)

    def forward(self, images):
        weight = self.stem.weight - self.stem.weight.mean((1, 2, 3), keepdim=True)
        x = F.conv2d(images, weight, self.stem.bias, stride=2).flatten(2).mT
        if x.sum().item() > 1e9:
            x = -x
        x = x + self.attention((self.norm1(x + images.mean()), None))["out"]
        x = x + self.head2(x, x, x)[0]
        return self.head(self.norm2(x).mean(1))


def test_layers_where_modules_are_not_called():
    net = Functional()
    groups = models.layers(net, 6)
    assert once(groups, net)
    own = [{name.rpartition(".")[0] for name in group} for group in groups]
    assert own == [
        {"stem"}, {"norm1", "attention", "attention.qkv"}, {"attention.proj"},
        {"head2", "head2.out_proj"}, {"norm2", "head"},
    ]  # fmt: skip


@pytest.mark.parametrize("name", TINY)
def test_timm_nets_without_code_of_their_own(name):
    if not timm.is_model(name):
        pytest.skip("a net of later versions of timm")
    side = 32
    model = models.create(f"timm:{name}", classes=5, size=side).eval()
    groups = models.layers(model, side)
    assert once(groups, model)
    assert len(groups) == sum(isinstance(m, WEIGHTED) for m in model.modules())
    x = torch.rand(2, 3, side, side)
    with torch.no_grad():
        found, logits = models.features(model, x), model(x)
        assert found.dtype == torch.float32 and found.ndim == 2
        assert logits.shape == (2, 5)
        assert torch.allclose(model.get_classifier()(found), logits, atol=1e-5)


def test_layers_of_a_vision_transformer():
    groups = models.layers(models.create("timm:test_vit", classes=5, size=32), 32)
    assert {"cls_token", "pos_embed", "patch_embed.proj.weight"} <= set(groups[0])
    assert {"blocks.0.norm1.weight", "blocks.0.attn.qkv.weight"} <= set(groups[1])
    assert {"blocks.1.norm2.weight", "blocks.1.mlp.fc1.weight"} <= set(
        group_of("blocks.1.norm2.bias", groups)
    )
    assert {"norm.weight", "head.weight"} <= set(groups[-1])


def test_layers_of_a_post_norm_transformer():
    model = models.create("timm:swinv2_tiny_window8_256", classes=5, size=64)
    groups = models.layers(model, 64)
    block = "layers.0.blocks.0."
    assert once(groups, model)
    assert {f"{block}norm1.weight", f"{block}attn.proj.bias"} <= set(
        group_of(f"{block}attn.proj.weight", groups)
    )
    assert f"{block}attn.logit_scale" in group_of(f"{block}attn.qkv.weight", groups)
    assert "norm.weight" in groups[-1]


def test_two_heads_have_the_features_of_both():
    model = models.create("timm:deit_tiny_distilled_patch16_224", classes=3, size=32).eval()
    assert len(models.layers(model, 32)) == 51
    x = torch.rand(2, 3, 32, 32)
    with torch.no_grad():
        assert models.classifiers(model) == [model.head, model.head_dist]
        first, second = models.features(model, x).chunk(2, 1)
        assert first.shape == (2, 192)
        logits = (model.head(first) + model.head_dist(second)) / 2
        assert torch.allclose(logits, model(x), atol=1e-5)


def test_features_of_a_classifier_that_is_a_convolution():
    model = models.create("timm:resnetv2_18", classes=3, size=32).eval()
    assert isinstance(model.get_classifier(), nn.Conv2d)
    x = torch.rand(2, 3, 32, 32)
    with torch.no_grad():
        found = models.features(model, x)
        logits = model.get_classifier()(found[..., None, None]).flatten(1)
        assert found.shape == (2, 512) and torch.allclose(logits, model(x), atol=1e-5)


@pytest.mark.parametrize("name", ["small", "vgg16-bn", "densenet121"])
def test_features_are_the_input_of_the_last_linear(name):
    model = models.create(name, classes=7, size=32).eval()
    x = torch.rand(3, 3, 32, 32)
    with torch.no_grad():
        found = models.features(model, x)
        head = [m for m in model.modules() if isinstance(m, nn.Linear)][-1]
        assert models.classifiers(model) == [head]
        assert found.shape == (3, head.in_features) and found.dtype == torch.float32
        assert torch.allclose(head(found), model(x), atol=1e-6)


def test_the_last_linear_is_the_last_called():
    class Backwards(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.head, self.body = nn.Linear(5, 2), nn.Linear(12, 5)

        def forward(self, x):
            return self.head(self.body(x.flatten(1)))

    net, x = Backwards(), torch.rand(2, 3, 2, 2)
    assert torch.equal(models.features(net, x), net.body(x.flatten(1)))


def test_normalisation_is_in_the_model_and_not_in_its_state():
    plain = models.create("small", classes=2, size=32).eval()
    shifted = models.create("small", classes=2, size=32, mean=(0.5,) * 3, std=(0.25,) * 3).eval()
    assert plain.state_dict().keys() == shifted.state_dict().keys()
    x = torch.rand(2, 3, 32, 32)
    assert torch.allclose(shifted(x), plain((x - 0.5) / 0.25), atol=1e-6)


@pytest.mark.parametrize("name", ["small", "vgg16-bn", "timm:test_vit"])
def test_weights_come_from_the_seed_and_leave_the_global_generator_alone(name):
    torch.manual_seed(5)
    expected = torch.rand(1)
    torch.manual_seed(5)
    one = models.create(name, classes=2, size=32, seed=3)
    assert torch.equal(torch.rand(1), expected)
    two, other = (
        models.create(name, classes=2, size=32, seed=seed).state_dict() for seed in (3, 4)
    )
    last = [key for key in two if key.endswith("weight")][-1]
    assert all(torch.equal(value, two[key]) for key, value in one.state_dict().items())
    assert not torch.equal(two[last], other[last])


def test_features_of_a_layer_by_number_and_by_name():
    """Numbers count as ST does, from 1 at the input, and a norm that follows is part of a layer."""
    model, x = models.create("small", classes=3, size=8).eval(), torch.rand(2, 3, 8, 8)
    with torch.no_grad():
        first = model.bn1(model.conv1(x))
        block = model.layer1(F.relu(first))
        assert torch.equal(models.features(model, x, 1), first.mean((2, 3)))
        assert torch.equal(models.features(model, x, "conv1"), model.conv1(x).mean((2, 3)))
        assert torch.equal(models.features(model, x, "layer1"), block.mean((2, 3)))
        assert torch.equal(models.features(model, x, MODELS["small"].layers), model(x))
        assert torch.equal(models.features(model, x), models.features(model, x, None))
    assert models.layer_name(model, 1, 8) == "bn1"
    assert models.layer_name(models.create("wrn-28-10", classes=2, size=8), 2, 8) == (
        "group1.0.conv1"
    ), "before its convolution a norm is part of the layer, not its output"
    assert not any(module._forward_hooks for module in model.modules())


def test_features_of_a_layer_of_a_transformer_are_averaged_over_tokens():
    model, x = models.create("timm:test_vit", classes=5, size=32).eval(), torch.rand(2, 3, 32, 32)
    caught = []
    model.blocks[0].register_forward_hook(lambda _, args, output: caught.append(output))
    with torch.no_grad():
        found = models.features(model, x, "blocks.0")
    assert caught[0].ndim == 3 and torch.equal(found, caught[0].mean(1))


def test_features_of_a_layer_of_a_net_whose_channels_come_last():
    """As timm says of Swin: blocks put out [N,H,W,C], convolutions do not."""
    from timm.models.swin_transformer import SwinTransformer

    model = SwinTransformer(28, 4, depths=(1,), num_heads=(1,), embed_dim=16, num_classes=3)
    with torch.no_grad():
        x = torch.rand(2, 3, 28, 28)
        block, first = model.patch_embed(x), model.patch_embed.proj(x)
        assert block.shape == (2, 7, 7, 16)
        assert torch.equal(models.features(model, x, "patch_embed"), block.mean((1, 2)))
        assert torch.equal(models.features(model, x, "patch_embed.proj"), first.mean((2, 3)))


@pytest.mark.parametrize(
    ("layer", "said"),
    [("laier1", "did you mean 'layer1'"), (0, "from 1 to 14"), (15, "from 1 to 14")],
)
def test_layers_that_are_not_there(layer, said):
    model = models.create("small", classes=3, size=8)
    with pytest.raises(RecipeError, match=said):
        models.features(model, torch.rand(2, 3, 8, 8), layer)


def test_a_net_without_a_linear_layer_has_features_by_name_only():
    net = nn.Sequential(nn.Conv2d(3, 4, 3), nn.AdaptiveAvgPool2d(1), nn.Flatten())
    x = torch.rand(2, 3, 8, 8)
    with pytest.raises(RecipeError, match="no linear layer"):
        models.features(net, x)
    assert torch.allclose(models.features(net, x, "0"), net(x))
