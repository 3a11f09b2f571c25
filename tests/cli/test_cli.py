"""Every command through `main`: what it prints, what it writes, and what it leaves alone."""

import csv
import inspect
import io
import json
import os
import re
import shlex
import signal
import subprocess
import sys
from types import SimpleNamespace

import pytest
import torch
import typer
from conftest import CLASSES, SIDE, snapshot
from processes import PATIENCE
from safetensors.torch import load_file

from stkit import __version__, load
from stkit.cli import app, main, saving
from stkit.cli.telling import Beginning
from stkit.core import artifact, header
from stkit.engine.runtime import Runtime
from stkit.recipes import catalogue, frames, poisons
from stkit.recipes.acm import VARIANTS
from stkit.report.contents import Contents
from stkit.training import checkpoint

NT = ("--frame", "nt", "--model", "small", "--batch-size", 8, "--epochs", 1, "--device", "cpu")
ST = ("--frame", "st", "--model", "small", "--batch-size", 8, "--epochs", 3, "--device", "cpu")
TRAIN_KEYS = {
    "output", "frame", "model", "epochs", "train_accuracy", "seconds", "images_per_second",
    "peak_memory", "device",
}  # fmt: skip
MORE = {"em": {"rounds", "best", "peak_memory", "device"}, "rem": {"peak_memory", "device"}}
HEADER_KEYS = {"format", "kind", "recipe", "seed", "digest", "inputs", "versions"}
COMPARE_KEYS = {
    "linf", "l2_mean", "l0_max", "psnr", "poisoned_share", "class_wise", "aligned",
    "linear_separability",
}  # fmt: skip


def commands() -> dict[str, typer.core.TyperCommand]:
    """Every command by its words: "train", "poison sp", ..., and "" for the whole."""
    found = {}

    def walk(command, words: tuple[str, ...]) -> None:
        found[" ".join(words)] = command
        for name, child in getattr(command, "commands", {}).items():
            walk(child, (*words, name))

    walk(typer.main.get_command(app), ())
    return found


COMMANDS = commands()
LEAVES = sorted(name for name, command in COMMANDS.items() if not hasattr(command, "commands"))


def declared() -> list[tuple[str, str, object, typer.models.OptionInfo]]:
    """Every option as the source declares it: command, name of the parameter, type, declaration."""
    found = []
    for group in (app, *(inner.typer_instance for inner in app.registered_groups)):
        for command in group.registered_commands:
            for name, parameter in inspect.signature(command.callback).parameters.items():
                told = getattr(parameter.annotation, "__metadata__", ())
                found += [
                    (command.callback.__name__, name, parameter.annotation.__origin__, option)
                    for option in told
                    if isinstance(option, typer.models.OptionInfo)
                ]
    return found


# Help


def test_no_option_takes_its_name_from_its_metavar():
    # as Typer 0.27 does where the two differ in nothing but case: --frame FRAME is --FRAME there
    options = declared()
    assert {"frame", "source", "model", "step_size"} <= {name for _, name, _, _ in options}
    nameless = [
        (command, name)
        for command, name, _, option in options
        if (option.metavar or "").lower() == name.replace("_", "-")
        and option.default is ...  # the first name is there, in an annotation
    ]
    assert nameless == []


def test_the_contract_s_commands_are_there():
    wanted = {"data", "poison sp", "poison ops", "export", "inspect", "train", "acm", "eval"}
    assert wanted | {"report", "list", "env"} <= set(LEAVES)


@pytest.mark.parametrize("name", COMMANDS)
def test_help_answers(name, cli):
    found = cli(*name.split(), "--help")
    assert (found.code, found.err) == (0, "")
    assert found.out.startswith("Usage: ")


@pytest.mark.parametrize("name", LEAVES)
def test_help_shows_an_example_to_copy_that_is_true(name, cli):
    shown = cli(*name.split(), "--help").out.replace("\\\n", "")
    line = shown.split("Example:\n", 1)[1].splitlines()[0].strip()
    words = shlex.split(line)
    assert words[: 1 + len(name.split())] == ["stkit", *name.split()]
    options = {option for param in COMMANDS[name].params for option in param.opts}
    assert {word for word in words if word.startswith("-")} <= options


