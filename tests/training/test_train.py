"""`train`, the door: frames as values, own models, own augmentation, and what is refused."""

import json
from dataclasses import replace

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from stkit.core import header
from stkit.core.errors import ArtifactError, DataError, RecipeError
from stkit.data.images import Images
from stkit.data.load import load
from stkit.measure.accuracy import evaluate
from stkit.measure.acm import acm
from stkit.poisons import poison
from stkit.recipes.frames import FRAMES, Frame, Phase
from stkit.recipes.options import OPTIONS, Options
from stkit.recipes.poisons.em import EM
from stkit.recipes.staged import Staged
from stkit.report.result import summary
from stkit.training import checkpoint
from stkit.training.run import Run, train

SMALL = {"model": "small", "epochs": 1, "batch_size": 20, "device": "cpu"}


@pytest.fixture(scope="module")
def digits() -> Images:
    return load("digits", limit=60)


def net(classes: int = 10) -> nn.Module:
    torch.manual_seed(0)
    return nn.Sequential(
        nn.Conv2d(3, 8, 3, 2), nn.BatchNorm2d(8), nn.ReLU(),
        nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(8, classes),
    )  # fmt: skip


def flipped(images: Tensor, generator: torch.Generator) -> Tensor:
    """Half of the images mirrored."""
    coins = torch.rand(len(images), 1, 1, 1, generator=generator)
    return torch.where(coins < 0.5, images.flip(-1), images)


def same(one: nn.Module, other: nn.Module) -> bool:
    return all(torch.equal(v, other.state_dict()[k]) for k, v in one.state_dict().items())


def test_a_run_has_its_model_records_accuracy_and_file(digits, tmp_path):
    seen = []
    run = train(
        digits, "st", test=load("digits", "test", limit=30), on_epoch=seen.append, holdout=10,
        **SMALL | {"epochs": 2},
    )  # fmt: skip
    assert run.epochs == tuple(seen) and len(seen) == 2
    assert 0 <= run.accuracy <= 1 and run.epochs[-1].holdout_accuracy is not None
    assert repr(run) == f"Run(st of small, 2 epochs, accuracy {run.accuracy:.4f})"
    head = run.save(tmp_path / "run")
    assert header.dumps(header.read(tmp_path / "run")) == header.dumps(head)
    assert summary(head)["frame"] == "st"
    assert same(checkpoint.load_model(tmp_path / "run"), run.model)
    probed = run.probe(digits, variant="ratio")  # as it was trained: without what was held out
    assert probed.acm == acm(run.checkpoint, digits, variant="ratio").acm
    assert probed.acm != acm(run.model, digits, variant="ratio").acm
    assert repr(train(digits, **SMALL)) == "Run(nt of small, 1 epochs)"


def test_a_frame_is_a_value(digits):
    """Of the same settings as a named one it trains to the same weights, under its own name."""
    value = train(digits, Frame(Phase(lr=0.05)), **SMALL)
    assert same(value.model, train(digits, "nt", lr=0.05, **SMALL).model)
    assert value.header["frame"] == "custom"
    named = Frame(Phase(staged=Staged(variant="ratio")), name="mine")
    assert train(digits, named, gamma=0.3, **SMALL).header["frame"] == "mine"
    with pytest.raises(RecipeError, match="option adversary does not belong to frame 'mine'"):
        train(digits, named, adversary=0.1, **SMALL)


def test_names_of_augmentations_are_those_of_the_command_line(digits):
    run = train(digits, "st-cg", augment="gray,cutout", **SMALL)
    phase = run.header["recipe"]["phases"][0]
    assert run.header["frame"] == "st-cg+gray,cutout"
    assert (phase["prepare"], phase["augment"]) == (("gray",), ("crop", "flip", "cutout"))


