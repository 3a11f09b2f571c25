"""Which runs a folder of a grid does not have: a sentence, for the command and the page.

A folder does not hold its grid. But a grid crosses poisons, rates, frames, models and seeds, so
what some of its runs have, and others have not, shows: the holes of that crossing.
"""

from collections.abc import Mapping, Sequence
from itertools import product
from pathlib import Path
from typing import Any

from stkit.report import names
from stkit.report.gather import Gathered
from stkit.report.result import Result

BEGUN = "*.part", "work/*.part"
"""Where in the folder of a bench lies what was begun, if nothing else was asked for."""
AXES = ("set", "frame", "model", "seed")


def missing(gathered: Gathered) -> list[str]:
    """A sentence on each folder in which something is missing, as far as it shows."""
    called = names.files(gathered.folders)
    return [
        f"{name}: {'; '.join(said)}."
        for name, folder in zip(called, gathered.folders, strict=True)
        if (said := _said(gathered, folder))
    ]


def _said(gathered: Gathered, folder: Path) -> list[str]:
    mine = [each for each in gathered.results if Path(each.file).parent == folder]
    said = [
        hole
        for data in dict.fromkeys(each.data for each in mine)
        if (hole := _holes([each for each in mine if each.data == data]))
    ]
    used = [_at_any_rate(each.images.made_by) for each in mine]
    bare = [name for name, recipe in gathered.poisons.get(folder, {}).items()
            if isinstance(recipe, dict) and _at_any_rate(recipe) not in used]  # fmt: skip
    if bare:
        said.append(f"made, and not trained on: {names.few(bare)}")
    begun = sum(len(list(folder.glob(pattern))) for pattern in BEGUN)
    if begun:
        said.append(f"{begun} {'file is' if begun == 1 else 'files are'} begun (.part)")
    return said


def _at_any_rate(recipe: Mapping[str, Any]) -> dict[str, Any]:
    """A recipe but for its poison rate: lower rates are made from the whole, which is no run's."""
    return {key: value for key, value in recipe.items() if key != "poison_rate"}


def _holes(results: Sequence[Result]) -> str:
    """What the crossing of these results has that none of them is; empty where that is nothing."""
    places = [(r.called, r.frame, r.model, r.seed) for r in results]
    axes = [list(dict.fromkeys(place[i] for place in places)) for i in range(len(AXES))]
    there = set(places)
    holes = [place for place in product(*axes) if place not in there]
    if not holes:
        return ""
    varied = [i for i, axis in enumerate(axes) if len(axis) > 1]
    crossing = " x ".join(f"{len(axes[i])} {AXES[i]}s" for i in varied)
    lost = [" ".join(f"seed {p[i]}" if AXES[i] == "seed" else str(p[i]) for i in varied)
            for p in holes]  # fmt: skip
    return (
        f"{len(there)} of the {len(there) + len(holes)} runs of {crossing} are here, "
        f"without {names.few(lost)}"
    )