def test_help_of_train_lists_the_frames_one_a_line(cli, monkeypatch):
    monkeypatch.setenv("COLUMNS", "100")
    lines = [" ".join(line.split()) for line in cli("train", "--help").out.splitlines()]
    for name in frames.FRAMES:
        assert f"{name} {frames.FRAMES[name].about}" in lines


def test_alone_it_prints_its_help(cli):
    assert cli().out == cli("--help").out


def test_version(cli):
    assert cli("--version").out == f"stkit {__version__}\n"


MISSING = (
    "train {} --frame nt -o x", "train shapes --frame nt -o x --test {}", "probe {}",
    "poison em {} -o x", "data {} -o x", "acm {} shapes", "eval {} shapes",
    "check shapes --clean {}",
)  # fmt: skip
TAKEN = ("train shapes --frame nt", "poison sp shapes", "data shapes")


def test_help_list_report_inspect_and_early_errors_import_nothing_heavy(made, tmp_path):
    """In a process of its own; the measured time is benchmarked, not tested."""
    (tmp_path / "empty.safetensors").touch()
    lines = [[*name.split(), "--help"] for name in COMMANDS]
    lines += [["list"], ["list", "methods"], ["report", f"{made}/nt.safetensors"]]
    lines += [["inspect", f"{made}/ops.safetensors"]]
    missing = [line.format(f"{file}.safetensors") for line in MISSING for file in ("no", "empty")]
    refused = [*missing, *(f"{line} -o empty.safetensors" for line in TAKEN)]
    lines += [line.split() for line in refused]
    heavy = {"torch", "timm", "numpy", "torchvision", "sklearn", "PIL", "rich", "matplotlib"}
    code = (
        "import sys, typer; from stkit.cli import main\n"
        "module = sys.modules['stkit.cli.app']\n"
        "module.app = typer.main.get_command(module.app)  # once, not for each line\n"
        f"for number, line in enumerate({lines!r}, {len(refused)} - {len(lines)}):\n"
        "    assert main(line) == (number >= 0), line\n"
        f"    found = {heavy!r} & set(sys.modules)\n"
        "    assert not found, (line, found)\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, cwd=tmp_path
    )
    assert done.returncode == 0, done.stderr


# data, export, inspect


def test_data(cli, photos, tmp_path):
    out = tmp_path / "new" / "folder" / "f.safetensors"
    found = cli("data", photos, "--size", 8, "--limit", 6, "-o", out, "--json").json
    assert found == {
        "output": str(out), "n": 6, "classes": 3, "width": 8, "height": 8, "split": "train",
        "skipped": {"count": 0, "names": []}, "transparency_dropped": 0,
    }  # fmt: skip
    assert load(out).pixels.shape == (6, 3, 8, 8)
    assert load(out).classes == CLASSES


def test_data_takes_the_split(cli, photos, tmp_path):
    out = tmp_path / "f.safetensors"
    assert cli("data", photos, "--split", "test", "-o", out, "-q").out == f"{out}\n"
    assert torch.equal(load(out).pixels, load(photos, "test").pixels)
    assert load(out).header["split"] == "test"


def test_export(cli, made, tmp_path):
    out = tmp_path / "new" / "tree"
    found = cli("export", made / "ops.safetensors", "--format", "folder", "-o", out, "--json").json
    assert found == {"output": str(out), "format": "folder", "n": 24}
    again = load(out)
    published = load(made / "ops.safetensors")
    assert again.classes == published.classes
    pixels = dict(zip(published.names, published.pixels, strict=True))
    for name, image in zip(again.names, again.pixels, strict=True):
        source = name if name in pixels else name.replace(".png", ".jpg")
        assert torch.equal(image, pixels[source]), name


def test_inspect_prints_the_header(cli, made):
    for name, kind in (("clean", "dataset"), ("nt", "checkpoint")):
        path = made / f"{name}.safetensors"
        found = cli("inspect", path, "--json").json
        assert found.pop("file") == str(path) and found["kind"] == kind
        assert found.keys() >= HEADER_KEYS and found.items() >= header.read(path).items()
        held = {key: value for key, value in found.items() if key not in header.read(path)}
        images = {"n": 24, "width": SIDE, "height": SIDE, "per_class": [8, 8, 8]}
        assert held == (images if kind == "dataset" else {})
        shown = cli("inspect", path).out  # for people: names and values, no JSON
        assert not {*'{}["'} & {*shown} and f"stkit {__version__}" in shown


