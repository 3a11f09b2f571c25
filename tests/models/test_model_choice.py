"""`--model` and `--pretrained`: every model trains by every frame, and what is refused."""

import json
import re
from collections.abc import Callable
from dataclasses import replace
from math import isfinite

import pytest
import timm
import torch
from torch import nn

from stkit import models
from stkit.core import artifact, header
from stkit.core.errors import ArtifactError, RecipeError, StkitError
from stkit.data.images import Images
from stkit.data.load import load
from stkit.engine.runtime import pick
from stkit.models import densenet, vgg
from stkit.models.resnet import BasicBlock, Bottleneck, ResNet
from stkit.models.wide_resnet import WideResNet
from stkit.recipes.catalogue import MODELS, model_name
from stkit.recipes.frames import FRAMES, PAPER, Frame, Phase
from stkit.recipes.options import frame_with
from stkit.recipes.poisons import EM, REM
from stkit.recipes.training import TrainingRecipe
from stkit.training import checkpoint
from stkit.training.loop import Training
from stkit.training.plan import plan

CPU = pick("cpu", "fp32")


def images(side: int, count: int = 4) -> Images:
    """Digits of two classes, cut to side x side."""
    found = load("digits", limit=10)
    corner = (32 - side) // 2
    cut = found.pixels[:count, :, corner : corner + side, corner : corner + side].contiguous()
    head = {**found.header, "classes": ["even", "odd"]}
    return replace(found, pixels=cut, labels=torch.arange(count) % 2, header=head)


@pytest.fixture(scope="module")
def sets() -> dict[int, Images]:
    return {side: images(side) for side in (8, 32)}


def short(frame: Frame) -> Frame:
    """One epoch a phase, and an adversary of two steps."""

    def cut(phase: Phase) -> Phase:
        adversary = phase.adversary and replace(phase.adversary, steps=2)
        return replace(phase, epochs=1, adversary=adversary)

    return Frame(cut(frame.train), frame.fine_tune and cut(frame.fine_tune))


WIDTHS, STRIDES = (8, 16, 32, 64), (1, 2, 2, 2)
THIN: dict[str, Callable[[int, int], nn.Module]] = {
    "resnet18": lambda n, _: ResNet(BasicBlock, WIDTHS, (2, 2, 2, 2), STRIDES, n),
    "resnet50": lambda n, _: ResNet(Bottleneck, WIDTHS, (3, 4, 6, 3), STRIDES, n),
    "wrn-28-10": lambda n, _: WideResNet(28, 2, n),
    "wrn-34-10": lambda n, _: WideResNet(34, 2, n),
}
"""Layer by layer the nets of these names, of fewer channels: tens of millions of weights take
seconds a step, and no frame asks for a width."""


