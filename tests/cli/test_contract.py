"""The command line knows no science: every verb by command and by library gives the same."""

import json
from dataclasses import asdict

import pytest
import torch

from stkit import (
    CUDA,
    EM,
    OPS,
    REM,
    SP,
    acm,
    acm_by_layer,
    check,
    compare,
    evaluate,
    load,
    load_checkpoint,
    pick,
    poison,
    train,
)
from stkit.cli.check import show
from stkit.core import artifact, header
from stkit.poisons import at_rate
from stkit.recipes.check import Trial
from stkit.recipes.frames import FRAMES

CPU = ("--device", "cpu", "--precision", "fp32")
SURROGATE = {"model": "small", "batch_size": 8, "steps": 1, "model_steps": 2}
RECIPES = {
    "sp": SP(epsilon=4 / 255), "ops": OPS(pixels=2), "cuda": CUDA(kernel=5),
    "em": EM(**SURROGATE, max_rounds=1), "rem": REM(**SURROGATE, eot=1, adversary_steps=1),
}  # fmt: skip
OPTIONS = {
    "sp": "--epsilon 4/255", "ops": "--pixels 2", "cuda": "--kernel 5",
    "em": "--model small --batch-size 8 --steps 1 --model-steps 2 --max-rounds 1",
    "rem": "--model small --batch-size 8 --steps 1 --model-steps 2 --eot 1 --adversary-steps 1",
}  # fmt: skip


@pytest.fixture(scope="module")
def cpu():
    return pick("cpu", "fp32")


def same(folder) -> None:
    """`c`, which the command has written, is `l`, which the library has, header and all."""
    assert header.read(folder / "c") == header.read(folder / "l")
    assert (folder / "c").read_bytes() == (folder / "l").read_bytes()


@pytest.fixture(scope="module")
def tiny(tmp_path_factory):
    """A folder with digits of 20x20 pixels: 40 to train on, 20 to test on."""
    root = tmp_path_factory.mktemp("tiny")
    load("digits", limit=40, size=20).save(root / "clean")
    load("digits", "test", limit=20, size=20).save(root / "test")
    return root


def test_data(cli, tiny, tmp_path):
    cli("data", "digits", "--limit", 40, "-o", tmp_path / "c", "-q")
    load("digits", limit=40).save(tmp_path / "l")
    same(tmp_path)


@pytest.mark.parametrize("method", RECIPES)
def test_poison_and_rate(method, cli, tiny, tmp_path):
    line = ("poison", method, tiny / "clean", *OPTIONS[method].split(), "--seed", 3)
    assert cli(*line, "-q", "-o", tmp_path / "c").code == 0
    clean = load(tiny / "clean")
    poisoned = poison(clean, RECIPES[method], seed=3)
    poisoned.save(tmp_path / "l")
    same(tmp_path)
    line = ("rate", tmp_path / "c", "--clean", tiny / "clean", "--poison-rate", 0.5)
    assert cli(*line, "-q", "-o", tmp_path / "c", "--force").code == 0
    at_rate(poisoned, clean, 0.5).save(tmp_path / "l")
    same(tmp_path)


def test_inspect(cli, tiny, tmp_path):
    clean = load(tiny / "clean")
    poisoned = poison(clean, SP())
    poisoned.save(tmp_path / "f")
    shown = cli("inspect", tmp_path / "f", "--clean", tiny / "clean", "--json").json
    wanted = asdict(compare(poisoned, clean))
    assert {key: shown[key] for key in wanted} == wanted


def test_check(cli, tmp_path, cpu, capsys):
    """As long as it takes to tell that both do the same; a size that both reduce to."""
    clean = load("digits", limit=100, size=20)
    clean.save(tmp_path / "clean")
    poison(clean, SP()).save(tmp_path / "sp")
    line = ("check", tmp_path / "sp", "--clean", tmp_path / "clean", "--size", 12, "--seed", 3)
    more = ("--augment", "gray", "--epochs", 1, *CPU)
    shown = cli(*line, *more, "--json").json
    wanted = check(
        load(tmp_path / "sp"), clean, ["gray"], trial=Trial(epochs=1), size=12, seed=3, runtime=cpu
    )
    reread = json.loads(json.dumps(asdict(wanted)))
    told = {name: getattr(wanted, name) for name in ("loss", "best", "given_back", "verdict")}
    assert {key: shown[key] for key in (*reread, *told)} == reread | told
    capsys.readouterr()
    show(wanted, 1.0, as_json=False, quiet=False)
    printed = capsys.readouterr().out
    assert printed.splitlines()[-1] == wanted.verdict and "10 classes, 12x12\n" in printed
    show(wanted, 1.0, as_json=False, quiet=True)
    assert float(capsys.readouterr().out) == pytest.approx(wanted.loss, abs=1e-4)


