"""One concept, one name: words that meant several things stay out of the code.

`docs/architecture.md` has the glossary. What is looked at are the names that stkit/ gives: to
modules, classes, functions, parameters, fields, variables and attributes it assigns.
"""

import ast
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1] / "stkit"
FILES = sorted(ROOT.rglob("*.py"))
DEAD = {
    "cell": "task (one command of a grid), run (one training of it), value (of a table)",
    "entry": "what it is an entry of: result, row, file",
    "found": "what the call returned",
    "job": "recipe, task",
    "making": "crafting, surrogate",
    "part": "share (of a rank), half, preparation, augmentation, the unfinished file",
    "published": "poisoned images, literature (the numbers of papers)",
}
"""Word -> what to say instead. Dead as a word of a name: `cell_of`, `Making`, `parts`."""
PLURALS = ("cells", "entries", "makings", "parts")  # jobs are how many tasks at a time: --jobs
GONE = ("_help", "_judge", "_defend", "_fill")
"""Whole names that said what is done but not to what."""
STAGE = ("bench", "cli/bench.py", "cli/grids.py")
"""Here `stage` would be a step of a grid: it is tau of the ST paper and nothing else."""
LIVING = {
    ("part", "cli/data.py"): "--part rest|held, an option that users have",
    ("part", "data/holdout.py"): "the same",
    ("part", "cli/claims.py"): "FILE.part, which users see",
    ("part", "cli/saving.py"): "FILE.part, which users see",
    ("part", "engine/runtime.py"): "a rank's part of a batch, as in the next three",
    ("part", "engine/step.py"): "the same",
    ("part", "poisons/rem.py"): "the same",
    ("part", "training/sets.py"): "the same",
    ("entry", "core/artifact.py"): "of the header that safetensors prescribes",
    ("cell", "cli/output.py"): "of a table",
}
"""(word, file) -> why it may stand there."""


def given(tree: ast.AST) -> Iterator[str]:
    """The names that a module gives to something."""
    for node in ast.walk(tree):
        match node:
            case ast.ClassDef(name=name) | ast.FunctionDef(name=name) | ast.arg(arg=name):
                yield name
            case ast.Name(id=name, ctx=ast.Store()) | ast.Attribute(attr=name, ctx=ast.Store()):
                yield name
            case ast.alias(asname=str(name)):
                yield name


def words(name: str) -> set[str]:
    """The words of a name in lower case: `_CellsLeft` has cells and left; a dead plural as one."""
    parted = re.sub(r"(?<=[a-z0-9])(?=[A-Z])", "_", name).lower().split("_")
    singular = {"entries": "entry"} | {word: word[:-1] for word in PLURALS if word != "entries"}
    return {singular.get(word, word) for word in parted}


def dead(path: Path) -> list[str]:
    """What is wrong with a file's names, a line each."""
    file = str(path.relative_to(ROOT))
    lines = []
    for name in sorted({path.stem, *given(ast.parse(path.read_text()))}):
        for word in words(name) & DEAD.keys():
            if (word, file) not in LIVING:
                lines.append(f"stkit/{file}: {name}: rather than {word} say {DEAD[word]}")
        if name in GONE:
            lines.append(f"stkit/{file}: {name}: say what it does, to what")
        if words(name) & {"stage", "stages"} and file.startswith(STAGE):
            lines.append(f"stkit/{file}: {name}: a grid has tasks; stage is tau of the ST paper")
    return lines


@pytest.mark.parametrize("path", FILES, ids=lambda p: str(p.relative_to(ROOT)))
def test_dead_words_stay_dead(path: Path) -> None:
    assert not dead(path), "\n".join(dead(path))


def test_what_may_stand_is_still_there() -> None:
    for word, file in LIVING:
        names = given(ast.parse((ROOT / file).read_text()))
        assert any(word in words(name) for name in names), f"{file} has no {word} any more"


def test_images_have_pixels() -> None:
    """`images.images` was a set of images' pixels."""
    for path in FILES:
        assert not re.search(r"\bimages\.images\b", path.read_text()), path