def test_inspect_begins_with_the_images(cli, made, tmp_path):
    def lines(path):
        shown = cli("inspect", path).out.splitlines()
        return [" ".join(line.split()) for line in shown[1:5]]

    images = load(str(made / "clean.safetensors"))
    whole = ["images 24", "size 16x16", "classes 3: ant bee cow", "images a class 8 each"]
    assert lines(made / "clean.safetensors") == whole
    images.rows(torch.arange(10)).save(tmp_path / "some")
    counts = [int((images.labels[:10] == label).sum()) for label in range(3)]
    told = ", ".join(f"{name} {count}" for name, count in zip(CLASSES, counts, strict=True))
    assert lines(tmp_path / "some")[3] == f"images a class {told}"
    many = Contents(6, 8, 8, (2, *[1] * 20, 4))
    assert many.balance([f"c{label}" for label in range(22)]) == "from 1 (c1) to 4 (c21)"


def test_inspect_prints_one_object_a_file(cli, made):
    paths = sorted(made.glob("*.safetensors"))
    found = [json.loads(line) for line in cli("inspect", *paths, "--json").out.splitlines()]
    assert [row["file"] for row in found] == [str(path) for path in paths]


def test_inspect_clean(cli, made, photos):
    path = made / "ops.safetensors"
    plain = cli("inspect", path, "--json").json
    for source in (made / "clean.safetensors", photos):
        found = cli("inspect", path, "--clean", source, "--json").json
        assert found.keys() - plain.keys() == COMPARE_KEYS
        assert found["l0_max"] == 1 and found["class_wise"] and found["aligned"]
    shown = cli("inspect", path, "--clean", made / "clean.safetensors").out
    assert "l0 max" in shown and "linear separability" in shown


# poison


SURROGATE = "--model small --batch-size 8 --steps 2 --model-steps 2 --device cpu -q"
POISON = {
    "em": f"{SURROGATE} --max-rounds 1",
    "rem": f"{SURROGATE} --eot 2 --adversary-steps 1",
    "sp": "",
    "ops": "",
    "ar": "",
    "cuda": "",
}


@pytest.mark.parametrize("method", poisons.METHODS)
def test_poison(method, cli, made, tmp_path):
    out = tmp_path / "deep" / "f.safetensors"
    line = ("poison", method, made / "clean.safetensors", *POISON[method].split(), "-o", out)
    found = cli(*line, "--json").json
    common = {"output", "method", "n", "linf", "l2_mean", "l0_max", "seconds"}
    assert found.keys() - {"warning"} == common | MORE.get(method, set())
    assert (found["output"], found["method"], found["n"]) == (str(out), method, 24)
    clean, published = load(made / "clean.safetensors"), load(out)
    delta = (published.pixels.int() - clean.pixels.int()).abs()
    assert found["linf"] == pytest.approx(delta.max().item() / 255)
    assert found["l0_max"] == delta.amax(1).count_nonzero((1, 2)).max().item()
    assert published.poisoned.all() and published.names == clean.names


@pytest.mark.usefixtures("thin")
@pytest.mark.parametrize("method", poisons.METHODS)
def test_a_lower_rate_is_the_file_that_poison_would_make(method, cli, made, tmp_path):
    clean, whole = made / "clean.safetensors", tmp_path / "whole"
    line = ("poison", method, clean, *POISON[method].split(), "--seed", 3)
    assert cli(*line, "-o", whole).code == 0
    for rate in (0, 0.3, 0.5, 1):
        assert cli(*line, "--poison-rate", rate, "-o", tmp_path / "anew", "--force").code == 0
        less = ("rate", whole, "--clean", clean, "--poison-rate", rate, "-o", tmp_path / "less")
        found = cli(*less, "--force", "--json").json
        assert (found["method"], found["n"]) == (method, 24)
        assert (tmp_path / "less").read_bytes() == (tmp_path / "anew").read_bytes(), rate