def test_an_own_augmentation_takes_the_place_of_the_frames(digits):
    run = train(digits, "nt-cg", augment=flipped, **SMALL)
    said = f"{__name__}.flipped"
    assert run.header["frame"] == f"nt-cg+{said}"
    assert run.header["recipe"]["augment"] == said
    assert run.header["recipe"]["phases"][0]["augment"] == ()
    assert same(run.model, train(digits, "nt-cg", augment=flipped, **SMALL).model)
    assert not same(run.model, train(digits, "nt-cg", augment="none", **SMALL).model)
    plain = train(digits, "nt-cg", augment=lambda images, generator: images, **SMALL)
    assert same(plain.model, train(digits, "nt-cg", augment="none", **SMALL).model)


def test_an_own_augmentation_may_draw_from_torchs_generator(digits):
    """As torchvision's transforms do: it is seeded for each step."""

    def noisy(images: Tensor, generator: torch.Generator) -> Tensor:
        return images + 0.1 * torch.randn(images.shape)

    one = train(digits, augment=noisy, **SMALL)
    torch.manual_seed(99)
    assert same(one.model, train(digits, augment=noisy, **SMALL).model)


def test_an_own_augmentation_that_changes_the_shape_is_refused(digits):
    with pytest.raises(RecipeError, match="expected float images of the same shape"):
        train(digits, augment=lambda images, generator: images[:, :, 1:], **SMALL)
    with pytest.raises(RecipeError, match="augment returned a tuple, expected a tensor"):
        train(digits, augment=lambda images, generator: (images, 1), **SMALL)


def test_an_own_model_is_trained_and_asked_for(digits, tmp_path):
    own = net()
    run = train(digits, "st", **SMALL | {"model": own}, test=digits, mean=(0.5,) * 3)
    assert run.model is own and run.header["model"] == "own:Sequential"
    assert run.header["shapes"]["5.weight"] == [10, 8]
    run.save(tmp_path / "own")
    with pytest.raises(ArtifactError, match=r"stkit.load_model\(path, model=Sequential"):
        checkpoint.load_model(tmp_path / "own")
    again = checkpoint.load_model(tmp_path / "own", model=net())
    assert same(again, own)
    images = torch.rand(2, 3, 32, 32)
    assert torch.equal(again(images), own.eval()(images)), "normalised as it was trained"
    with pytest.raises(ArtifactError, match="do not fit the model"):
        checkpoint.load_model(tmp_path / "own", model=net(3))


def test_an_own_model_is_normalised_once_and_as_last_said(digits, tmp_path):
    own, images = net(), torch.rand(2, 3, 32, 32)
    for mean, file in ((0.5, "first"), (0.25, "second")):
        train(digits, **SMALL | {"model": own}, mean=(mean,) * 3).save(tmp_path / file)
    answers = own.eval()(images)
    plain = net()
    plain.load_state_dict(own.state_dict())
    torch.testing.assert_close(answers, plain.eval()(images - 0.25))
    reused = train(digits, **SMALL | {"model": net()}, mean=(0.5,) * 3).model
    again = checkpoint.load_model(tmp_path / "second", model=reused)
    assert torch.equal(again(images), answers), "the file's mean, not the module's"
    run = train(digits, **SMALL | {"model": own})
    plain.load_state_dict(run.model.state_dict())
    torch.testing.assert_close(own.eval()(images), plain.eval()(images))  # no mean is none again


def test_a_mean_of_ones_own_stays_ones_own(digits, tmp_path):
    """A module may have buffers called as ours once were."""

    def own() -> nn.Module:
        made = net()
        made.register_buffer("pixel_mean", torch.ones(1))
        return made

    run = train(digits, **SMALL | {"model": own()}, mean=(0.5,) * 3)
    run.save(tmp_path / "own")
    images, again = torch.rand(2, 3, 32, 32), checkpoint.load_model(tmp_path / "own", model=own())
    assert torch.equal(again(images), run.model.eval()(images))


@pytest.mark.parametrize("dtype", [torch.float64, torch.bfloat16])
@pytest.mark.parametrize("frame", ["nt", "st", "at"])
def test_an_own_model_of_another_type_is_trained_and_measured(dtype, frame, digits):
    own = net().to(dtype)
    run = train(digits, frame, test=digits, mean=(0.5,) * 3, **SMALL | {"model": own})
    assert {value.dtype for value in own.parameters()} == {dtype}
    assert evaluate(own, digits).accuracy == run.accuracy
    assert 0 <= evaluate(own, digits, adversary=4 / 255).robust_accuracy <= 1
    loader = [(digits.pixels, digits.labels)]
    assert evaluate(own, loader, adversary=4 / 255).accuracy == run.accuracy
    assert acm(own, digits).scores == acm(own, loader).scores


