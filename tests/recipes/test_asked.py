"""A recipe in a header leads back to the command line that asked for it, for every option."""

import json
from dataclasses import fields, replace
from typing import Any

import pytest
import typer

from stkit.cli import app
from stkit.cli.train_options import interval
from stkit.core import header
from stkit.core.checks import as_dict
from stkit.core.errors import RecipeError
from stkit.recipes import asked
from stkit.recipes.frames import FRAMES, Adversary, Frame, Phase, described, resolve
from stkit.recipes.options import OPTIONS, frame_with
from stkit.recipes.poisons import METHODS
from stkit.recipes.purifiers import SHARE
from stkit.recipes.settings import settings
from stkit.recipes.staged import Staged

VALUES: dict[str, Any] = {
    "epochs": 7, "lr": 0.033, "fine_tune_epochs": 3, "fine_tune_lr": 1e-7, "gamma": 0.123,
    "indicator": "purified", "beta": 1 / 3, "variant": "ratio", "layer": "layer1",
    "check_every": 11, "restore": "zero", "gate": True, "adversary": 6 / 255,
    "augment": "JPEG-50, cg,mixup", "jitter": 0.5, "weight_decay": 3e-4,
}  # fmt: skip
"""Of every option a value that is no frame's default."""
COMMANDS: Any = typer.main.get_command(app).commands  # type: ignore[attr-defined]


def recorded(frame: Frame) -> dict[str, Any]:
    """What a header says of a frame, through JSON."""
    phases = [resolve(each, size=32, classes=10, steps_per_epoch=13) for each in frame.phases]
    value = {"frame": frame.name, "phases": [described(phase) for phase in phases]}
    return json.loads(header.dumps(value))


def again(recipe: dict[str, Any]) -> Frame:
    """The frame that the command line makes of the options that were read from a recipe."""
    words = ["SOURCE", "-o", "FILE", *asked.words(asked.frame(recipe))]
    params = COMMANDS["train"].make_context("train", words).params
    options = {name: params[(o.flag or name).replace("-", "_")] for name, o in OPTIONS.items()}
    options["check_every"] = interval(options["check_every"])
    return frame_with(params["frame"], **options)


def given(name: str) -> list[dict[str, Any]]:
    """Options for a frame: each alone, and all at once that go together."""
    there = {key: value for key, value in VALUES.items() if OPTIONS[key].has(FRAMES[name])}
    if name == "auto":
        there["augment"] = "auto,mixup"
    alone = [{key: value} for key, value in there.items() if key != "jitter"]
    jitters = "auto" if name == "auto" else "cg"
    jitter = [{"jitter": each, "augment": jitters} for each in (0.5, (0.4, 0.1, 0.0, 0.5))]
    of_acm = {key: value for key, value in there.items() if key != "indicator"}
    of_share = {key: value for key, value in there.items() if key not in ("variant", "layer")}
    more = {**of_acm, "variant": "sum", "gamma": float("inf")}
    return [{}, *alone, *jitter, of_acm, of_share, more]


def test_every_option_has_a_value_here() -> None:
    assert VALUES.keys() == OPTIONS.keys() == {*asked.READ, "augment"}


@pytest.mark.parametrize("name", FRAMES)
def test_every_option_of_every_frame_is_read_back(name: str) -> None:
    for options in given(name):
        if "gamma" in options and not OPTIONS["gamma"].has(FRAMES[name]):
            options = {k: v for k, v in options.items() if OPTIONS[k].has(FRAMES[name])}
        recipe = recorded(frame_with(name, **options))
        assert recorded(again(recipe)) == recipe, options


def test_an_augmentation_is_asked_for_by_its_name_of_today() -> None:
    older = recorded(frame_with("nt", augment="jpeg,random-gray")) | {"frame": "nt+jpeg,grey"}
    assert asked.frame(older) == {"frame": "nt", "augment": "jpeg,random-gray", "epochs": 60}


def test_only_what_the_frame_does_not_say_is_asked_for() -> None:
    assert asked.words(asked.frame(recorded(frame_with("st", beta=0.5, adversary=None)))) == (
        "--frame=st", "--epochs=60", "--beta=0.5", "--check-every=13",
    )  # fmt: skip
    full = frame_with("st-full", epochs=2, variant="ratio", gate=True)
    assert asked.words(asked.frame(recorded(full))) == (
        "--frame=st-full", "--epochs=2", "--acm-variant=ratio", "--check-every=13", "--gate",
    )  # fmt: skip
    assert asked.frame(recorded(frame_with("at", adversary=8 / 255)))["adversary"] == "8/255"
    share = frame_with("nt-stop", epochs=2, indicator="purified", gamma=0.5)
    assert asked.words(asked.frame(recorded(share))) == (
        "--frame=nt-stop", "--epochs=2", "--indicator=purified", "--gamma=0.5",
    )  # fmt: skip


def test_what_is_judged_by_purified_images_has_nothing_of_acm() -> None:
    """In the header neither, whichever indicator: files of ACM are as they were."""
    for name in ("st", "nt-stop"):
        (phase,) = recorded(frame_with(name))["phases"]
        assert {"variant", "gamma"} <= phase["staged"].keys() and "indicator" not in phase["staged"]
        (phase,) = recorded(frame_with(name, indicator="purified"))["phases"]
        assert (
            phase["staged"]["gamma"] == SHARE and not {"variant", "layer"} & phase["staged"].keys()
        )
        assert frame_with(name, indicator="acm") == FRAMES[name]
    own = replace(FRAMES["st"], train=Phase(staged=Staged(variant="sum", gamma=3.0, layer=1)))
    judged = frame_with(own, indicator="purified").train.staged
    assert judged == Staged(indicator="purified") and frame_with(own, lr=0.1).train == own.train


