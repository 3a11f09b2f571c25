"""Checkpoints that one picture compares: read by their headers, checked, and named apart."""

import json
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

from stkit.core import header, lineage
from stkit.core.errors import ArtifactError, DataError
from stkit.core.header import Header
from stkit.report import names


@dataclass(frozen=True)
class Compared:
    """A finished checkpoint, or an epoch on the way that `stkit train --keep` wrote."""

    path: Path
    head: Header
    name: str
    """Of the file; after folders, where another's is the same."""

    @property
    def epoch(self) -> int:
        """The epoch whose weights it holds."""
        records = self.head["records"]
        return int(records[-1]["epoch"]) if records else 0

    @cached_property
    def training(self) -> str:
        """What the epochs of one training share, and no other training has."""
        parents = [parent["digest"] for parent in self.head["inputs"]]
        return json.dumps([self.head["recipe"], parents, self.head["seed"]], sort_keys=True)

    @property
    def poison(self) -> str:
        """What the images that it was trained on are called."""
        images = lineage.of(self.head["inputs"][0])
        return names.rated(names.poison(images), images.rate)

    @property
    def title(self) -> str:
        """The frame and the poison."""
        return f"{self.head['frame']} on {self.poison}"

    def row(self) -> dict[str, str | int | float | None]:
        """What says in each row of the numbers which checkpoint they are of."""
        head = self.head
        return {
            "file": self.name, "model": head["model"], "frame": head["frame"],
            "poison": self.poison, "seed": head["seed"], "epoch": self.epoch,
        }  # fmt: skip


def read(paths: Sequence[Path]) -> list[Compared]:
    """The checkpoints in these files, in their order; of those of one epoch with the same weights,
    as a last epoch that was kept and the training's own file, the first.

    ArtifactError: a file is no checkpoint, or unfinished. DataError: their models or classes are
    not all the same, so that no picture compares them.
    """
    once: dict[tuple[str, int, str], Compared] = {}
    for path, name in zip(paths, names.files(paths), strict=True):
        each = Compared(path, header.read(path, "checkpoint"), name)
        once.setdefault((each.training, each.epoch, each.head["digest"]), each)
    files = list(once.values())
    first = files[0]
    for each in files:
        if not each.head["progress"]["done"]:
            raise ArtifactError(
                f"{each.path}: unfinished; run the same `stkit train` with --resume"
            )
        for said, same in (
            ("model", each.head["model"] == first.head["model"]),
            ("list of classes", each.head["classes"] == first.head["classes"]),
            ("size of images", each.head["size"] == first.head["size"]),
        ):
            if not same:
                raise DataError(
                    f"{each.path}: {_kind(each)}; {first.path}: {_kind(first)}; expected one "
                    f"{said} in a picture; draw a picture of each"
                )
    return files


def _kind(each: Compared) -> str:
    head = each.head
    classes = head["classes"]
    some = ", ".join(classes[:3]) + (", ..." if len(classes) > 3 else "")
    return f"{head['model']}, {len(classes)} classes ({some}), {head['size']} px"


def titles(files: Sequence[Compared]) -> Mapping[str, str]:
    """What to call each training (by its `training`): frame and poison, and where two share these
    their seeds, or where those are the same, too, their files."""
    firsts: dict[str, Compared] = {}
    for each in files:
        firsts.setdefault(each.training, each)
    called = {key: [each.title] for key, each in firsts.items()}
    for words in (
        {key: f"seed {each.head['seed']}" for key, each in firsts.items()},
        {key: each.name.removesuffix(each.path.suffix) for key, each in firsts.items()},
    ):
        counted = Counter(map(tuple, called.values()))
        for key, so_far in called.items():
            if counted[tuple(so_far)] > 1:
                called[key] = [*so_far, words[key]]
    return {key: ", ".join(words) for key, words in called.items()}