class Pair(nn.Module):
    """Two answers an image."""

    def __init__(self) -> None:
        super().__init__()
        self.net = net()

    def forward(self, images: Tensor) -> tuple[Tensor, Tensor]:
        return self.net(images), images


class Scaled(nn.Module):
    """A parameter that is in no layer."""

    def __init__(self) -> None:
        super().__init__()
        self.scale = nn.Parameter(torch.ones(10))

    def forward(self, images: Tensor) -> Tensor:
        return images.mean((1, 2, 3))[:, None] * self.scale


@pytest.mark.parametrize(
    ("made", "said"),
    [
        (nn.Flatten, "own:Flatten has no parameters, expected some that can learn; pass a"),
        (
            lambda: nn.Sequential(nn.Flatten(), nn.LazyLinear(10)),
            "uninitialized parameters, .* call the",
        ),
        (
            lambda: net().requires_grad_(False),
            "no parameter of a Sequential requires grad, .*requires_gr",
        ),
        (lambda: torch.compile(net()), "pass the module before torch.compile"),
        (Scaled, "a Scaled calls no conv or linear module, .* which are ST's layers; compute"),
    ],
)
def test_an_own_model_that_cannot_be_trained_is_refused(made, said, digits):
    own = made()
    with pytest.raises(RecipeError, match=said):
        train(digits, **SMALL | {"model": own}, mean=(0.5,) * 3)
    if not isinstance(own, Scaled):
        recipe = EM(batch_size=10, steps=1, model_steps=1)
        with pytest.raises(RecipeError, match=said.removeprefix("own:")):
            poison(digits, recipe, surrogate=own)


def test_a_surrogate_that_answers_otherwise_is_refused(digits):
    recipe = EM(batch_size=10, steps=1, model_steps=1)
    with pytest.raises(RecipeError, match=r"Pair answers an image by a tuple, expected \[1, 10\]"):
        poison(digits, recipe, surrogate=Pair())
    with pytest.raises(RecipeError, match="surrogate Linear cannot take images of 32x32"):
        poison(digits, recipe, surrogate=nn.Linear(8, 10))


def test_an_own_model_that_does_not_fit_is_refused(digits):
    with pytest.raises(RecipeError, match=r"answers an image with \(1, 3\), expected \(1, 10\)"):
        train(digits, **SMALL | {"model": net(3)})
    with pytest.raises(RecipeError, match="own:Linear cannot take images of 32x32"):
        train(digits, **SMALL | {"model": nn.Linear(8, 10)})
    with pytest.raises(RecipeError, match="pretrained is for models of timm"):
        train(digits, **SMALL | {"model": net(), "pretrained": True})


class Counted(nn.Conv2d):
    """A module whose `state_dict` has a dict in it."""

    def get_extra_state(self) -> dict[str, int]:
        return {"calls": 1}

    def set_extra_state(self, state: dict[str, int]) -> None:
        pass


def test_an_own_model_that_no_file_can_hold_is_refused_before_the_first_step(digits):
    own, seen = net(), []
    own[0] = Counted(3, 8, 3, 2)
    with pytest.raises(RecipeError, match=r"'0\._extra_state' of dict in its state_dict"):
        train(digits, on_epoch=seen.append, **SMALL | {"model": own})
    own = net()
    own.register_buffer("phases", torch.zeros(2, dtype=torch.complex64))
    with pytest.raises(RecipeError, match=r"'phases' of torch\.complex64 in its state_dict"):
        train(digits, on_epoch=seen.append, **SMALL | {"model": own})
    own.register_buffer("phases", own.phases, persistent=False)
    assert not seen and train(digits, **SMALL | {"model": own}).epochs