def test_rates_that_cannot_be(cli, made, tmp_path):
    clean, half = made / "clean.safetensors", tmp_path / "half"
    assert cli("poison", "sp", clean, "--poison-rate", 0.5, "-o", half).code == 0
    for file, source, rate, code, said in (
        (half, clean, 0.6, 2, "poison-rate is 0.6, expected at most 0.5"),
        (half, clean, 1.5, 2, "poison-rate is 1.5"),
        (half, "digits", 0.2, 1, "other clean images than it was made from"),
        (clean, clean, 0.2, 1, "is clean or was imported"),
        (made / "nt.safetensors", clean, 0.2, 1, "found a checkpoint file"),
    ):
        line = ("rate", file, "--clean", source, "--poison-rate", rate, "-o", tmp_path / "x")
        found = cli(*line)
        assert (found.code, said in found.err) == (code, True), found.err
    assert not (tmp_path / "x").exists()


def test_poison_options_reach_the_recipe(cli, made, tmp_path):
    out = tmp_path / "f.safetensors"
    line = "--epsilon 16/255 --bound linf --patch 4 --rounding nearest --seed 3 --poison-rate 0.5"
    assert cli("poison", "sp", made / "clean.safetensors", "-o", out, *line.split()).code == 0
    head = header.read(out)
    assert head["seed"] == 3
    assert head["recipe"] == {
        "method": "sp", "epsilon": 16 / 255, "bound": "linf", "patch": 4, "rounding": "nearest",
        "poison_rate": 0.5,
    }  # fmt: skip
    assert load(out).poisoned.sum() == 12


@pytest.mark.parametrize("method", ["em", "rem"])
def test_stopped_poison_goes_on_to_the_same_bytes(method, cli, made, tmp_path, signalled):
    line = ("poison", method, made / "clean.safetensors", *POISON[method].split())
    assert cli(*line, "-o", tmp_path / "whole").code == 0
    out = tmp_path / "f.safetensors"
    with signalled(signal.SIGTERM, 2):
        found = cli(*line, "-o", out)
    assert found.code == 143 and "--resume goes on" in found.err
    assert header.read(tmp_path / "f.safetensors.part")["kind"] == "state"
    refused = cli(*line, "-o", out)
    assert refused.code == 1 and "unfinished work is there" in refused.err
    other = cli(*line, "--epsilon", "4/255", "--resume", "-o", out)
    assert other.code == 1 and "epsilon was" in other.err
    assert cli(*line, "-o", out, "--resume").code == 0
    assert snapshot(tmp_path) == {"whole": out.read_bytes(), out.name: out.read_bytes()}


# train, acm, eval


def test_train(cli, made, tmp_path):
    out = tmp_path / "deep" / "f.safetensors"
    found = cli("train", made / "clean.safetensors", *NT, "-o", out, "--json")
    assert found.json.keys() == TRAIN_KEYS
    assert (found.json["output"], found.json["frame"]) == (str(out), "nt")
    assert (found.json["model"], found.json["epochs"]) == ("small", 1)
    told, line = found.err.splitlines()
    assert re.fullmatch(r"cpu, 1 threads, fp32: 3 steps of 8 images, about \d+ s", told)
    assert line.startswith("epoch 1/1  loss ")
    assert [path.name for path in out.parent.iterdir()] == ["f.safetensors"]
    model, head = checkpoint.load(out)
    assert head["classes"] == list(CLASSES) and head["size"] == SIDE
    assert load_file(out).keys() == model.state_dict().keys()


def test_what_a_training_begins_with_is_measured_over_steps(capsys):
    """On a CPU after the first step, on a GPU when it has settled; an epoch may be shorter."""

    def said(device: str, model: str, epoch_is_over: bool = False) -> list[str]:
        training = SimpleNamespace(
            executed=100, plan=SimpleNamespace(steps=1100, batch_size=8),
            recipe=SimpleNamespace(model=model),
            runtime=SimpleNamespace(
                device=torch.device(device), machine="it", precision="fp32"
            ),
        )  # fmt: skip
        times = iter([0.0, 30.0, 30.5, 32.0, 34.0])
        beginning, lines = Beginning(training, now=lambda: next(times)), []
        for executed in (101, 102, 103, 105):
            training.executed = executed
            beginning.look(epoch_is_over=epoch_is_over)
            lines.append(capsys.readouterr().err.strip())
        return lines

    assert said("cpu", "small")[2:] == ["it, fp32: 1,000 steps of 8 images, about 17 min", ""]
    assert said("cpu", "resnet18")[2].endswith("17 min; much faster on a CPU: --model small")
    assert said("cuda", "resnet18")[2:] == ["", "it, fp32: 1,000 steps of 8 images, about 17 min"]
    assert said("cpu", "small", True)[0] == "it, fp32: 1,000 steps of 8 images, about 8.3 h"


