"""Results: the JSON that `stkit bench` writes for a cell, and checkpoints seen the same way.

A cell's file holds what `stkit train --json` printed, the settings in the grid, the records of the
checkpoint, versions, device, and the provenance of the images and of the weights: all that a report
needs, so the checkpoint may go. It has no paths and no time stamps.
"""

import json
import os
from collections import Counter
from collections.abc import Iterable
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from stkit import header, report, shape
from stkit.errors import ArtifactError

FORMAT = 1


def _images() -> dict[str, Any]:
    """The shape of the header of images, which holds its parents'."""
    recipe = {
        "method?": str, "scope?": str, "fast?": bool, "poison_rate?": shape.SHARE, "source?": str,
        "limit?": shape.COUNT, "holdout?": shape.COUNT, "part?": str,
    }  # fmt: skip
    return {"digest": str, "recipe": recipe, "inputs": [_images]}


STAGE = {"epoch": shape.COUNT, "tau": shape.COUNT}
CHECK = {"step": shape.COUNT, "verdict": str, "acm": {str: float}}
RECORD = {"epoch": shape.COUNT, "phase": shape.COUNT, "accuracy?": shape.SHARE, "checks?": [CHECK]}
TRAINED = {
    "recipe": {"frame": str, "phases": [{"adversary?": {"epsilon": float}}, shape.SOME]},
    "inputs": [_images, shape.SOME], "versions": {str: str},
}  # fmt: skip
SHAPES: dict[str, dict] = {
    "cell": {
        "settings": {
            "data": {"name": str}, "poison": {"name": str, "rate?": shape.SHARE},
            "frame": {"name": str}, "model": str, "seed": int,
        },
        **TRAINED, "name": str, "epochs": shape.COUNT, "history": [RECORD],
        "train_accuracy?": shape.SHARE, "accuracy?": shape.SHARE, "best_accuracy?": shape.SHARE,
        "holdout_accuracy?": shape.SHARE, "best_rolled_back?": bool, "acm?": float,
        "stages?": [STAGE], "seconds?": float, "images_per_second?": float, "peak_memory?": float,
    },
    "poison": {
        "name": str, "method?": str, "n?": shape.COUNT, "linf?": float, "l2_mean?": float,
        "l0_max?": float, "seconds?": float, "seed?": int,
    },
}  # fmt: skip
"""What a report relies on, by kind of result; see `shape`."""
CHECKPOINT = {**TRAINED, "frame": str, "model": str, "seed": int, "records": [RECORD]}
"""The same of a checkpoint's header."""


def cell(
    name: str, settings: dict, head: dict, printed: dict, **more: Any
) -> dict[str, Any]:
    """The result of a finished cell.

    head: the checkpoint's header. printed: what `stkit train --json` said, empty if that was lost.
    """
    said = {key: value for key, value in printed.items() if key != "output"}
    row = report.summary(head)
    return {
        "format": FORMAT, "kind": "cell", "name": name, "settings": settings,
        **{key: value for key, value in row.items() if key not in ("kind", "data")}, **said, **more,
        "history": history(head["records"]),
        "recipe": head["recipe"], "digest": head["digest"], "inputs": head["inputs"],
        "versions": head["versions"],
    }  # fmt: skip


def poison(name: str, head: dict, printed: dict, **more: Any) -> dict[str, Any]:
    """The result of a poison that a grid made."""
    said = {key: value for key, value in printed.items() if key != "output"}
    kept = ("recipe", "seed", "digest", "inputs", "statistics", "versions")
    return {
        "format": FORMAT, "kind": "poison", "name": name, **said, **more,
        **{key: head[key] for key in kept},
    }  # fmt: skip


def history(records: list[dict]) -> list[dict]:
    """A checkpoint's records without what is a function of the rest: the layers' rates."""
    return [
        {
            **record,
            **(
                {"checks": [{k: v for k, v in check.items() if k != "lr_scales"}
                            for check in record["checks"]]}
                if "checks" in record else {}
            ),
        }
        for record in records
    ]  # fmt: skip