@pytest.mark.parametrize("frame", [name for name in FRAMES if name != "auto"])  # test_auto.py
def test_train(frame, cli, tiny, tmp_path, cpu):
    line = ("train", tiny / "clean", "--frame", frame, "--model", "small", "--epochs", 1)
    more = ("--batch-size", 20, "--test", tiny / "test", "--seed", 2, *CPU)
    often = 1 if frame == "nt-stop" else None  # its own is longer than this training
    asked = () if often is None else ("--check-every", often)
    assert cli(*line, *more, *asked, "-q", "-o", tmp_path / "c").code == 0
    run = train(
        load(tiny / "clean"), frame, model="small", epochs=1, batch_size=20,
        test=load(tiny / "test"), seed=2, runtime=cpu, check_every=often,
    )  # fmt: skip
    run.save(tmp_path / "l")
    same(tmp_path)


@pytest.fixture(scope="module")
def trained(tiny, cpu):
    """Checkpoints whose D^s is not the set as it is: a preparation, a part held out, both."""
    images = load(tiny / "clean")
    for name, options in {
        "gray-jpeg": {"frame": "gray-jpeg"},
        "holdout": {"frame": "nt", "holdout": 10},
        "both": {"frame": "gray-jpeg", "holdout": 10},
    }.items():
        run = train(images, model="small", epochs=1, batch_size=10, seed=4, runtime=cpu, **options)
        run.save(tiny / name)
    return tiny


@pytest.mark.parametrize("name", ["gray-jpeg", "holdout", "both"])
@pytest.mark.parametrize("data", ["clean", "test"])
def test_acm(name, data, cli, trained, tmp_path):
    """To the last bit, also of what is written."""
    line = ("acm", trained / name, trained / data, "--per-class", 2, "--device", "cpu")
    shown = cli(*line, "-o", tmp_path / "c", "--json").json
    checkpoint, images = load_checkpoint(trained / name), load(trained / data)
    measured = acm(checkpoint, images, per_class=2)
    assert (shown["acm"], shown["per_class"]) == (measured.acm, measured.per_class)
    measured.save(tmp_path / "l")
    same(tmp_path)
    each = acm_by_layer(checkpoint, images, per_class=2)
    rows = cli(*line, "--layer", "all", "--json").json["layers"]
    names = ["penultimate" if one.layer is None else one.layer for one in each]
    assert rows == [{"layer": n, **one.scores} for n, one in zip(names, each, strict=True)]
    assert cli(*line, "--layer", 2, "--json").json["acm"] == rows[1]["literal"]
    plain = acm(checkpoint.model, images, per_class=2, seed=4).acm
    assert (plain == measured.acm) == (name == "holdout" and data == "test")


@pytest.mark.parametrize("adversary", [None, 4 / 255])
def test_eval(adversary, cli, trained, tmp_path):
    more = () if adversary is None else ("--adversary", "4/255")
    line = ("eval", trained / "holdout", trained / "test", *more, *CPU, "--seed", 5)
    shown = cli(*line, "-o", tmp_path / "c", "--json").json
    measured = evaluate(
        load_checkpoint(trained / "holdout"), load(trained / "test"), adversary=adversary, seed=5
    )
    assert shown["accuracy"] == measured.accuracy and shown["per_class"] == measured.per_class
    assert shown.get("robust_accuracy") == measured.robust_accuracy
    measured.save(tmp_path / "l")
    same(tmp_path)
    _, tensors = artifact.read(tmp_path / "c", "eval")
    assert torch.equal(tensors["confusion"], measured.confusion)


def test_import_and_export(cli, tiny, tmp_path):
    from stkit.data.exporting.export import export
    from stkit.data.importing.load import load as bring

    clean = load(tiny / "clean")
    poison(clean, SP(), seed=1).save(tmp_path / "sp")
    line = ("export", tmp_path / "sp", "--format", "em", "--clean", tiny / "clean")
    assert cli(*line, "-o", tmp_path / "c.pt", "-q").code == 0
    export(load(tmp_path / "sp"), tmp_path / "l.pt", format="em", clean=clean)
    noise, other = (torch.load(tmp_path / f"{name}.pt") for name in "cl")
    assert torch.equal(noise, other)
    line = ("import", tmp_path / "c.pt", "--clean", tiny / "clean", "-o", tmp_path / "c")
    assert cli(*line, "-q").code == 0
    bring(tmp_path / "l.pt", clean)[0].save(tmp_path / "l")
    same(tmp_path)
