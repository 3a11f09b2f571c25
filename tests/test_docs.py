"""The documents hold: every command in them runs, every name in their tables is there."""

import json
import os
import re
import runpy
import shlex
import subprocess
import tomllib
from itertools import takewhile
from pathlib import Path

import numpy as np
import pytest
import torch
import typer
from blocks import blocks, follow
from PIL import Image
from processes import PATIENCE

import stkit
from stkit.cli import app
from stkit.data import shapes
from stkit.recipes.catalogue import DATASETS, MODELS
from stkit.recipes.check import Trial
from stkit.recipes.frames import FRAMES
from stkit.recipes.poisons import METHODS
from stkit.recipes.probe import least
from stkit.training import checkpoint

ROOT = Path(__file__).parent.parent
README = (ROOT / "README.md").read_text()
SCRIPTS = ("examples/demo.sh", "examples/cifar10.sh", "examples/table6.sh")
DOCUMENTS = (
    "README.md", "CHANGELOG.md", "CONTRIBUTING.md", "results/README.md",
    *(str(path.relative_to(ROOT)) for path in sorted((ROOT / "docs").rglob("*.md"))),
)  # fmt: skip
RUN = ("docs/poisons.md",)
"""Documents whose commands are run, one after the other, with small sets and nets."""
TABLES = {
    "methods": ("docs/poisons.md", "method"), "frames": ("docs/frames.md", "frame"),
    "models": ("docs/models.md", "model"), "datasets": ("docs/poisons.md", "dataset"),
}  # fmt: skip
"""Kind of `stkit list` -> where its table stands, and the head of its first column."""
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
    assert context.params.get("frame", "nt") in {*FRAMES, "$frame"}  # a loop's
    assert (context.params.get("model") or "small") in MODELS
    return context.params


def table(document: str, head: str) -> list[list[str]]:
    """The rows of the first table of a document whose first column has this head."""
    lines = (ROOT / document).read_text().split(f"\n| {head} |", 1)[1].splitlines()[2:]
    rows = [line.strip("|").split("|") for line in takewhile(lambda x: x.startswith("|"), lines)]
    return [[value.strip() for value in row] for row in rows]


def names(document: str, head: str) -> list[str]:
    """The first column of a table, without marks."""
    return [row[0].strip("`").removeprefix("stkit ") for row in table(document, head)]


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


@pytest.mark.parametrize("document", sorted({*DOCUMENTS} - {"docs/extending.md"}))
def test_commands_in_documents_parse(document: str) -> None:
    for args in typed((ROOT / document).read_text()):
        parse(args)


@pytest.mark.parametrize("document", RUN)
def test_commands_in_documents_run_in_order(document: str, folder: Path, cli) -> None:
    commands = typed((ROOT / document).read_text())
    assert len(commands) >= 6
    for args in commands:
        args = ["tiny" if word == "cifar10" else word for word in args]
        if args[0] == "train":
            args += ["--model", "small", "--epochs", "1"]
        result = cli(*args)
        assert result.code == 0, f"{args}: {result.err}"
    assert (folder / "protected" / "cat" / "0.png").is_file()


def test_the_front_page_is_followed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, cli) -> None:
    """Every block as it stands, in small: there are 70 shapes, not 5,000."""
    monkeypatch.setattr(shapes, "COUNTS", {"train": 70, "test": 20})
    follow(ROOT / "README.md", tmp_path, cli)
    left_out = [each.body for each in blocks(README) if "not run" in each.comments]
    assert left_out == ["make demo\nmake test\n"]
    assert not any("in small" in each.comments for each in blocks(README))


def test_timm_loads_a_checkpoint_as_the_models_page_says(folder: Path) -> None:
    """The net has learned random images for one epoch."""
    images = stkit.Images.from_tensors(torch.rand(20, 3, 32, 32), torch.arange(20) % 10)
    stkit.train(images, model="timm:resnet18", epochs=1).save("timm-nt.safetensors")
    scope: dict = {}
    (code,) = fenced((ROOT / "docs/models.md").read_text(), "python")
    exec(code, scope)
    model, _ = checkpoint.load(folder / "timm-nt.safetensors")
    assert model.state_dict().keys() == scope["net"].state_dict().keys()


