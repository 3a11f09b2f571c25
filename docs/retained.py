"""How well the retained share, which needs no clean image, ranks trainings by their clean accuracy.

    python docs/retained.py FOLDER... [--epoch N] [--order nt,jpeg-70,gray] [--classes K] [--json]

FOLDER: what `stkit bench` wrote of trainings with `purified = true`; others are passed over, and
counted. A set is a poison at a rate; damage and choice compare trainings of one data set, model,
length and seed.

rho: Spearman's rank correlation. accuracy: on what the training was tested on, of the last epoch's
weights, before a roll-back at its end, as the share is. damage: accuracy of the same frame on clean
images minus accuracy here. mildest: of the frames whose share passes (`purifiers.passes`), the
one that comes first in `--order`; without it in the order of what each costs clean images, for
which the tests decide. `--epoch N`: the share of that epoch, a pilot's, beside the last accuracy.
"""

import argparse
import sys
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import correlation, mean
from typing import Any

from stkit.bench.estimate import SIZES
from stkit.cli import output
from stkit.core.errors import RecipeError, StkitError
from stkit.recipes.purifiers import passes
from stkit.report import files, names

CLEAN = "clean"
FEWEST = 3
"""Trainings of which there is a rank correlation."""
Row = dict[str, Any]


@dataclass(frozen=True)
class Point:
    """A training: what it is compared within, its set and frame, what was measured.

    ground: data set, model, epochs and seed. passes: whether the share is such as a frame has that
    undoes the poison.
    """

    ground: str
    poison: str
    frame: str
    accuracy: float
    share: float
    passes: bool


def read(
    folders: Iterable[Path], *, epoch: int | None, classes: int | None
) -> tuple[list[Point], int]:
    """The trainings of these folders that were judged, and how many were not."""
    found = [files.read(path) for folder in folders for path in sorted(folder.glob("*.json"))]
    runs = [value for value in found if value["kind"] == files.RUN]
    points = [point(run, epoch=epoch, classes=classes) for run in runs]
    judged = [each for each in points if each is not None]
    return judged, len(points) - len(judged)


def point(run: dict[str, Any], *, epoch: int | None, classes: int | None) -> Point | None:
    """A training from its result; None where nothing was tested or no share recorded."""
    history, settings = run["history"], run["settings"]
    judged = next((r for r in history if r["epoch"] == epoch), {}) if epoch else history[-1]
    accuracy, share = history[-1].get("accuracy"), judged.get("retained_share")
    if accuracy is None or share is None:
        return None
    data, poison = settings["data"]["name"], settings["poison"]
    count = classes or (SIZES[data][1] if data in SIZES else None)
    if count is None:
        raise RecipeError(f"how many classes {data} has is not known; pass --classes K")
    part = settings["data"].get("limit")
    words = [data, *([f"{part} images"] if part else []), settings["model"]]
    words += [f"{run['epochs']} epochs", f"seed {settings['seed']}"]
    return Point(
        ground=", ".join(words), poison=names.rated(poison["name"], poison.get("rate", 1.0)),
        frame=settings["frame"]["name"], accuracy=accuracy, share=share,
        passes=passes(share, judged["holdout_accuracy"], count, run["recipe"]["holdout"]),
    )  # fmt: skip


def undamaged(points: Iterable[Point]) -> dict[tuple[str, str], float]:
    """The accuracy of each frame on clean images, by ground and frame."""
    return {(p.ground, p.frame): p.accuracy for p in points if p.poison == CLEAN}


def damage(point: Point, clean: Mapping[tuple[str, str], float]) -> float | None:
    """What the poison took from a training; None where the frame was not tried on clean images."""
    whole = clean.get((point.ground, point.frame))
    return None if whole is None else whole - point.accuracy


def by_set(points: Sequence[Point]) -> dict[str, list[Point]]:
    """The trainings of each set, as they were read, and behind them those of all."""
    sets: dict[str, list[Point]] = {}
    for each in points:
        sets.setdefault(each.poison, []).append(each)
    poisoned = [each for each in points if each.poison != CLEAN]
    return {**sets, "all poisons": poisoned, "all": list(points)}


def rho(pairs: Sequence[tuple[float, float]]) -> float | None:
    """Spearman's rank correlation; None of too few, or where all on one side are equal."""
    firsts, seconds = zip(*pairs, strict=True) if pairs else ((), ())
    if len(pairs) < FEWEST or len(set(firsts)) == 1 or len(set(seconds)) == 1:
        return None
    return correlation(ranks(firsts), ranks(seconds))