def test_numbers_of_numpy_and_torch_are_saved_as_pythons(digits, tmp_path):
    run = train(
        digits, "st", lr=np.float32(0.5), seed=np.int64(3), gamma=torch.tensor(0.25),
        mean=torch.tensor([0.5, 0.25, 0.5]), std=np.ones(3), **SMALL,
    )  # fmt: skip
    head = run.save(tmp_path / "run")
    stored = header.read(tmp_path / "run")
    assert json.loads(header.dumps(head)) == stored and stored["seed"] == 3
    assert stored["recipe"]["phases"][0]["lr"] == 0.5
    assert stored["recipe"]["phases"][0]["staged"]["gamma"] == 0.25
    assert (stored["mean"], stored["std"]) == ([0.5, 0.25, 0.5], [1.0, 1.0, 1.0])
    assert same(run.model, train(digits, "st", lr=0.5, seed=3, gamma=0.25,
                                 mean=(0.5, 0.25, 0.5), std=(1, 1, 1), **SMALL).model)  # fmt: skip


@pytest.mark.parametrize("name", ["", "two\nlines", "tab\t", None])
def test_a_frame_without_a_printable_name_is_refused(name):
    """A report would call its checkpoint damaged."""
    with pytest.raises(RecipeError, match=r"a frame's name is .*, expected a line of printable"):
        Frame(Phase(), name=name)


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        (
            {"images": 5},
            r"images: found a int, expected Images; pass stkit.load\('digits'\)",
        ),
        ({"images": torch.zeros(2, 3, 8, 8)}, r"Tensor, expected .*Images.from_tensors\(pixels"),
        ({"test": 5}, r"test: found a int, expected Images; pass stkit.load\('digits'\)"),
        ({"frame": Phase()}, r"frame is a Phase, .*; pass Frame\(Phase\(\.\.\.\)\)"),
        ({"model": Counted}, "model is <class .*Counted'>, expected .*; pass an instance"),
        ({"augment": 3}, "augment is 3, expected names"),
        ({"mean": 0.5}, "mean is 0.5, expected three numbers"),
        ({"std": "0.1"}, "std is '0.1', expected three numbers"),
        ({"lr": "8/255"}, "lr is '8/255', expected a number from 0 to 1,000"),
        ({"epochs": 1.5}, "epochs is 1.5, expected a whole number"),
        ({"batch_size": 3.5}, "batch-size is 3.5, expected a whole number"),
        ({"seed": "1"}, "seed is '1', expected a number"),
    ],
)
def test_arguments_of_a_wrong_kind_are_answered_with_the_right_one(wrong, message, digits):
    with pytest.raises((RecipeError, DataError), match=message):
        train(**SMALL | {"images": digits} | wrong)


@pytest.mark.parametrize("frame", ["nt", "st", FRAMES["st"]])
def test_an_unknown_option_is_named_with_the_nearest(frame, digits):
    with pytest.raises(RecipeError, match="unknown option 'epoch'; did you mean 'epochs'"):
        train(digits, frame, epoch=1)
    with pytest.raises(RecipeError, match="unknown option 'hold_out'; did you mean 'holdout'"):
        train(digits, frame, hold_out=1)


def test_every_setting_of_the_command_can_be_passed(digits):
    run = train(
        digits, "nt", mean=(0.5, 0.4, 0.3), std=(0.2,) * 3, step="eager", sync_bn=True,
        weight_decay=1e-3, precision="fp32", **SMALL,
    )  # fmt: skip
    recipe = run.header["recipe"]
    assert recipe["mean"] == [0.5, 0.4, 0.3] and recipe["std"] == [0.2] * 3
    assert recipe["phases"][0]["weight_decay"] == 1e-3
    with pytest.raises(RecipeError, match="mean"):
        train(digits, mean=(0.5,), **SMALL)
    assert Options.__annotations__.keys() | {"augment"} == OPTIONS.keys()


def test_a_run_says_nothing_of_a_test_it_did_not_have(digits):
    run = train(digits, **SMALL)
    assert isinstance(run, Run) and run.accuracy is None
    record = replace(run.epochs[0], final={"accuracy": 0.5}, accuracy=0.25)
    assert replace(run, epochs=(record,)).accuracy == 0.5