@pytest.mark.parametrize(
    ("frame", "options", "said"),
    [
        ("nt", {"indicator": "purified"}, "option indicator does not belong to frame 'nt'"),
        ("st", {"indicator": "pure"}, "unknown indicator 'pure'; did you mean 'purified'"),
        ("st", {"indicator": "purified", "variant": "literal"}, "option acm-variant is of ACM"),
        ("nt-stop", {"indicator": "purified", "layer": 1}, "option acm-layer is of ACM"),
        ("st", {"indicator": "purified", "gamma": 1.5}, "gamma is 1.5, expected a number from 0"),
    ],
)
def test_an_indicator_that_cannot_judge(frame: str, options: dict[str, Any], said: str) -> None:
    with pytest.raises(RecipeError, match=said):
        frame_with(frame, **options)
    with pytest.raises(RecipeError, match=r"ACM to judge by \(ratio, layer None\)"):
        Staged(indicator="purified", variant="ratio")


@pytest.mark.parametrize(
    ("frame", "why"),
    [
        (Frame(Phase(), name="mine"), "unknown frame 'mine'"),
        (replace(FRAMES["at"], train=Phase(adversary=Adversary(steps=3))), "adversary.steps"),
        (replace(FRAMES["nt"], train=Phase(momentum=0.5)), "momentum"),
        (replace(FRAMES["nt"], fine_tune=Phase()), "1."),
    ],
)
def test_a_frame_of_ones_own_has_no_command(frame: Frame, why: str) -> None:
    with pytest.raises(RecipeError, match=why):
        asked.frame(recorded(frame))


def changed(method: str) -> list[dict[str, Any]]:
    """Settings of a poison: each alone with another value, and all at once."""
    recipe, values = METHODS[method](), {}
    for each in fields(METHODS[method]):
        about, default = settings(METHODS[method])[each.name], getattr(recipe, each.name)
        if about.choices:
            values[each.name] = about.choices[about.choices[0] == default]
        elif isinstance(default, (bool, str)):
            values[each.name] = True if default is False else "small"
        else:
            values[each.name] = 3 if "int" in str(each.type) else 0.3 if default is None else 0.03
    return [{}, *({key: value} for key, value in values.items()), values]


@pytest.mark.parametrize("method", METHODS)
def test_every_setting_of_every_poison_is_read_back(method: str) -> None:
    for rate, values in enumerate(changed(method)):
        made = METHODS[method](**values).resolved((32, 32), 10)
        recipe = {**as_dict(made), "method": method, "poison_rate": 1 / (1 + rate)}
        recipe = json.loads(header.dumps(recipe))
        words = ["SOURCE", "-o", "FILE", *asked.words(asked.poison(recipe))]
        params = COMMANDS["poison"].commands[method].make_context(method, words).params
        own = {k: params[k] for k in settings(METHODS[method]) if params[k] is not None}
        assert METHODS[method](**own).resolved((32, 32), 10) == made
        assert params["poison_rate"] == recipe["poison_rate"]


@pytest.mark.parametrize(
    ("changes", "why"),
    [
        ({"epsilon": 7}, "epsilon"), ({"epsilon": "--force"}, "epsilon"), ({"more": 1}, "more"),
        ({"bound": "x\x1b[2J"}, "unknown bound"), ({"patch": None}, "patch"),
        ({"method": "--help"}, "unknown method"), ({"poison_rate": "0 -o x"}, "poison-rate"),
    ],
)  # fmt: skip
def test_a_forged_poison_is_refused(changes: dict[str, Any], why: str) -> None:
    made = METHODS["sp"]().resolved((32, 32), 10)
    recipe = {**as_dict(made), "method": "sp", "poison_rate": 1.0, **changes}
    if changes == {"patch": None}:
        del recipe["patch"]
    with pytest.raises(RecipeError, match=why):
        asked.poison(recipe)


TRAINED = recorded(FRAMES["nt"]) | {
    "model": "small", "pretrained": False, "batch_size": 20, "holdout": 0, "precision": "fp32",
    "mean": [0.0] * 3, "std": [1.0] * 3,
}  # fmt: skip


@pytest.mark.parametrize(
    ("changes", "side", "said"),
    [
        ({}, 32, ""), ({}, None, "mean=0,0,0 std=1,1,1"), ({}, 224, "mean=0,0,0 std=1,1,1"),
        ({"mean": [0.1, 1 / 3, 0.5]}, 32, "mean=0.1,0.3333333333333333,0.5 std=1,1,1"),
        ({"holdout": 5}, 32, "holdout=5"),
        ({"model": "timm:resnet18", "pretrained": True}, 32,
         "pretrained mean=0,0,0 std=1,1,1"),
    ],
)  # fmt: skip
def test_what_else_decides_a_training(changes: dict[str, Any], side: int | None, said: str) -> None:
    recipe = TRAINED | changes
    line = asked.words(asked.training(recipe, 3, side=side))
    kept = ("--frame=nt", "--epochs=60", f"--model={recipe['model']}", "--batch-size=20")
    assert line == (*kept, *(f"--{word}" for word in said.split()))


def test_threads_ranks_and_precision() -> None:
    recipe = {"precision": "bf16", "threads": 3, "deterministic": True, "sync_bn": True, "ranks": 2}
    assert asked.ranks(recipe) == 2
    assert asked.words(asked.runtime(recipe)) == (
        "--precision=bf16", "--device=cpu", "--threads=3", "--deterministic", "--sync-bn",
    )  # fmt: skip
    for wrong in ({"precision": "fp32 --force"}, {"threads": "2"}, {"threads": -1}):
        with pytest.raises(RecipeError):
            asked.runtime(recipe | wrong)
    with pytest.raises(RecipeError):
        asked.ranks({"ranks": 10**9})