def test_train_staged_with_test(cli, made, photos, tmp_path):
    out = tmp_path / "f.safetensors"
    line = (
        "train",
        made / "ops.safetensors",
        *ST,
        "--batch-size",
        2,
        "--beta",
        "1/6",
        "--gamma",
        0,
    )
    found = cli(*line, "--test", photos, "-o", out, "--json")
    staged = {"accuracy", "best_accuracy", "acm", "stages"}
    assert found.json.keys() - {"best_rolled_back"} == TRAIN_KEYS | staged
    assert [stage["tau"] for stage in found.json["stages"]] == [1, 2, 3]
    assert found.err.count("\n") == 5 and found.err.count("roll back") == 3
    why = "note: acm is literal, of the last check, before it rolled back: the file holds the"
    assert found.err.splitlines()[-1].startswith(why)
    assert "ACM" in found.err and "test" in found.err
    # The last check rolled back: what counts are the weights in the file.
    row = cli("eval", out, photos, "--device", "cpu", "--json").json
    assert row["accuracy"] == found.json["accuracy"]


@pytest.mark.parametrize("frame", [name for name in frames.FRAMES if name != "auto"])
def test_every_frame_trains(frame, cli, made, tmp_path):
    out = tmp_path / "f.safetensors"
    line = ("train", made / "clean.safetensors", "--frame", frame, "-o", out, "-q")
    found = cli(*line, *NT[2:], *(("--check-every", 1) if frame == "nt-stop" else ()))
    assert (found.code, found.out, found.err) == (0, f"{out}\n", "")
    assert header.read(out)["frame"] == frame


def test_train_options_reach_the_recipe(cli, made, tmp_path):
    out = tmp_path / "f.safetensors"
    line = (
        "--model small --epochs 1 --batch-size 7 --lr 0.05 --gamma 0.5 --beta 1/3 --seed 5 "
        "--acm-variant ratio --check-every 2 --holdout 3 --mean 0.5 --std 0.2,0.3,0.4"
    )
    found = cli(
        "train", made / "clean.safetensors", "--frame", "st-full", "--fine-tune-epochs", 2,
        "--fine-tune-lr", 0.01, *line.split(), "--device", "cpu", "-o", out, "--json",
    )  # fmt: skip
    assert 0 <= found.json["holdout_accuracy"] <= 1 and found.json["epochs"] == 3
    told = "st-full: 1 epoch staged, then a fine-tune of 2, which --fine-tune-epochs changes\n"
    assert found.err.startswith(told) and "(gamma 5.00e-01), tau" in found.err
    head = header.read(out)
    recipe, (first, second) = head["recipe"], head["recipe"]["phases"]
    assert head["seed"] == 5 and recipe["precision"] == "fp32"
    assert (recipe["batch_size"], recipe["holdout"]) == (7, 3)
    assert (recipe["mean"], recipe["std"]) == ([0.5] * 3, [0.2, 0.3, 0.4])
    assert (first["epochs"], first["lr"]) == (1, 0.05)
    assert first["staged"] == {
        "beta": 1 / 3, "variant": "ratio", "gamma": 0.5, "check_every": 2, "stop": False,
            "restore": "all",
    }  # fmt: skip
    assert (second["epochs"], second["lr"], second["staged"]) == (2, 0.01, None)


def test_acm(cli, made, tmp_path):
    line = ("acm", made / "nt.safetensors", made / "clean.safetensors", "--device", "cpu")
    values = {}
    for variant in VARIANTS:
        found = cli(*line, "--variant", variant, "--per-class", 4, "--json").json
        assert found.keys() == {"acm", "variant", "classes", "per_class"}
        assert (found["variant"], found["classes"], found["per_class"]) == (variant, 3, 4)
        values[variant] = found["acm"]
    assert len(set(values.values())) == 3 and all(value > 0 for value in values.values())
    assert float(cli(*line, "--per-class", 4, "-q").out) == values["literal"]
    out = tmp_path / "deep" / "acm.safetensors"
    assert cli(*line, "--per-class", 4, "-o", out, "-q").out == f"{out}\n"
    head, tensors = artifact.read(out, "acm")
    assert head["acm"] == values["literal"]
    assert {name: value.shape for name, value in tensors.items()} == {
        "L": (3, 3), "sigma": (3,), "R": (3,),
    }  # fmt: skip