def test_python_of_the_library_page_runs(folder: Path) -> None:
    text = (ROOT / "docs/library.md").read_text()
    (code,) = fenced(text, "python")
    exec(code, {})
    assert (folder / "mine.safetensors").is_file()
    assert set(stkit.__all__) - {"__version__"} <= set(re.findall(r"`(\w+)`", text))


def test_library_example_runs(capsys: pytest.CaptureFixture) -> None:
    runpy.run_path(str(ROOT / "examples/library.py"))["main"](epochs=1, limit=60)
    rows = [line.split()[:2] for line in capsys.readouterr().out.splitlines()[3:]]
    assert rows == [[data, frame] for data in ("clean", "sp") for frame in ("nt", "orthogonal")]


def test_tables_name_what_is_listed(cli) -> None:
    known = {"methods": METHODS, "frames": FRAMES, "models": MODELS, "datasets": DATASETS}
    for kind, listed in known.items():
        rows = [row["name"] for row in cli("list", kind, "--json").json]
        assert names(*TABLES[kind]) == rows == list(listed)
    assert sorted(names("README.md", "command")) == sorted(COMMANDS)


def test_the_front_page_names_every_poison_frame_and_model() -> None:
    for start, listed in (("**Poisons**", METHODS), ("**Frames**", FRAMES), ("**Models**", MODELS)):
        (item,) = re.findall(rf"^- {re.escape(start)}(.*?)(?=^- |\n\n)", README, re.M | re.S)
        assert set(listed) <= set(re.findall(r"`([^`]+)`", item)), start


def test_sizes_of_models_are_the_recipes() -> None:
    assert {name: (f"{net.parameters:,}", str(net.layers)) for name, net in MODELS.items()} == {
        row[0].strip("`"): (row[2], row[3]) for row in table(*TABLES["models"])
    }


def test_learning_rates_are_the_recipes() -> None:
    assert {name: f"{frame.train.lr:g}" for name, frame in FRAMES.items()} == {
        row[0].strip("`"): row[1] for row in table(*TABLES["frames"])
    }


def test_the_photographs_that_a_check_takes_are_the_recipe_s() -> None:
    text = (ROOT / "docs/tutorials/photographs.md").read_text()
    assert f"It takes {least(2)} pictures or more, and ten a class" in text and least(20) == 200
    assert f"of {Trial().count(64):,}, which is as many as it looks at" in text


def test_the_front_page_is_short_and_names_no_other_project() -> None:
    lines = README.splitlines()
    assert len(lines) <= 150
    assert all(len(line) <= 130 for line in lines if not line.startswith("|"))
    for document in DOCUMENTS:
        text = (ROOT / document).read_text()
        assert not re.search(r"pip install [^`\n]*\bstkit(?!-unlearnable)\b", text), document


def test_results_on_the_front_page_are_those_of_the_files() -> None:
    """Each column is a poison of one of the two grids, each row a frame as options say it."""
    rows = table("README.md", "frame")
    columns = {
        "clean": "calibration-small", "sp": "calibration-small", "em-class": "calibration-small",
        "ops": "confirm-small", "em-sample": "confirm-small",
    }  # fmt: skip
    for command, *values in rows:
        frame, *options = shlex.split(command.strip("`"))
        settings = {key[2:]: value for key, value in zip(options[::2], options[1::2], strict=True)}
        for (poison, folder), value in zip(columns.items(), values, strict=True):
            grid = tomllib.loads((ROOT / f"results/grids/{folder}.toml").read_text())
            called = [
                entry["name"]
                for entry in grid["frame"]
                if entry["frame"] == frame
                and settings == {k: str(v) for k, v in entry.items() if k not in ("name", "frame")}
            ]
            name = frame if not settings else called[0]
            file = ROOT / f"results/{folder}/{poison}_{name}_small_s0.json"
            assert abs(json.loads(file.read_text())["accuracy"] - float(value) / 100) < 0.00051
            assert f"stkit bench results/grids/{folder}.toml" in " ".join(README.split())


