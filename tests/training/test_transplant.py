"""Starting from a checkpoint: which weights are taken, that frozen ones stay, and what is said."""

import signal
from functools import partial
from pathlib import Path

import pytest
import torch
from torch import nn

from stkit import models
from stkit.core import artifact, header
from stkit.core.errors import ArtifactError, RecipeError
from stkit.data.images import Images
from stkit.data.load import load
from stkit.engine.runtime import pick
from stkit.recipes.acm import VARIANTS
from stkit.recipes.options import frame_with
from stkit.recipes.training import Init, TrainingRecipe
from stkit.training.loop import Training
from stkit.training.plan import plan
from stkit.training.run import Run, train
from stkit.training.transplant import Donor, donor, plant

SIDE = 20  # the smaller, the faster; on 16 the small net ends in one value a channel
QUICK = {"model": "small", "epochs": 1, "batch_size": 20, "device": "cpu"}
CLI = "--model small --epochs 2 --batch-size 20 --device cpu -q"


@pytest.fixture(scope="module")
def digits() -> Images:
    return load("digits", limit=40, size=SIDE)


@pytest.fixture(scope="module")
def clean(digits: Images) -> Run:
    return train(digits, "nt", seed=5, **QUICK | {"epochs": 3})


@pytest.fixture(scope="module")
def folder(digits: Images, clean: Run, tmp_path_factory: pytest.TempPathFactory) -> Path:
    here = tmp_path_factory.mktemp("donors")
    digits.save(here / "digits.safetensors")
    clean.save(here / "clean.safetensors")
    return here


@pytest.mark.parametrize(
    ("frame", "layers", "starts"),
    [("nt", "layer1.0,layer2.0", ("layer1.", "layer2.")),
     ("at", "last:3", ("layer4.",)),
     ("st", "first:1", ("conv1.", "bn1.")),
     ("st-full", "layer3,layer4", ("layer3.", "layer4.")),
     ("ueraser-max", "layer1", ("layer1.",))],
)  # fmt: skip
def test_frozen_layers_are_the_donors_to_the_last_bit(frame, layers, starts, digits, clean) -> None:
    epochs = []
    run = train(
        digits, frame, init_from=clean.checkpoint, init_layers=layers, freeze=True,
        on_epoch=epochs.append, **QUICK | {"epochs": 1 if frame == "at" else 2},
    )  # fmt: skip
    assert not frame.startswith("st") or any(epoch.rolled_back for epoch in epochs)
    state, before = run.model.state_dict(), clean.model.state_dict()
    for name, value in state.items():
        moved = not torch.equal(value, before[name])
        assert moved is not name.startswith(starts), name
    assert {each.requires_grad for name, each in run.model.named_parameters()
            if name.startswith(starts)} == {False}  # fmt: skip


def test_staged_training_counts_all_layers_and_rolls_frozen_ones_back_to_what_they_are(
    digits, clean
) -> None:
    recipe = TrainingRecipe(
        frame_with("st", epochs=3), "small", 20, init=Init("first:4", freeze=True)
    )
    scores = iter([0.0, 1.0, 0.0])
    run = Training(
        digits, recipe, runtime=pick("cpu", "fp32"), donor=donor(clean.checkpoint),
        measure=lambda *probe: dict.fromkeys(VARIANTS, next(scores)),
    )  # fmt: skip
    for _ in run.steps():
        pass
    assert [epoch.rolled_back for epoch in run.epochs] == [False, True, False]
    assert run.epochs[-1].checks[0].tau == 1 and len(run.epochs[-1].checks[0].lr_scales) == 14
    state, before = run.model.state_dict(), clean.model.state_dict()
    held = [name for name in state if torch.equal(state[name], before[name])]
    assert set(run.transplant.names) <= set(held)
    assert {"bn1.running_mean", "layer1.0.bn2.weight"} <= run.transplant.names


def test_a_compiled_step_freezes_too(digits, monkeypatch) -> None:
    """Traced, and not made into machine code, which takes long."""
    monkeypatch.setattr(torch, "compile", partial(torch.compile, backend="eager"))
    net = tiny(10)
    source = train(digits, "nt", **QUICK | {"model": tiny(10)})
    run = train(
        digits, "nt", init_from=source.checkpoint, init_layers="first:1", freeze=True,
        step="compile", **QUICK | {"model": net},
    )  # fmt: skip
    moved = {
        name for name, value in net.state_dict().items()
        if not torch.equal(value, source.model.state_dict()[name])
    }  # fmt: skip
    assert moved == {"5.weight", "5.bias"} and run.model is net


def tiny(classes: int) -> nn.Module:
    """A net whose norm has no weights of its own."""
    torch.manual_seed(1)
    return nn.Sequential(
        nn.Conv2d(3, 8, 3, 2), nn.BatchNorm2d(8, affine=False), nn.ReLU(),
        nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(8, classes),
    )  # fmt: skip