def write(path: Path, value: dict) -> None:
    """Write a result as JSON, whole or not at all."""
    whole(path, header.dumps(value) + "\n")


def whole(path: Path, text: str) -> None:
    """Write a text file under another name, then rename it. ArtifactError when that fails."""
    temporary = path.with_name(f"{path.name}.{os.getpid()}.tmp")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with open(temporary, "w", encoding="utf-8") as file:
            file.write(text)
            file.flush()
            os.fsync(file.fileno())
        os.replace(temporary, path)
    except OSError as error:
        with suppress(OSError):
            temporary.unlink()
        raise ArtifactError(
            f"{path}: cannot be written ({error.strerror}); free some space or pass another -o"
        ) from None


def read(path: Path) -> dict[str, Any]:
    """A JSON result. ArtifactError when it is missing, damaged, or was not written by a bench."""
    try:
        found = json.loads(path.read_text(encoding="utf-8"), parse_constant=_no_number)
    except OSError as error:
        raise ArtifactError(f"{path}: {error.strerror or error}; check the path") from None
    except (ValueError, RecursionError) as error:
        raise ArtifactError(f"{path}: damaged, it is no JSON ({error}); make it again") from None
    if not isinstance(found, dict) or found.get("kind") not in ("cell", "poison"):
        raise ArtifactError(f"{path}: found other JSON, expected what `stkit bench` wrote")
    if found.get("format") != FORMAT:
        raise ArtifactError(
            f"{path}: found format {found.get('format')}, expected {FORMAT}; "
            "use the stkit that wrote it"
        )
    try:
        found = header.numbers(found)
        shape.check(found, SHAPES[found["kind"]])
    except ArtifactError as error:
        raise ArtifactError(f"{path}: {error}") from None
    except RecursionError:
        raise ArtifactError(f"{path}: damaged, it is nested too deep; make it again") from None
    return found


def _no_number(text: str) -> float:
    raise ValueError(f"found {text}")


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

    @property
    def ground(self) -> tuple:
        """What frames are compared on: trained and tested on the same images with one model."""
        return self.dataset, self.split, self.poison, self.rate, self.model

    @property
    def called(self) -> str:
        """The poison, with its rate where only a part is poisoned."""
        return self.poison + (f" {self.rate:g}" if 0 < self.rate < 1 else "")


@dataclass
class Gathered:
    """What was found in files and folders."""

    entries: list[Entry] = field(default_factory=list)
    rows: list[dict[str, Any]] = field(default_factory=list)  # one a file
    skipped: dict[str, str] = field(default_factory=dict)  # file -> why
    passed: int = 0  # JSON files in folders that no bench wrote

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

    ArtifactError for a path that is not there.
    """
    found = Gathered()
    for path in paths:
        if path.is_dir():
            for file in sorted(path.glob("*.json")):
                _take(found, file, named=False)
        elif not path.exists():
            raise ArtifactError(f"{path}: no such file; check the path")
        else:
            _take(found, path, named=True)
    return found


def _take(found: Gathered, path: Path, *, named: bool) -> None:
    """One JSON file; `named` by the user rather than found in a folder."""
    try:
        if path.suffix != ".json":
            _take_file(found, path)
            return
        result = read(path)
        if result["kind"] == "cell":
            entry = of_cell(str(path), result)
            found.entries.append(entry)
            found.rows.append(entry.row)
        elif named:
            found.rows.append(_poison_row(str(path), result))
    except ArtifactError as error:
        if not named and "other JSON" in str(error):
            found.passed += 1
        else:
            found.skipped[str(path)] = str(error).removeprefix(f"{path}: ")


def _take_file(found: Gathered, path: Path) -> None:
    """One safetensors file."""
    (row,) = report.rows([path])
    if row["kind"] == "checkpoint" and "unfinished" not in row:
        head = header.read(path)
        shape.check(head, CHECKPOINT)
        found.entries.append(of_checkpoint(str(path), head, row))
    found.rows.append(row)


def _poison_row(file: str, found: dict) -> dict[str, Any]:
    keys = ("method", "n", "linf", "l2_mean", "l0_max", "seconds", "seed")
    row = {"file": file, "kind": "poison", "data": found["name"]}
    return row | {key: found[key] for key in keys if key in found}


def of_cell(file: str, found: dict) -> Entry:
    """A cell's JSON, as `read` returns it, as an entry."""
    settings = found["settings"]
    poison, frame = settings["poison"], settings["frame"]
    shown = ("train_accuracy", "accuracy", "best_accuracy", "best_rolled_back", "holdout_accuracy",
             "acm", "stages", "seconds", "images_per_second", "peak_memory")  # fmt: skip
    rate = poison.get("rate", 1.0)
    row = {
        "file": file, "kind": "cell", "data": poison["name"] + ("" if rate == 1 else f" {rate:g}"),
        "frame": frame["name"], "model": settings["model"], "epochs": found["epochs"],
        "seed": settings["seed"], **{key: found[key] for key in shown if key in found},
    }  # fmt: skip
    return Entry(
        file, *_data(settings["data"]["name"], found), poison["name"], _rate(found, rate),
        frame["name"], settings["model"], settings["seed"], row, found["history"],
        *_provenance(found), found["versions"], *_lineage(found),
    )  # fmt: skip