@pytest.mark.parametrize("document", DOCUMENTS)
def test_links_and_targets_are_there(document: str) -> None:
    text = (ROOT / document).read_text()
    for target, heading in re.findall(r"\]\(([^)#]*)#?([^)]*)\)", text):
        if "://" in target:
            continue
        file = (ROOT / document).parent / target if target else ROOT / document
        assert file.exists(), target
        if heading:
            headings = re.findall(r"^#+ (.*)$", file.read_text(), re.M)
            assert heading in [
                re.sub(r"[^\w -]", "", h.lower()).replace(" ", "-") for h in headings
            ]
    makefile = (ROOT / "Makefile").read_text()
    for target in re.findall(r"^make (\w+)$", "\n".join(fenced(text, "sh")), re.M):
        assert f"\n{target}:" in makefile


def test_the_site_shows_every_document() -> None:
    named = re.findall(r": ([\w/-]+\.md)$", (ROOT / "mkdocs.yml").read_text(), re.M)
    made = {
        "index.md",
        "commands.md",
        "api.md",
        "CHANGELOG.md",
        "CONTRIBUTING.md",
    }  # by docs/site.py
    pages = {str(path.relative_to(ROOT / "docs")) for path in (ROOT / "docs").rglob("*.md")}
    assert sorted(named) == sorted(pages | made)


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
        ["bash", str(ROOT / script), *arguments], check=True, capture_output=True, timeout=PATIENCE,
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
    ways = [(t["frame"], t["augment"]) for t in trained if t["source"] == "sp.safetensors"]
    assert ways == [("nt", "none"), ("nt", "none,orthogonal"), ("st", "none")]
    assert len(trained) == 9 and {t["epochs"] for t in trained} == {3}
    assert {t["source"] for t in trained} == {
        f"{name}.safetensors" for name in ("clean", "sp", "ops", "em")
    }
    assert len(parse(calls[-1])["files"]) == 9
    for args in calls:
        parse(args)
    again = called(script, [str(folder / "out")], folder, PATH=path)
    assert {args[0] for args in again} == {"report"}


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


def test_table6_script_calls_what_exists_and_keeps_what_is_finished(folder: Path) -> None:
    script, out = SCRIPTS[2], str(folder / "out")
    settings = {"PYTHON": str(folder / "stand-in"), "MODEL": "small", "LIMIT": "500"}
    calls = called(script, ["digits", out], folder, **settings)
    mixed = [args for args in calls if args[0].endswith("table6.py")]
    parsed = [(args[0], parse(args)) for args in calls if args not in mixed]
    made = [asked for name, asked in parsed if name == "poison"]
    assert [asked["augment"] for asked in made] == ["plain", "cg"]
    assert all(asked["fast"] and asked["resume"] for asked in made)
    held = [asked for name, asked in parsed if name == "data" and asked["holdout"]]
    assert [asked["holdout"] for asked in held] == [50] * 4
    assert [asked["part"] for asked in held] == [None, "held", "held", "held"]
    assert [args[1:] for args in mixed] == [
        [f"{out}/{name}.safetensors" for name in ("clean", "rem", "rem-t")]
        + ["-o", f"{out}/mixed.safetensors"],
        *(
            [f"{out}/test-{name}.safetensors" for name in ("clean", poison)]
            + ["--grey", "-o", f"{out}/alone-{poison}.safetensors"]
            for poison in ("rem", "rem-t")
        ),
    ]
    assert [name for name, _ in parsed][-6:] == ["train"] + ["eval"] * 5
    again = called(script, ["digits", out], folder, **settings)
    assert [args[0] for args in again] == ["eval"] * 5
    whole = called(script, ["cifar10", out + "2"], folder, PYTHON=settings["PYTHON"], REM=" ")
    rem = parse(next(args for args in whole if args[0] == "poison"))
    assert (rem["model"], rem["fast"], rem["steps"]) == ("resnet18", False, None)
