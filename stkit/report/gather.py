"""What a report is of: each training that files and folders hold, read alike from either.

A cell's JSON and a checkpoint both become an `Entry`: what was trained on what, by which frame,
what came out, and what the literature calls it.
"""

from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from stkit.core import header, schema
from stkit.core.errors import ArtifactError
from stkit.report import result, summary


@dataclass(frozen=True)
class Entry:
    """One training in a report. Accuracies in [0,1]; `setup`: all that decides it but seeds."""

    file: str
    dataset: str  # with how many images, where it is a part
    split: str  # test, or validation: clean training images kept out; what accuracy is of
    poison: str  # as the grid calls it, or the method
    rate: float  # 0: clean
    frame: str  # as the grid calls it, or the frame's name
    model: str
    seed: int
    row: dict[str, Any]  # as in a table of files
    history: list[dict]
    setup: dict[str, Any]
    published: tuple[str, str]  # what the literature calls the poison and the frame
    versions: dict[str, str]
    images: str  # digest of what it was trained on
    parent: str  # digest of the clean images, or the same
    tested: str  # digest of what it was tested on; empty: on nothing
    digest: str  # of the weights
    apart: str = ""  # in a name, where other images share what this data set is called

    @property
    def data(self) -> tuple[str, str]:
        """What all accuracies of a table share: the clean images, and what was tested on."""
        return self.dataset + self.apart, self.split

    @property
    def ground(self) -> tuple:
        """What frames are compared on: trained and tested on the same images with one model."""
        return *self.data, self.poison, self.rate, self.model

    @property
    def called(self) -> str:
        """The poison, with its rate where not all images are poisoned."""
        whole = self.rate == 1 or self.published[0] == "clean"
        return self.poison + ("" if whole else f" {self.rate:g}")


def named_apart(entries: Iterable[Entry]) -> list[Entry]:
    """Data sets that share a name but not their images get the digests into their names."""
    found = list(entries)
    images: dict[tuple[str, str], set[tuple[str, str]]] = {}
    for entry in found:
        images.setdefault(entry.data, set()).add((entry.parent, entry.tested))
    return [replace(entry, apart=_apart(entry, images[entry.data])) for entry in found]


def _apart(entry: Entry, images: set[tuple[str, str]]) -> str:
    words = []
    if len({parent for parent, _ in images}) > 1:
        words.append(f"images {entry.parent[:8]}")
    if len({tested for _, tested in images}) > 1:
        words.append(f"tested on {entry.tested[:8] or 'nothing'}")
    return f" ({', '.join(words)})" if words else ""


@dataclass
class Gathered:
    """What was found in files and folders."""

    entries: list[Entry] = field(default_factory=list)
    rows: list[dict[str, Any]] = field(default_factory=list)  # one a file
    skipped: dict[str, str] = field(default_factory=dict)  # file -> why
    passed: int = 0  # JSON files in folders that no bench wrote

    def add(self, entry: Entry) -> None:
        """Take up a training; its row says where its accuracy is not of test images."""
        self.entries.append(entry)
        held = entry.split != "test" and "accuracy" in entry.row
        self.rows.append(entry.row | ({"split": entry.split} if held else {}))

    def versions(self) -> str | None:
        """Which versions are mixed, for people; None when all are the same."""
        found = {
            key: Counter(entry.versions.get(key, "unknown") for entry in self.entries)
            for key in ("stkit", "torch")
        }
        mixed = [
            f"{key} " + ", ".join(f"{version} ({n})" for version, n in sorted(counts.items()))
            for key, counts in found.items()
            if len(counts) > 1
        ]
        return "; ".join(mixed) or None


def gather(paths: Iterable[Path]) -> Gathered:
    """Read files and the JSON of folders. A damaged result is noted and skipped.

    ArtifactError for a path that is not there and for a damaged safetensors file.
    """
    found, files = Gathered(), set()
    for path in paths:
        if path.resolve() in files:  # named twice, or in a folder that is named too
            continue
        files.add(path.resolve())
        if path.is_dir():
            for file in sorted(path.glob("*.json")):
                if file.resolve() not in files:
                    files.add(file.resolve())
                    _take(found, file, named=False)
        elif path.suffix != ".json":
            _take_file(found, path)
        elif not path.exists():
            raise ArtifactError(f"{path}: no such file; check the path")
        else:
            _take(found, path, named=True)
    return found


def _take(found: Gathered, path: Path, *, named: bool) -> None:
    """One JSON file; `named` by the user rather than found in a folder."""
    try:
        read = result.read(path)
        if read["kind"] == "cell":
            found.add(of_cell(str(path), read))
        elif named:
            found.rows.append(_poison_row(str(path), read))
    except ArtifactError as error:
        if not named and "other JSON" in str(error):
            found.passed += 1
        else:
            found.skipped[str(path)] = str(error).removeprefix(f"{path}: ")