def ranks(values: Sequence[float]) -> list[float]:
    """The place of each value in their order; equal ones share the mean of their places."""
    places: dict[float, list[int]] = {}
    for place, value in enumerate(sorted(values)):
        places.setdefault(value, []).append(place)
    return [mean(places[value]) for value in values]


def correlations(points: Sequence[Point]) -> list[Row]:
    """A row a set, and two of all: how the share ranks accuracy and damage."""
    clean = undamaged(points)
    rows = []
    for name, each in by_set(points).items():
        hurt = [(p.share, d) for p in each for d in [damage(p, clean)] if d is not None]
        rows.append({
            "set": name, "trainings": len(each),
            "rho with accuracy": rho([(p.share, p.accuracy) for p in each]),
            "rho with damage": None if name == CLEAN else rho(hurt),
            "lowest share": min((p.share for p in each), default=None),
            "highest share": max((p.share for p in each), default=None),
        })  # fmt: skip
    return rows


def judgements(points: Sequence[Point]) -> list[Row]:
    """A row a set, and two of all: the damage of what passes and of what does not."""
    clean = undamaged(points)
    rows = []
    for name, each in by_set(points).items():
        hurt = {
            passes: [d for p in each if p.passes is passes
                     for d in [damage(p, clean)] if d is not None]
            for passes in (True, False)
        }  # fmt: skip
        rows.append({
            "set": name, "pass": sum(p.passes for p in each),
            "most damage of them": max(hurt[True], default=None),
            "fail": sum(not p.passes for p in each),
            "least damage of those": min(hurt[False], default=None),
        })  # fmt: skip
    return rows


def mildest(points: Sequence[Point], order: Sequence[str]) -> list[Row]:
    """A row a ground and set: the mildest frame that passes, and the best of all frames."""
    clean = undamaged(points)
    groups: dict[tuple[str, str], list[Point]] = {}
    for each in points:
        groups.setdefault((each.ground, each.poison), []).append(each)
    rows = []
    for (ground, name), group in groups.items():
        places = {p.frame: place for p in group if (place := milder(p, clean, order)) is not None}
        able = [p for p in group if p.passes and p.frame in places]
        chosen = min(able, key=lambda p: places[p.frame], default=None)
        best = max(group, key=lambda p: p.accuracy)
        rows.append({
            "trained": ground, "set": name,
            "mildest that passes": None if chosen is None else chosen.frame,
            "its share": None if chosen is None else chosen.share,
            "its accuracy": None if chosen is None else chosen.accuracy,
            "best": best.frame, "best accuracy": best.accuracy,
            "behind": None if chosen is None else best.accuracy - chosen.accuracy,
        })  # fmt: skip
    return rows


def milder(
    point: Point, clean: Mapping[tuple[str, str], float], order: Sequence[str]
) -> float | None:
    """Where its frame stands among the milder and the stronger; None: nowhere."""
    if order:
        return order.index(point.frame) if point.frame in order else None
    whole = clean.get((point.ground, point.frame))
    return None if whole is None else -whole


def main(words: Sequence[str] | None = None) -> int:
    """Print the tables; 1 where there is nothing to tell."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("folders", nargs="+", type=Path, metavar="FOLDER")
    parser.add_argument("--epoch", type=int)
    parser.add_argument("--order", default="", metavar="FRAME,...")
    parser.add_argument("--classes", type=int)
    parser.add_argument("--json", action="store_true")
    asked = parser.parse_args(words)
    try:
        points, others = read(asked.folders, epoch=asked.epoch, classes=asked.classes)
        if not points:
            raise RecipeError(
                f"found {others} results without a retained share and none with it; bench a grid "
                "with purified = true and holdout = N in [train]"
            )
    except StkitError as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    order = [name for name in asked.order.split(",") if name]
    tables = {
        "rank correlation": correlations(points), "judgement": judgements(points),
        "choice": mildest(points, order),
    }  # fmt: skip
    if asked.json:
        print(output.rows([{"passed over": others, **tables}], "json"))
        return 0
    print(f"{len(points)} trainings; {others} without a retained share were passed over")
    for title, rows in tables.items():
        shown = [{key: rounded(value) for key, value in row.items()} for row in rows]
        print(f"\n{title}\n\n{output.rows(shown, 'markdown')}")
    return 0


def rounded(value: Any) -> Any:
    """Numbers as a table shows them."""
    return "-" if value is None else f"{value:.3f}" if isinstance(value, float) else value


if __name__ == "__main__":
    sys.exit(main())