def test_eval(cli, made, photos, tmp_path):
    line = ("eval", made / "nt.safetensors", photos, "--device", "cpu")
    found = cli(*line, "--json").json
    assert found.keys() == {"accuracy", "per_class", "n"}
    assert found["n"] == 12 and len(found["per_class"]) == 3
    assert found["accuracy"] == pytest.approx(sum(found["per_class"]) / 3)
    assert cli(*line, "-q").out == f"{found['accuracy']}\n"
    out = tmp_path / "deep" / "eval.safetensors"
    robust = cli(*line, "--adversary", "4/255", "-o", out, "--json").json
    assert robust.keys() == found.keys() | {"robust_accuracy", "output"}
    head, tensors = artifact.read(out, "eval")
    assert head["robust_accuracy"] == robust["robust_accuracy"] <= robust["accuracy"]
    confusion = tensors["confusion"]
    assert confusion.sum(1).tolist() == [4, 4, 4]
    assert confusion.diagonal().sum().item() / 12 == robust["accuracy"]


# report, list, env


@pytest.fixture(scope="module")
def results(made, photos, tmp_path_factory):
    """Four files, one of each kind."""
    root = tmp_path_factory.mktemp("results")
    checkpoint, clean = f"{made}/nt.safetensors", f"{made}/clean.safetensors"
    assert main(["eval", checkpoint, str(photos), "-q", "-o", f"{root}/eval.safetensors"]) == 0
    assert main(["acm", checkpoint, clean, "-q", "-o", f"{root}/acm.safetensors"]) == 0
    return [made / "ops.safetensors", made / "nt.safetensors", *sorted(root.iterdir())]


def test_report_json(cli, results):
    for form in (("--json",), ("--format", "json")):
        rows = cli("report", *results, *form).json
        assert [row["file"] for row in rows] == [str(path) for path in results]
        assert [row["kind"] for row in rows] == ["dataset", "checkpoint", "acm", "eval"]
        assert [row["data"] for row in rows] == ["ops"] + ["clean (folder)"] * 3
        assert [row.get("frame") for row in rows] == [None, "nt", "nt", "nt"]
        assert rows[3]["n"] == 12 and "accuracy" in rows[3] and "acm" in rows[2]


def test_report_csv_agrees_with_json(cli, results):
    wanted = cli("report", *results, "--json").json
    found = list(csv.DictReader(io.StringIO(cli("report", *results, "--format", "csv").out)))
    for row, line in zip(wanted, found, strict=True):
        assert {key: value for key, value in line.items() if value} == {
            key: str(value) for key, value in row.items()
        }


def test_report_table_and_markdown(cli, results):
    table = cli("report", *results).out.splitlines()
    shared, blank, titles, rule, *lines = table
    assert (shared, blank) == ("All: seed 0", "") and titles.split()[:3] == ["file", "kind", "data"]
    assert set(rule) == {"-", " "} and len(lines) == 4
    markdown = cli("report", *results, "--format", "markdown").out.splitlines()[2:]
    assert len(markdown) == 6
    assert len({line.count("|") for line in markdown}) == 1
    assert all(line.startswith("| ") and line.endswith(" |") for line in markdown)
    assert cli("report", *results, "--format", "table").out.splitlines() == table


def test_list(cli):
    for kind, known in (
        ("methods", poisons.METHODS), ("frames", frames.FRAMES), ("models", catalogue.MODELS),
        ("datasets", catalogue.DATASETS),
    ):  # fmt: skip
        rows = cli("list", kind, "--json").json
        assert [row["name"] for row in rows] == list(known)
        assert all(row["about"] for row in rows)
        assert cli("list", kind, "-q").out.split() == list(known)
        assert len(cli("list", kind).out.splitlines()) == len(known) + 2
        (line,) = (line for line in cli("list").out.splitlines() if line.startswith(kind))
        assert line.split() == [kind, *known]
        assert cli("list", "--json").json[kind] == rows
    assert cli("list", "-q").out.split() == ["methods", "frames", "models", "datasets"]