def _take_file(found: Gathered, path: Path) -> None:
    """One safetensors file."""
    (row,) = summary.rows([path])
    if row["kind"] == "checkpoint" and "unfinished" not in row:
        head = header.read(path)
        head["records"] = header.numbers(head["records"])
        try:
            schema.check(head, result.CHECKPOINT)
        except ArtifactError as error:
            raise ArtifactError(f"{path}: {error}") from None
        found.add(of_checkpoint(str(path), head, row))
    else:
        found.rows.append(row)


def _poison_row(file: str, found: dict) -> dict[str, Any]:
    keys = ("method", "n", "linf", "l2_mean", "l0_max", "seconds", "seed")
    row = {"file": file, "kind": "poison", "data": found["name"]}
    return row | {key: found[key] for key in keys if key in found}


def of_cell(file: str, found: dict) -> Entry:
    """A cell's JSON, as `result.read` returns it, as an entry."""
    settings = found["settings"]
    poison, frame = settings["poison"], settings["frame"]
    shown = ("train_accuracy", "accuracy", "best_accuracy", "best_rolled_back", "holdout_accuracy",
             "acm", "stages", "seconds", "images_per_second", "peak_memory")  # fmt: skip
    rate = poison.get("rate", _maker(found["inputs"][0])["recipe"].get("poison_rate"))
    row = {
        "file": file, "kind": "cell",
        "data": poison["name"] + ("" if rate in (None, 1) else f" {rate:g}"),
        "frame": frame["name"], "model": settings["model"], "epochs": found["epochs"],
        "seed": settings["seed"], **{key: found[key] for key in shown if key in found},
    }  # fmt: skip
    return Entry(
        file, *_data(settings["data"]["name"], found), poison["name"], _rate(found, rate),
        frame["name"], settings["model"], settings["seed"], row, found["history"],
        *_provenance(found), found["versions"], *_lineage(found),
    )  # fmt: skip


def of_checkpoint(file: str, head: dict, row: dict[str, Any]) -> Entry:
    """A finished checkpoint as an entry; its records with numbers for nan and inf."""
    images = head["inputs"][0]
    rate = _maker(images)["recipe"].get("poison_rate")
    return Entry(
        file, *_data(_line(images)[-1]["recipe"].get("source", "unknown"), head),
        _published_poison(images), _rate(head, rate), head["frame"], head["model"],
        head["seed"], row, result.history(head["records"]), *_provenance(head),
        head["versions"], *_lineage(head),
    )  # fmt: skip


def _rate(found: dict, rate: float | None) -> float:
    """Clean images are those of any poison at rate 0; a poison that tells none is at rate 1."""
    if _published_poison(found["inputs"][0]) == "clean":
        return 0.0
    return 1.0 if rate is None else rate


def _data(name: str, found: dict) -> tuple[str, str]:
    """What a data set is called, a part of it by its number of images, and what was tested on."""
    images, *tested = found["inputs"]
    part, out = None, 0
    for recipe in reversed([head["recipe"] for head in _line(images)]):
        if recipe.get("limit"):
            part, out = recipe["limit"], 0
        if recipe.get("part") == "rest":
            out += recipe.get("holdout") or 0
        if recipe.get("part") == "held":
            part, out = recipe.get("holdout"), 0
    if part:
        name += f", {part - out} images"
    elif out:
        name += f", all but {out} images"
    held = any(test["recipe"].get("part") == "held" for test in tested[:1])
    return name, "validation" if held else "test"


def _provenance(found: dict) -> tuple[dict, tuple[str, str]]:
    """All settings but seeds, and the names in the literature, of a checkpoint's header."""
    recipe, images = found["recipe"], found["inputs"][0]
    setup = header.flat({"train": recipe, "images": _maker(images)["recipe"]})
    setup |= header.flat({"data": _line(images)[-1]["recipe"]})
    adversary = recipe["phases"][0].get("adversary") or {}
    radius = round(adversary.get("epsilon", 4 / 255) * 255)
    frame = recipe["frame"] + (f"-{radius}/255" if radius != 4 else "")
    return setup, (_published_poison(images), frame)


def _lineage(found: dict) -> tuple[str, str, str, str]:
    """The digests of the images, of the clean ones, of those tested on, and of the weights."""
    made, *tested = found["inputs"]
    maker = _maker(made)
    clean = maker["inputs"][0] if maker["recipe"].get("method") and maker["inputs"] else made
    return made["digest"], clean["digest"], tested[0]["digest"] if tested else "", found["digest"]


def _line(images: dict) -> list[dict]:
    """The headers that a data set descends from, itself first."""
    return [images, *(_line(images["inputs"][0]) if images["inputs"] else [])]


def _maker(images: dict) -> dict:
    """The header that says how the images were poisoned; a part of a file says so by its parent."""
    line = _line(images)
    return next((head for head in line if head["recipe"].get("method")), line[-1])


def _published_poison(images: dict) -> str:
    """clean, sp, em-class, ...: a poison by the name in tables of the literature."""
    recipe = _maker(images)["recipe"]
    if not recipe.get("method"):
        return "clean"
    scope = f"-{recipe['scope']}" if recipe.get("scope") else ""
    return recipe["method"] + scope + ("-fast" if recipe.get("fast") else "")
