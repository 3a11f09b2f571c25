"""The chain of commands that made a file, from its header alone, oldest first. No torch.

A header holds the recipe of a file and, in `inputs`, the same of all that it was made from, so each
file of the chain has a command. Names of files are chosen here, by kind, as headers hold none. What
came in from outside, or was made in Python, has no command: its step says why.
"""

import re
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from stkit.core import header, schema
from stkit.core.errors import ArtifactError, RecipeError
from stkit.core.header import Header
from stkit.recipes.catalogue import DATASETS
from stkit.report import commands
from stkit.report.commands import ENDING, FOLDER, Command

MOST = 1000  # headers in one: what stkit writes has ten or so
ROLES = {"checkpoint": ("train", "test"), "acm": ("train",), "eval": ("train", "test")}
"""The splits of its inputs, where they do not say, by the kind of what was made from them."""


@dataclass(frozen=True)
class Step:
    """A file of a chain. digest: as recorded; None for unfinished work, which may end as it will.

    command: None where none makes it. note: why none does, or what else there is to do.
    """

    file: str
    kind: str
    digest: str | None
    command: Command | None
    note: str = ""


def chain(head: Header) -> tuple[Step, ...]:
    """The steps to the file with this header, each after those it reads; what is used twice, once.

    ArtifactError where the header is not of the form that this relies on.
    """
    steps: dict[str, Step] = {}
    try:
        schema.check(head, _shape)
        if (count := _count(head)) > MOST:
            raise ArtifactError(f"damaged, it has {count} inputs; make it again")
        _add(head, "train", steps)
    except RecursionError:
        raise ArtifactError("damaged, it is nested too deep; make it again") from None
    return tuple(steps.values())


def _count(head: Header) -> int:
    """How many headers are in it, its own included."""
    return 1 + sum(_count(parent) for parent in head["inputs"])


def _shape() -> dict[str, Any]:
    """The shape of a header, which holds its parents'."""
    texts = ("method", "imported", "content", "source", "part", "frame", "model", "variant")
    counts = ("size", "limit", "holdout", "batch_size", "per_class")
    recipe = {f"{name}?": str for name in texts} | {f"{name}?": schema.COUNT for name in counts}
    return {
        "kind": str, "recipe": recipe, "seed?": schema.COUNT, "digest": str, "inputs": [_shape],
        "split?": str, "progress?": {"done": bool}, "kept?": {"epoch": schema.COUNT},
    }  # fmt: skip


def _add(head: Header, split: str, steps: dict[str, Step]) -> Step:
    """The step of this header, once those of its parents are there. split: if it does not say."""
    key = header.dumps([head.get(name) for name in header.COMMON])
    if key not in steps:
        split = head.get("split") or split
        roles = ROLES.get(head["kind"], (split,))
        if head["recipe"].get("part") == "held":  # for tests, of a set to train on
            roles = ("train",)
        parents = [
            _add(parent, roles[min(number, len(roles) - 1)], steps)
            for number, parent in enumerate(head["inputs"])
        ]
        taken = {step.file for step in steps.values()}
        taken |= {step.command.out for step in steps.values() if step.command and step.command.out}
        steps[key] = _step(head, parents, split, taken)
    return steps[key]


def _step(head: Header, parents: list[Step], split: str, taken: set[str]) -> Step:
    file, out = _free(_stem(head, parents, split), taken), None
    if "kept" in head:
        file, out = str(commands.kept(Path(file), head["kept"]["epoch"])), file
    files = tuple(Path(parent.file) for parent in parents)
    try:
        command = commands.of(head, files, split)
    except RecipeError as error:
        return Step(file, head["kind"], head["digest"], None, f"no command makes it: {error}")
    if head["kind"] != "state" and head.get("progress", {"done": True})["done"]:
        return Step(file, head["kind"], head["digest"], replace(command, out=out))
    command = replace(command, options=command.options | {"resume": True})
    note = f"unfinished; goes on from {file}.part where that is there"
    if head["kind"] == "state":
        note += ", and its --poison-rate is not recorded until it is finished: add it"
    return Step(file, head["kind"], None, command, note)


def _stem(head: Header, parents: list[Step], split: str) -> str:
    """What a file is called, by its kind: of letters, digits, dots and dashes."""
    recipe, name = head["recipe"], head["kind"]
    if name == "checkpoint":
        name = recipe.get("frame") or name
    elif recipe.get("method"):
        name = recipe["method"]
    elif recipe.get("part"):
        name = recipe["part"]
    elif recipe.get("source") == "file" and parents:
        sizes = [f"-{recipe['limit']}"] if recipe.get("limit") else []
        sizes += [f"-{recipe['size']}px"] if recipe.get("size") else []
        name = Path(parents[0].file).stem + "".join(sizes)
    elif name == "dataset":
        name = "test" if split == "test" else "clean"
    return re.sub(r"[^A-Za-z0-9.-]+", "-", name)[:60].strip(".-") or "file"


def _free(stem: str, taken: set[str]) -> str:
    """A name that is not taken; on some disks case makes no difference."""
    taken = {name.lower() for name in taken}
    name, number = stem + ENDING, 1
    while name.lower() in taken:
        number += 1
        name = f"{stem}-{number}{ENDING}"
    return name


def folders(steps: Sequence[Step]) -> int:
    """How many of the files were read from a folder of images."""
    return sum(FOLDER in step.command.reads for step in steps if step.command)


def sourced(steps: Sequence[Step], sources: Sequence[str]) -> tuple[Step, ...]:
    """The steps with a folder in the place of each FOLDER: one for all, or one each in their order.

    RecipeError for another number of folders.
    """
    count = folders(steps)
    if not count or len(sources) not in (1, count):
        expected = f"1 or {count}" if count else "none, as no folder was read"
        raise RecipeError(f"found {len(sources)} of --source, expected {expected}")
    left = list(sources) * (1 if len(sources) == count else count)
    placed = []
    for step in steps:
        if step.command and FOLDER in step.command.reads:
            folder = left.pop(0)
            folder = f"./{folder}" if folder in DATASETS else folder  # it is no data set's name
            step = replace(step, command=replace(step.command, reads=(folder,)))
        placed.append(step)
    return tuple(placed)
