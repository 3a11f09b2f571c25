"""The documents hold: every command in them runs, every name in their tables is there."""

import os
import re
import runpy
import shlex
import subprocess
from functools import partial
from pathlib import Path

import numpy as np
import pytest
import typer
from PIL import Image

import stkit
from stkit.cli import app
from stkit.recipes.catalogue import DATASETS, MODELS
from stkit.recipes.frames import FRAMES
from stkit.recipes.poisons import METHODS

ROOT = Path(__file__).parent.parent
README = (ROOT / "README.md").read_text()
SCRIPTS = ("examples/demo.sh", "examples/cifar10.sh")
DOCUMENTS = ("README.md", "CHANGELOG.md", "docs/experiments.md", "results/README.md")
COMMANDS = typer.main.get_command(app).commands  # type: ignore[attr-defined]


def fenced(text: str, *languages: str) -> list[str]:
    """The contents of the fenced blocks in one of the languages."""
    found = re.findall(r"^```(\w+)\n(.*?)^```$", text, re.M | re.S)
    return [body for language, body in found if language in languages]


def typed(text: str) -> list[list[str]]:
    """The arguments of every `stkit` command in the blocks of shell."""
    lines = "\n".join(fenced(text, "sh", "console")).replace("\\\n", " ").splitlines()
    words = [shlex.split(line.removeprefix("$ "), comments=True) for line in lines]
    return [line[1:] for line in words if line[:1] == ["stkit"]]


def parse(args: list[str]) -> dict:
    """The parameters of a command line, parsed as stkit would; an unknown name or option raises."""
    name, *rest = args
    command = COMMANDS[name]
    if name == "poison":
        command = command.commands[rest.pop(0)]
    context = command.make_context(name, rest)
    assert context.params.get("frame", "nt") in FRAMES
    assert (context.params.get("model") or "small") in MODELS
    return context.params


def table(heading: str) -> list[list[str]]:
    """The cells of the table under a heading of the README, without its first two lines."""
    section = README.split(f"### {heading}\n")[1].split("\n#")[0]
    rows = [line.strip("|").split("|") for line in section.splitlines() if line.startswith("|")]
    return [[cell.strip() for cell in row] for row in rows[2:]]


def names(heading: str) -> list[str]:
    return [row[0].strip("`").removeprefix("stkit ") for row in table(heading)]


def pictures(folder: Path, count: int, shape: tuple[int, int]) -> None:
    """Two classes of `count` random images."""
    for label in ("cat", "dog"):
        (folder / label).mkdir(parents=True)
        for i in range(count):
            pixels = np.random.default_rng(i).integers(0, 256, (*shape, 3), dtype=np.uint8)
            Image.fromarray(pixels).save(folder / label / f"{i}.png")


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder to work in, with the reader's `photos/`, and `tiny/` in the place of CIFAR-10."""
    pictures(tmp_path / "photos", 3, (70, 80))
    pictures(tmp_path / "tiny/train", 20, (32, 32))
    pictures(tmp_path / "tiny/test", 5, (32, 32))
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.mark.parametrize("document", DOCUMENTS)
def test_commands_in_documents_parse(document: str) -> None:
    for args in typed((ROOT / document).read_text()):
        parse(args)


def test_commands_in_readme_run_in_order(folder: Path, cli) -> None:
    commands = typed(README)
    assert len(commands) >= 6
    for args in commands:
        args = ["tiny" if word == "cifar10" else word for word in args]
        if args[0] == "train":
            args += ["--model", "small", "--epochs", "1"]
        result = cli(*args)
        assert result.code == 0, f"{args}: {result.err}"
    assert (folder / "protected" / "cat" / "0.png").is_file()


def test_python_in_readme_runs(
    folder: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture
) -> None:
    monkeypatch.setattr(stkit, "train", partial(stkit.train, model="small", epochs=1))
    (code,) = fenced(README, "python")
    exec(code.replace('"cifar10"', '"tiny"'), {})
    assert [line.split()[0] for line in capsys.readouterr().out.splitlines()] == ["nt", "st"]


def test_library_example_runs(capsys: pytest.CaptureFixture) -> None:
    runpy.run_path(str(ROOT / "examples/library.py"))["main"](epochs=1, limit=200)
    rows = [line.split()[:2] for line in capsys.readouterr().out.splitlines()[3:]]
    assert rows == [[data, frame] for data in ("clean", "sp", "ops") for frame in ("nt", "st")]


