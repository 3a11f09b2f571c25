"""The guide holds: every example of docs/extending.md works, all in one copy of stkit."""

import ast
import json
import os
import re
import shlex
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from stkit.recipes import carried as carrying
from stkit.recipes.carried import PREPARATIONS
from stkit.recipes.frames import FRAMES
from stkit.recipes.poisons import METHODS

ROOT = Path(__file__).parent.parent
GUIDE = (ROOT / "docs/extending.md").read_text()
RUN = """
import json, sys
import stkit.cli
for args in json.loads(sys.argv[1]):
    if code := stkit.cli.main(args):
        sys.exit(f"{args}: {code}")
"""


def examples() -> list[tuple[str, str, str]]:
    """(file, language, contents) of each example: a file is named before its blocks."""
    file, blocks = "", []
    for name, language, contents in re.findall(
        r"^`(stkit/\S+)`|^```(python|diff)\n(.*?)^```$", GUIDE, re.M | re.S
    ):
        file = name or file
        if language:
            blocks.append((file, language, contents))
    return blocks


def edit(text: str, diff: str) -> str:
    """The text with the changes of one hunk, whose unchanged and removed lines it has once."""
    lines = [(line[:1], line[1:]) for line in diff.splitlines()]
    old = "".join(f"{line}\n" for mark, line in lines if mark != "+")
    new = "".join(f"{line}\n" for mark, line in lines if mark != "-")
    assert f"\n{text}".count(f"\n{old}") == 1, f"expected once:\n{old}"
    return f"\n{text}".replace(f"\n{old}", f"\n{new}")[1:]


@pytest.fixture(scope="module")
def extended(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a copy of stkit/ that has all examples in it."""
    folder = tmp_path_factory.mktemp("extended")
    shutil.copytree(ROOT / "stkit", folder / "stkit", ignore=shutil.ignore_patterns("__pycache__"))
    for file, language, contents in examples():
        path = folder / file
        if language == "python":
            assert not path.exists(), f"{file} is there already"
            path.write_text(contents)
        else:
            path.write_text(edit(path.read_text(), contents))
    noise = np.random.default_rng(0).integers(-8, 9, (10, 3, 32, 32), dtype=np.int8)
    np.save(folder / "noise.npy", noise)
    return folder


def test_every_example_of_the_guide_works(extended: Path) -> None:
    shell = "\n".join(re.findall(r"^```console\n(.*?)^```$", GUIDE, re.M | re.S))
    commands = [shlex.split(line[2:])[1:] for line in shell.splitlines() if line[:2] == "$ "]
    first = ["data", "digits", "--limit", "200", "-o", "digits.safetensors"]
    done = subprocess.run(
        [sys.executable, "-c", RUN, json.dumps([first, *commands])], cwd=extended, text=True,
        capture_output=True, timeout=1200, check=False,
        env=os.environ | {"PYTHONPATH": str(extended), "OMP_NUM_THREADS": "1"},
    )  # fmt: skip
    assert done.returncode == 0, done.stdout + done.stderr
    for shown in ("nt-slow", "variant    wide", "gap", "confusion.png", "rn", "dim,cg", "LeNet-5"):
        assert shown in done.stdout


def test_the_guide_opens_as_many_files_as_its_table_says() -> None:
    rows = dict(re.findall(r"^\| \[[^\]]+\]\(#([\w-]+)\) \| ([^|]+) \|$", GUIDE, re.M))
    for section in GUIDE.split("\n## ")[1:]:
        heading = section.split("\n")[0].lower().replace(" ", "-")
        assert len(rows[heading].split(",")) == len(
            set(re.findall(r"^`(stkit/\S+)`", section, re.M))
        )


def test_the_name_of_a_frame_or_a_poison_stands_in_one_file() -> None:
    """Where frames and poisons are; what a frame carries has a name and a file of its own, and a
    poison its module. Files that others read and write are called after their poison, too, and a
    check of a machine takes one frame of each kind, by its name; a new one adds none there. `cuda`
    is torch's word for a device, too."""
    carried = {*carrying.NAMES, *PREPARATIONS}
    homes = {name: "recipes/frames.py" for name in FRAMES if name not in carried and name != "at"}
    homes |= {name: f"recipes/poisons/{name}.py" for name in METHODS if name != "cuda"}
    for path in sorted((ROOT / "stkit").rglob("*.py")):
        file = str(path.relative_to(ROOT / "stkit"))
        if file.startswith(("data/importing/", "data/exporting/", "checkup/")):
            continue
        tree = ast.parse(path.read_text())
        texts = {node.value for node in ast.walk(tree) if isinstance(node, ast.Constant)}
        for name in texts & homes.keys():
            assert file in (homes[name], f"poisons/{name}.py"), f"{file} names {name}"