def of_checkpoint(file: str, head: dict, row: dict[str, Any]) -> Entry:
    """A finished checkpoint as an entry."""
    images = head["inputs"][0]
    rate = _maker(images)["recipe"].get("poison_rate", 1.0)
    return Entry(
        file, *_data(_line(images)[-1]["recipe"].get("source", "unknown"), head),
        _published_poison(images), _rate(head, rate), head["frame"], head["model"],
        head["seed"], row, header.numbers(history(head["records"])), *_provenance(head),
        head["versions"], *_lineage(head),
    )  # fmt: skip


def _rate(found: dict, rate: float) -> float:
    """Clean images are those of any poison at rate 0."""
    return 0.0 if _published_poison(found["inputs"][0]) == "clean" else rate


def _data(name: str, found: dict) -> tuple[str, str]:
    """What a data set is called, a part of it by its number of images, and what was tested on."""
    images, *tested = found["inputs"]
    part = None
    for recipe in reversed([head["recipe"] for head in _line(images)]):
        part = recipe.get("limit") or part
        if part and recipe.get("part") == "rest":
            part -= recipe.get("holdout") or 0
    held = any(test["recipe"].get("part") == "held" for test in tested[:1])
    return name + (f", {part} images" if part else ""), "validation" if held else "test"


def _provenance(found: dict) -> tuple[dict, tuple[str, str]]:
    """All settings but seeds, and the names in the literature, of a checkpoint's header."""
    recipe, images = found["recipe"], found["inputs"][0]
    setup = header.flat({"train": recipe, "images": _maker(images)["recipe"]})
    setup |= header.flat({"data": _line(images)[-1]["recipe"]})
    adversary = recipe["phases"][0].get("adversary") or {}
    radius = round(adversary.get("epsilon", 4 / 255) * 255)
    frame = recipe["frame"] + (f"-{radius}/255" if radius != 4 else "")
    return setup, (_published_poison(images), frame)


def _lineage(found: dict) -> tuple[str, str]:
    made = found["inputs"][0]
    clean = _maker(made)
    return made["digest"], clean["inputs"][0]["digest"] if clean["inputs"] else clean["digest"]


def _line(images: dict) -> list[dict]:
    """The headers that a data set descends from, itself first."""
    return [images, *(_line(images["inputs"][0]) if images["inputs"] else [])]


def _maker(images: dict) -> dict:
    """The header that says how the images were poisoned; a part of a file says so by its parent."""
    line = _line(images)
    return next((head for head in line if "method" in head["recipe"]), line[-1])


def _published_poison(images: dict) -> str:
    """clean, sp, em-class, ...: a poison by the name in tables of the literature."""
    recipe = _maker(images)["recipe"]
    if "method" not in recipe:
        return "clean"
    scope = f"-{recipe['scope']}" if "scope" in recipe else ""
    return recipe["method"] + scope + ("-fast" if recipe.get("fast") else "")