@pytest.fixture
def thinner(monkeypatch, thin) -> None:
    """Nets by name have all of their layers and few of their channels."""
    for name, build in THIN.items():
        monkeypatch.setitem(models.BUILDERS, name, build)
    monkeypatch.setattr(densenet, "GROWTH", 8)
    stages = [(max(8, width // 8), count) for width, count in vgg.STAGES[:-1]]
    monkeypatch.setattr(vgg, "STAGES", (*stages, vgg.STAGES[-1]))  # as its classifier takes it


@pytest.mark.parametrize("frame", PAPER)
@pytest.mark.parametrize("name", MODELS)
def test_every_model_takes_a_step_by_every_frame(name, frame, sets, request):
    """By ST as they are: it adds a rate a layer, ACM and what it rolls back to. By others thin."""
    if frame != "st":
        request.getfixturevalue("thinner")
    recipe = TrainingRecipe(short(FRAMES[frame]), name, batch_size=2)
    run = Training(sets[32 if name == "vgg16-bn" else 8], recipe, runtime=CPU)
    assert len(run.layers) == MODELS[name].layers
    before = {name: value.detach().clone() for name, value in run.model.named_parameters()}
    for _ in run.steps():
        pass
    assert 2 * len(run.epochs) == 2 * len(recipe.frame.phases) == run.plan.steps
    for record in run.epochs:
        assert isfinite(record.loss)
        assert all(len(check.lr_scales) == len(run.layers) for check in record.checks)
    moved = {n for n, value in run.model.named_parameters() if not torch.equal(value, before[n])}
    rolled_back = run.epochs[-1].rolled_back
    assert moved == set() if rolled_back else len(moved) > len(before) / 2


def finished(images: Images, recipe: TrainingRecipe, stop: int | None = None) -> Training:
    run = Training(images, recipe, runtime=CPU)
    for _ in run.steps():
        if run.executed == stop:
            break
    return run


def test_a_net_with_dropout_resumes_with_the_same_weights(sets, thinner):
    recipe = TrainingRecipe(frame_with("nt", epochs=3), "vgg16-bn", batch_size=4)
    whole, part = finished(sets[32], recipe), finished(sets[32], recipe, stop=2)
    again = Training(sets[32], recipe, runtime=CPU)
    again.resume(json.loads(header.dumps(part.head())), part.tensors())
    for _ in again.steps():
        pass
    state = again.model.state_dict()
    assert all(torch.equal(value, state[key]) for key, value in whole.model.state_dict().items())


TINY = ("--batch-size", 8, "--epochs", 1, "--device", "cpu")


@pytest.mark.parametrize("name", ["test_resnet", "test_vit"])
def test_a_timm_net_is_trained_saved_measured_and_loaded(name, cli, made, photos, tmp_path):
    out = tmp_path / "net.safetensors"
    line = ("train", made / "clean.safetensors", "--frame", "st", "--model", f"timm:{name}", *TINY)
    found = cli(*line, "--test", photos, "-o", out, "--json").json
    assert found["model"] == f"timm:{name}"
    measured = cli("eval", out, photos, "--device", "cpu", "--json").json
    assert measured["accuracy"] == found["accuracy"]
    assert cli("acm", out, made / "clean.safetensors", "--device", "cpu", "--json").json["acm"] >= 0
    model, head = checkpoint.load(out)
    assert head["mean"] == head["recipe"]["mean"] == [0.5] * 3 == head["std"]
    assert head["recipe"]["pretrained"] is False
    theirs = timm.create_model(name, num_classes=3, **({"img_size": 16} if "vit" in name else {}))
    theirs.load_state_dict(model.state_dict())
    x = torch.rand(2, 3, 16, 16)
    with torch.no_grad():
        assert torch.allclose(theirs.eval()((x - 0.5) / 0.5), model(x), atol=1e-5)


@pytest.fixture
def weights(monkeypatch, tmp_path):
    """timm's test_resnet has pretrained weights in a file, and creations are noted."""
    source = timm.create_model("test_resnet", num_classes=1000)
    torch.save(source.state_dict(), tmp_path / "weights.pth")
    create, asked = timm.create_model, []

    def local(name, pretrained=False, **options):
        asked.append(pretrained)
        overlay = {"file": str(tmp_path / "weights.pth")} if pretrained else None
        return create(name, pretrained, pretrained_cfg_overlay=overlay, **options)

    monkeypatch.setattr(timm, "create_model", local)
    return source.state_dict(), asked


def test_pretrained_weights_but_for_the_classifier(weights, cli, made, tmp_path):
    state, asked = weights
    one, two, other = (
        models.create("timm:test_resnet", classes=3, size=32, seed=seed, pretrained=True)
        for seed in (0, 0, 1)
    )
    assert torch.equal(one.conv1[0].weight, state["conv1.0.weight"])
    assert torch.equal(one.get_classifier().weight, two.get_classifier().weight)
    assert not torch.equal(one.get_classifier().weight, other.get_classifier().weight)
    out = tmp_path / "net.safetensors"
    line = ("train", made / "clean.safetensors", "--frame", "nt", "--model", "timm:test_resnet")
    assert cli(*line, *TINY, "--lr", 0, "--pretrained", "-o", out).code == 0
    assert header.read(out)["recipe"]["pretrained"] is True
    asked.clear()
    model, _ = checkpoint.load(out)
    assert torch.equal(model.conv1[0].weight, state["conv1.0.weight"])
    assert asked and not any(asked), "a checkpoint is loaded without the pretrained weights"


def test_pretrained_weights_that_cannot_be_had(monkeypatch, cli, made, tmp_path):
    create = timm.create_model

    def offline(name, pretrained=False, **options):
        if pretrained:
            raise OSError("no\nroute to host")
        return create(name, pretrained, **options)

    monkeypatch.setattr(timm, "create_model", offline)
    line = ("train", made / "clean.safetensors", "--frame", "nt", "--model", "timm:test_resnet")
    found = cli(*line, *TINY, "--pretrained", "-o", tmp_path / "x")
    assert found.code == 1 and found.err.count("\n") == 1
    assert "test_resnet could not be loaded (no route to host); connect" in found.err


def test_pretrained_weights_run_nothing(monkeypatch, tmp_path):
    """Whatever timm asks `torch.load` for: some versions of it let a file run what it likes."""
    monkeypatch.delenv("TORCH_FORCE_WEIGHTS_ONLY_LOAD", raising=False)
    torch.save({"weight": tmp_path}, tmp_path / "weights.bin")  # a Path is made by a call
    create = timm.create_model

    def trusting(name, pretrained=False, **options):
        if not pretrained:
            return create(name, **options)
        return torch.load(tmp_path / "weights.bin", weights_only=False)

    assert trusting("any", True)
    monkeypatch.setattr(timm, "create_model", trusting)
    with pytest.raises(StkitError, match="Weights only load failed"):
        models.create("timm:test_resnet", classes=3, size=32, pretrained=True)
    assert trusting("any", True), "and that is over"


@pytest.mark.parametrize(
    ("asked", "said"),
    [
        ("--model resnet8", "unknown model 'resnet8'; choose one of resnet18, .*or timm:resnet8"),
        ("--model VGG16", "unknown model 'VGG16'; did you mean 'vgg16-bn'"),
        ("--model timm:", "unknown model 'timm:'"),
        ("--model timm:resnet_18", "unknown timm model 'resnet_18'; did you mean resnet18 or"),
        ("--model timm:resnet18.best", "unknown weights 'best' of timm's resnet18; .*a1_in1k"),
        ("--model timm:hf-hub:who/what", "unknown timm model 'hf-hub:who/what'"),
        ("--model vgg16-bn", "images are 16x16 pixels, model vgg16-bn .* needs 32 or more"),
        ("--model timm:vgg11", "timm's vgg11 cannot take images of 16x16 pixels .*too small"),
        ("--model timm:vit_small_patch32_224", "patches of 32 .* do not divide 16; .* --size 32"),
        ("--model small --pretrained", "no pretrained weights for small at 16x16 pixels"),
        ("--model resnet18 --pretrained", "no pretrained weights for resnet18 at 16x16 pixels"),
        ("--model timm:vit_base_patch16_plus_240 --pretrained", "timm has no pretrained weights"),
        ("--model small --std 0", "std above 0"),
    ],
)
def test_wrong_models(asked, said, cli, made, tmp_path):
    line = ("train", made / "clean.safetensors", "--frame", "nt", *asked.split(), *TINY)
    found = cli(*line, "-o", tmp_path / "x", "--dry-run")
    assert found.code == 2 and re.fullmatch(r"error: [^\n]+\n", found.err), found
    assert re.search(said, found.err), found.err


def test_images_too_small_for_a_net_of_three_halvings():
    with pytest.raises(RecipeError, match=r"4x4 pixels, model densenet121 .* needs 8 or more"):
        models.create("densenet121", classes=2, size=4)


def test_a_net_that_fails_on_these_images_is_refused_by_layers():
    model = models.create("vgg16-bn", classes=2, size=32)
    with pytest.raises(RecipeError, match=r"a VGG cannot take images of 8x8 pixels .*too small"):
        models.layers(model, 8)


def test_names_in_recipes():
    for recipe in (EM, REM):
        assert recipe(model="timm:test_vit").model == "timm:test_vit"
        with pytest.raises(RecipeError, match="unknown model 'smal'; did you mean 'small'"):
            recipe(model="smal")
    assert [model_name(name) for name in MODELS] == list(MODELS)


def test_normalisation_is_the_models_own_unless_given(sets):
    def planned(name: str, mean=None, std=None) -> tuple:
        found = plan(sets[8], TrainingRecipe(FRAMES["nt"], name, mean=mean, std=std))
        return found.mean, found.std

    half, zero, one = ((value,) * 3 for value in (0.5, 0.0, 1.0))
    assert planned("resnet18") == (zero, one)
    assert planned("timm:test_vit") == (half, half)
    assert planned("timm:test_vit", mean=zero) == (zero, half)
    assert planned("timm:test_vit", std=one) == (half, one)
    assert planned("small", half, half) == (half, half)


def test_a_checkpoint_of_another_model_is_refused(made, tmp_path):
    head, tensors = artifact.read(made / "nt.safetensors")
    artifact.write(tmp_path / "other", tensors, {**head, "model": "timm:test_resnet"})
    with pytest.raises(ArtifactError, match="the weights do not fit the model"):
        checkpoint.load(tmp_path / "other")


def test_list_shows_parameters_and_layers(cli):
    rows = {row["name"]: row for row in cli("list", "models", "--json").json}
    assert rows["vgg16-bn"]["parameters"] == 15_253_578 and rows["vgg16-bn"]["layers"] == 16
    assert re.search(r"wrn-34-10 .* 46160474 +35$", cli("list", "models").out, re.M)