class Scaled(nn.Module):
    """A net that holds a weight and a number of its own, around two blocks."""

    def __init__(self) -> None:
        super().__init__()
        self.scale = nn.Parameter(torch.ones(()))
        self.register_buffer("offset", torch.zeros(()))
        self.one = nn.Sequential(nn.Conv2d(3, 4, 3, 2), nn.BatchNorm2d(4))
        self.two = nn.Sequential(nn.Conv2d(4, 4, 3, 2), nn.BatchNorm2d(4))
        self.fc = nn.Linear(4, 10)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        out: torch.Tensor = self.fc(self.two(self.one(self.scale * x + self.offset)).mean((2, 3)))
        return out


def test_statistics_within_a_frozen_module_go_on_where_they_were_not_taken(digits) -> None:
    """The net's own weight and number are frozen with its first layer, its second block learns."""
    source = train(digits, "nt", **QUICK | {"model": Scaled()}).checkpoint
    net = Scaled()
    train(digits, "nt", init_from=source, init_layers="first:1", freeze=True,
          **QUICK | {"model": net})  # fmt: skip
    before, after = source.model.state_dict(), net.state_dict()
    held = {name for name in after if torch.equal(after[name], before[name])}
    assert {"scale", "offset", "one.1.running_mean", "one.1.num_batches_tracked"} <= held
    assert net.two[1].num_batches_tracked == 2 and "two.1.running_mean" not in held


def test_stopped_and_gone_on_with_it_is_the_same_file(folder, cli, signalled, tmp_path) -> None:
    line = f"train {folder}/digits.safetensors --frame st {CLI} --seed 1".split()
    line += f"--init-from {folder}/clean.safetensors --init-layers last:3 --freeze".split()
    whole, out = tmp_path / "whole.safetensors", tmp_path / "out.safetensors"
    assert cli(*line, "-o", whole).code == 0
    with signalled(signal.SIGINT, 3):
        assert cli(*line, "-o", out).code == 130
    other = [word if word != "last:3" else "last:2" for word in line]
    said = cli(*other, "--resume", "-o", out)
    assert said.code == 1 and "init.layers was last:3, now last:2" in said.err
    assert cli(*line, "--resume", "-o", out).code == 0
    assert out.read_bytes() == whole.read_bytes()
    _, tensors = artifact.read(out)
    _, before = artifact.read(folder / "clean.safetensors")
    assert all(torch.equal(tensors[k], before[k]) for k in before if k.startswith("layer4."))


def test_all_weights_are_the_start(folder, cli, tmp_path) -> None:
    """With rate 0, which also is how norm statistics of random weights are measured."""
    out = tmp_path / "out.safetensors"
    line = f"train {folder}/digits.safetensors --frame nt {CLI} --lr 0 --seed 9"
    line += f" --init-from {folder}/clean.safetensors -o {out}"
    assert cli(*line.split()).code == 0
    head, tensors = artifact.read(out)
    before_head, before = artifact.read(folder / "clean.safetensors")
    for name, value in tensors.items():
        learned = not name.endswith(("running_mean", "running_var", "num_batches_tracked"))
        assert torch.equal(value, before[name]) is learned, name
    assert head["recipe"]["init"] == {"layers": None, "freeze": False}
    assert [each["digest"] for each in head["inputs"]][1:] == [before_head["digest"]]
    assert "init" not in before_head["recipe"] and len(before_head["inputs"]) == 1


def planted(init: Init, *, model: nn.Module, source: nn.Module, images: Images) -> set[str]:
    """What `plant` takes, names alone."""
    recipe = TrainingRecipe(frame_with("nt"), "own:Net", init=init)
    todo = plan(images, recipe)
    head = {"model": "own:Net", "classes": images.classes, "size": images.size,
            "mean": todo.mean, "std": todo.std}  # fmt: skip
    given = Donor(source.state_dict(), head, "donor")
    return set(plant(model, given, recipe, todo, images).names)


def test_layers_are_counted_from_the_input_without_the_classifier(digits) -> None:
    net = models.create("resnet18", classes=10, size=SIDE)
    take = partial(planted, model=net, source=net, images=digits)
    first, last, blocks = take(Init("first:5")), take(Init("last:5")), take(Init("layer1"))
    state = set(net.state_dict())
    assert first - blocks == {name for name in state if name.startswith(("conv1.", "bn1."))}
    assert {name.split(".")[0] for name in last} == {"layer4"} and len(last) == 30
    whole = take(Init("first:20"))
    assert state - whole == {"fc.weight", "fc.bias"} and whole == take(Init("last:20"))