def test_env(cli):
    found = cli("env", "--json").json
    assert (found["stkit"], found["torch"]) == (__version__, torch.__version__.split("+")[0])
    assert len(found["gpus"]) == torch.cuda.device_count() and found["threads"] == 1
    assert found["python"] in cli("env").out


# What every command that writes does


WRITERS = {
    "data": ("data", "clean.safetensors", "--limit", 6),
    "poison": ("poison", "sp", "clean.safetensors"),
    "train": ("train", "clean.safetensors", *NT),
    "acm": ("acm", "nt.safetensors", "clean.safetensors", "--device", "cpu"),
    "eval": ("eval", "nt.safetensors", "clean.safetensors", "--device", "cpu"),
}


@pytest.mark.parametrize("name", WRITERS)
def test_quiet_prints_the_path_twice_writes_the_same_bytes_and_force_replaces(
    name, cli, made, tmp_path, monkeypatch
):
    monkeypatch.chdir(made)
    before = snapshot(made)
    for out in (tmp_path / "a", tmp_path / "b"):
        found = cli(*WRITERS[name], "-q", "-o", out)
        assert (found.code, found.out, found.err) == (0, f"{out}\n", "")
    whole = (tmp_path / "a").read_bytes()
    assert whole == (tmp_path / "b").read_bytes()
    (tmp_path / "b").write_bytes(b"old")
    assert cli(*WRITERS[name], "-q", "-o", tmp_path / "b", "--force").code == 0
    assert snapshot(tmp_path) == {"a": whole, "b": whole}
    assert snapshot(made) == before


def test_a_source_can_be_replaced_by_what_is_made_of_it(cli, made, tmp_path):
    path = tmp_path / "f.safetensors"
    path.write_bytes((made / "clean.safetensors").read_bytes())
    assert cli("poison", "ops", path, "-o", path, "--force").code == 0
    assert path.read_bytes() == (made / "ops.safetensors").read_bytes()


def test_dry_run_prints_the_plan_and_writes_nothing(cli, made, tmp_path):
    clean, out = made / "clean.safetensors", tmp_path / "deep" / "f.safetensors"
    plan = cli("train", clean, *ST, "-o", out, "--dry-run", "--json").json
    assert (plan["n"], plan["epochs"], plan["steps"], plan["batch_size"]) == (24, 3, 9, 8)
    assert (plan["layers"], plan["device"], plan["precision"]) == (14, "cpu", "fp32")
    assert plan["memory_bytes"] > plan["disk_bytes"] > 0
    assert plan["phases"][0]["staged"]["beta"] == 0.25
    line = ("poison", "sp", clean, "--poison-rate", 0.25, "-o", out)
    plan = cli(*line, "--dry-run", "--json").json
    assert (plan["n"], plan["poisoned"], plan["recipe"]["epsilon"]) == (24, 6, 8 / 255)
    assert plan["disk_bytes"] == 24 * 3 * SIDE * SIDE
    assert snapshot(tmp_path) == {}


def test_the_kinds_of_source_agree(cli, made, photos, tmp_path):
    """A poison of the folder and of its dataset file: the same images."""
    assert cli("poison", "ops", photos, "-o", tmp_path / "f", "-q").code == 0
    assert torch.equal(load(tmp_path / "f").pixels, load(made / "ops.safetensors").pixels)


def test_a_reader_that_leaves_early_is_no_failure_of_ours(made):
    """`stkit report ... | head -0`: no traceback."""
    read, write = os.pipe()
    os.close(read)
    done = subprocess.run(
        [sys.executable, "-m", "stkit", "list", "frames"],
        stdout=write, stderr=subprocess.PIPE, text=True,
    )  # fmt: skip
    os.close(write)
    assert (done.returncode, done.stderr) == (1, "")


# Signals and --resume