def test_readme_tables_name_what_is_listed(cli) -> None:
    known = {"Methods": METHODS, "Frames": FRAMES, "Models": MODELS, "Datasets": DATASETS}
    for heading, listed in known.items():
        found = [row["name"] for row in cli("list", heading.lower(), "--json").json]
        assert names(heading) == found == list(listed)
    assert sorted(names("Commands")) == sorted(COMMANDS)


def test_readme_sizes_of_models_are_the_recipes() -> None:
    assert {name: (f"{net.parameters:,}", str(net.layers)) for name, net in MODELS.items()} == {
        row[0].strip("`"): (row[2], row[3]) for row in table("Models")
    }


def test_readme_learning_rates_are_the_recipes() -> None:
    assert {name: f"{frame.train.lr:g}" for name, frame in FRAMES.items()} == {
        row[0].strip("`"): row[1] for row in table("Frames")
    }


@pytest.mark.parametrize("document", DOCUMENTS)
def test_links_and_targets_are_there(document: str) -> None:
    text = (ROOT / document).read_text()
    for target in re.findall(r"\]\(([^)#]+)\)", text):
        if "://" not in target:
            assert (ROOT / document).parent.joinpath(target).exists(), target
    makefile = (ROOT / "Makefile").read_text()
    for target in re.findall(r"^make (\w+)$", "\n".join(fenced(text, "sh")), re.M):
        assert f"\n{target}:" in makefile


def test_changelog_speaks_of_this_version() -> None:
    first = (ROOT / "CHANGELOG.md").read_text().split("\n## ")[1]
    assert stkit.__version__ in first


STAND_IN = """#!/bin/sh
# Takes the place of stkit: notes its arguments and touches the file after -o.
for word; do printf '%s\\n' "$word"; done >>"$NOTES"
echo >>"$NOTES"
while [ $# -gt 0 ]; do [ "$1" = -o ] && mkdir -p "$(dirname "$2")" && : >"$2"; shift; done
echo 'accuracy  0.5'
echo 'seconds   1.25'
"""


def called(script: str, arguments: list[str], folder: Path, **environment: str) -> list[list[str]]:
    """The arguments of every call of stkit that a script makes."""
    stand_in, notes = folder / "stand-in", folder / "notes"
    stand_in.write_text(STAND_IN)
    stand_in.chmod(0o755)
    notes.write_text("")
    subprocess.run(
        ["bash", str(ROOT / script), *arguments], check=True, capture_output=True, timeout=60,
        env={**os.environ, "STKIT": str(stand_in), "NOTES": str(notes), **environment},
    )  # fmt: skip
    return [call.splitlines() for call in notes.read_text().split("\n\n") if call]


def test_demo_script_calls_what_exists(folder: Path) -> None:
    script = SCRIPTS[0]
    # One at a time, so that the notes of two calls do not mix.
    (folder / "nproc").write_text("#!/bin/sh\necho 1\n")
    (folder / "nproc").chmod(0o755)
    path = f"{folder}{os.pathsep}{os.environ['PATH']}"
    calls = called(script, [str(folder / "out")], folder, PATH=path, EPOCHS="3")
    trained = [parse(args) for args in calls if args[0] == "train"]
    assert len(trained) == 16 and {t["epochs"] for t in trained} == {3}
    assert {t["source"] for t in trained} == {
        "digits", "sp.safetensors", "ops.safetensors", "em.safetensors",
    }  # fmt: skip
    assert len(parse(calls[-1])["files"]) == 16
    for args in calls:
        parse(args)
    again = called(script, [str(folder / "out")], folder, PATH=path)
    assert {args[0] for args in again} == {"inspect", "acm", "eval", "report"}


def test_cifar10_script_calls_what_exists_and_keeps_what_is_finished(folder: Path) -> None:
    script, out = SCRIPTS[1], str(folder / "out")
    settings = {"EPOCHS": "1", "MODEL": "small", "LIMIT": "500"}
    calls = called(script, ["digits", out], folder, **settings)
    trained = [parse(args) for args in calls if args[0] == "train"]
    assert [t["frame"] for t in trained] == list(FRAMES)[:6] * 3
    assert all((t["epochs"], t["model"], t["resume"]) == (1, "small", True) for t in trained)
    for args in calls:
        parse(args)
    again = called(script, ["digits", out], folder)
    assert {args[0] for args in again} == {"report"}
    other = called(script, ["cifar10", out + "2"], folder, FRAMES="nt", METHODS="em ops")
    em, ops, *_ = [parse(args) for args in other if args[0] == "poison"]
    assert em["resume"] and "resume" not in ops
    clean, *_ = [parse(args) for args in other if args[0] == "train"]
    assert (clean["epochs"], clean["model"]) == (None, "resnet18")