def test_numbers_without_parameters_go_with_the_layer_before(digits) -> None:
    buffers = {"1.running_mean", "1.running_var", "1.num_batches_tracked"}
    names = planted(Init("first:1"), model=tiny(10), source=tiny(10), images=digits)
    assert names == {"0.weight", "0.bias"} | buffers


def test_other_classes_are_no_matter_without_the_classifier(digits) -> None:
    """As with blocks that were trained to tell rotations, of which there are four."""
    four = Images.from_tensors(digits.pixels, digits.labels % 4)
    source = train(four, "nt", **QUICK).checkpoint
    run = train(digits, "nt", init_from=source, init_layers="layer1.0,layer2.0", freeze=True,
                **QUICK)  # fmt: skip
    kept = run.model.state_dict()["layer2.0.bn2.running_var"]
    assert torch.equal(kept, source.model.state_dict()["layer2.0.bn2.running_var"])
    for layers in (None, "fc"):
        with pytest.raises(ArtifactError, match="has 4 classes, expected 10"):
            train(digits, "nt", init_from=source, init_layers=layers, **QUICK)


@pytest.mark.parametrize(
    ("more", "error", "text"),
    [({"init_layers": "first:0"}, RecipeError, "expected first:1 to first:13"),
     ({"init_layers": "last:14"}, RecipeError, "small has 13 layers before its classifier"),
     ({"init_layers": "first:two"}, RecipeError, "expected a whole number of layers"),
     ({"init_layers": "layer1.0,"}, RecipeError, "expected first:N, last:N, or names"),
     ({"init_layers": "layr1"}, RecipeError, "unknown layer 'layr1'; did you mean 'layer1'"),
     ({"freeze": True}, RecipeError, "freeze leaves nothing to learn"),
     ({"init_from": None, "init_layers": "first:1"}, RecipeError, "init-layers is given without"),
     ({"init_from": None, "freeze": True}, RecipeError, "freeze is given without init-from"),
     ({"pretrained": True}, RecipeError, "pretrained and init-from are two sources"),
     ({"init_from": 3}, RecipeError, "init_from is a int, expected a file or a Checkpoint"),
     ({"model": "resnet18"}, ArtifactError, "found a small, expected a resnet18"),
     ({"mean": [0.5] * 3}, ArtifactError, "mean 0,0,0 and std 1,1,1, expected 0.5,0.5,0.5")],
)  # fmt: skip
def test_what_does_not_fit_is_said(more, error, text, digits, clean) -> None:
    options = {**QUICK, "init_from": clean.checkpoint} | more
    with pytest.raises(error, match=text) as caught:
        train(digits, "nt", **options)
    assert "\n" not in str(caught.value)


def test_other_shapes_and_unfinished_files_are_refused(digits, folder, tmp_path) -> None:
    """Nothing is changed then; a number of classes that is the same does not help."""
    head, tensors = artifact.read(folder / "clean.safetensors")
    model = models.create("small", classes=10, size=SIDE)
    before = {name: value.clone() for name, value in model.state_dict().items()}
    for name, other in (("fc.weight", torch.zeros(10, 7)), ("conv1.weight", None)):
        changed = tensors | {name: other}
        if other is None:
            del changed[name]
        recipe = TrainingRecipe(frame_with("nt"), "small", init=Init())
        run = Training(digits, recipe, runtime=pick("cpu", "fp32"))
        with pytest.raises(ArtifactError, match=rf"as '{name}', expected .* images of 20 pixels"):
            plant(model, Donor(changed, head, "it"), recipe, run.plan, digits)
    assert all(torch.equal(value, before[k]) for k, value in model.state_dict().items())
    progress = {"done": False, "step": 1, "steps": 2, "tau": 0, "loss": 0.0, "hits": 0.0}
    progress |= {"since": 0, "checks": []}
    artifact.write(tmp_path / "part", tensors, head | {"progress": progress})
    with pytest.raises(ArtifactError, match="unfinished; run the same"):
        train(digits, "nt", init_from=tmp_path / "part", **QUICK)


def test_reports_tell_such_trainings_apart(folder, cli, tmp_path) -> None:
    line = f"train {folder}/digits.safetensors --frame nt {CLI} --epochs 1"
    line += f" --test {folder}/digits.safetensors"
    source = f"{folder}/clean.safetensors"
    cli(*line.split(), "-o", tmp_path / "plain")
    cli(*line.split(), "--init-from", source, "--init-layers", "first:4", "--freeze", "-o",
        tmp_path / "shallow")  # fmt: skip
    rows = cli("report", tmp_path / "plain", tmp_path / "shallow", "--format", "json").json
    assert [row["frame"] for row in rows] == ["nt", "nt, from first:4 of nt on clean, frozen"]
    head = header.read(tmp_path / "shallow")
    assert [each["kind"] for each in head["inputs"]] == ["dataset", "dataset", "checkpoint"]