@pytest.mark.parametrize(
    ("number", "code", "step"), [(signal.SIGINT, 130, 4), (signal.SIGTERM, 143, 6)]
)
def test_a_signal_saves_and_resume_ends_with_the_same_bytes(
    number, code, step, cli, made, tmp_path, signalled
):
    clean = made / "clean.safetensors"
    whole, out = tmp_path / "whole", tmp_path / "f.safetensors"
    line = ("train", clean, *ST, "--check-every", 2, "--test", clean)
    assert cli(*line, "-o", whole).code == 0
    with signalled(number, step):
        found = cli(*line, "-o", out)
    assert found.code == code and found.out == ""
    last = found.err.splitlines()[-1]
    assert last.startswith(f"error: interrupted at step {step} of 9; what is done is saved in ")
    assert not out.exists()
    row = cli("report", f"{out}.part", "--json").json[0]
    assert row["unfinished"] == f"{step}/9"
    found = cli(*line, "-o", out, "--resume")
    assert found.code == 0 and f"resuming at step {step} of 9\n" in found.err
    assert snapshot(tmp_path) == {"whole": whole.read_bytes(), out.name: whole.read_bytes()}


class Steps:
    """Work of so many steps that does nothing, and notes after which it was saved."""

    def __init__(self, count: int) -> None:
        self.runtime, self.count = Runtime(torch.device("cpu"), "fp32"), count
        self.executed, self.saved = 0, []

    @property
    def done(self) -> bool:
        return self.executed == self.count

    @property
    def progress(self) -> tuple[int, int]:
        return self.executed, self.count

    def steps(self):
        while not self.done:
            self.executed += 1
            yield None

    def tensors(self) -> dict:
        self.saved.append(self.executed)
        return {"step": torch.tensor(self.executed)}

    def head(self) -> dict:
        return header.make("state", {}, seed=0, inputs=[], progress={"at": 0}, records=[])


def test_work_is_saved_on_a_clock(tmp_path):
    """At once, then after 50 times what saving took: a tick of this clock each time it is asked."""
    work, clock = Steps(60), saving.Clock(every=0, now=iter(range(10_000)).__next__)
    left = []

    def save(path, *, replace):
        left.extend([replace, path, *tmp_path.iterdir()])

    saving.run(work, tmp_path / "f", lambda: save, label="steps", line=None, clock=clock)
    assert work.saved == [1, 52] and left == [False, tmp_path / "f", tmp_path / "f.part"]
    assert list(tmp_path.iterdir()) == []
    work = Steps(60)
    saving.run(work, tmp_path / "f", lambda: save, label="steps", line=None)
    assert work.saved == [], "half a minute has not passed"


def test_resume_with_nothing_to_resume_starts(cli, made, tmp_path):
    out = tmp_path / "f.safetensors"
    assert cli("train", made / "clean.safetensors", *NT, "-o", out, "--resume").code == 0
    assert out.read_bytes() == (made / "nt.safetensors").read_bytes()


def test_ctrl_c_in_a_process_of_its_own(made, tmp_path):
    out = tmp_path / "f.safetensors"
    line = ["train", str(made / "clean.safetensors"), *map(str, NT[:-4]), "--epochs", "100000"]
    child = subprocess.Popen(
        [sys.executable, "-m", "stkit", *line, "--device", "cpu", "-o", str(out)],
        stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
        env=os.environ | {"OMP_NUM_THREADS": "1"},
    )  # fmt: skip
    try:
        while not child.stderr.readline().startswith("epoch 1/100000"):
            assert child.poll() is None
        child.send_signal(signal.SIGINT)
        shown, log = child.communicate(timeout=PATIENCE)
    finally:
        child.kill()
    assert (child.returncode, shown) == (130, "")
    assert "Traceback" not in log and log.splitlines()[-1].startswith("error: interrupted at step")
    assert [path.name for path in tmp_path.iterdir()] == ["f.safetensors.part"]


@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_a_signal_outside_training_leaves_nothing(number, code, cli, made, tmp_path, monkeypatch):
    monkeypatch.setattr(os, "fsync", lambda _: os.kill(os.getpid(), number))
    found = cli("poison", "ops", made / "clean.safetensors", "-o", tmp_path / "f")
    assert (found.code, found.out) == (code, "")
    assert found.err == "error: interrupted; there was nothing to save yet\n"
    assert snapshot(tmp_path) == {}


def test_a_signal_while_images_are_decoded_is_no_unreadable_image(
    cli, photos, tmp_path, monkeypatch
):
    def opening(*_, **how):
        os.kill(os.getpid(), signal.SIGINT)
        raise OSError("the signal should have come first")

    monkeypatch.setattr("PIL.Image.open", opening)
    found = cli("data", photos, "-o", tmp_path / "f")
    assert (found.code, found.err) == (130, "error: interrupted; there was nothing to save yet\n")
