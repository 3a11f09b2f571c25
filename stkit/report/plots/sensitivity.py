"""Accuracy by gamma and by beta, the ST paper's Figure 9."""

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from stkit.core.errors import ArtifactError
from stkit.report import sweeps
from stkit.report.plots import bands, runs, style
from stkit.report.plots.asked import Asked, Rows

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

ABOUT = "accuracy by gamma and by beta (Fig. 9), of trainings that differ in one of them"
FILES = "folders of stkit bench, or checkpoints"
TAKES: tuple[str, ...] = ()
ACROSS = {
    "gamma": "\N{GREEK SMALL LETTER GAMMA}, the threshold of ACM",
    "beta": "\N{GREEK SMALL LETTER BETA}, one by the number of stages",
}


def draw(
    figure: "Figure", paths: Sequence[Path], asked: Asked, *, on_note: Callable[[str], None]
) -> Rows:
    """Draw a panel for each of the two settings that has lines: means over seeds, and their range.

    Dotted: the default. ArtifactError where no two trainings differ in one of the two alone.
    """
    results = runs.finished(paths, on_note=on_note)
    panels = {key: sweeps.staged(results, key) for key in ACROSS}
    panels["gamma"] = _positive(panels["gamma"], on_note)
    panels = {key: lines for key, lines in panels.items() if lines}
    if not panels:
        raise ArtifactError(
            "found no two tested trainings that differ in gamma or in beta alone, expected some; "
            "make them by `stkit bench` with a grid such as results/grids/figure9.toml"
        )
    style.sized(figure, style.PAGE if len(panels) > 1 else style.PAGE / 2, 2.6)
    drawn: list[tuple[Axes, list[style.End]]] = []
    places = figure.subplots(1, len(panels), squeeze=False, sharey=True)[0]
    for axes, (key, lines) in zip(places, panels.items(), strict=True):
        ends = (_by_gamma if key == "gamma" else _by_beta)(axes, lines)
        letter = f"({'ab'[len(drawn)]}) " if len(panels) > 1 else ""
        axes.set_xlabel(f"{letter}{ACROSS[key]}")
        drawn.append((axes, ends))
    split = " or ".join(sorted({line.one.split for lines in panels.values() for line in lines}))
    drawn[0][0].set_ylabel(f"accuracy on clean {split} images, %")
    bands.label(drawn)
    return [row for key, lines in panels.items() for line in lines for row in line.rows(key)]


def _positive(lines: Sequence[sweeps.Sweep], on_note: Callable[[str], None]) -> list[sweeps.Sweep]:
    """Without what an axis of logarithms has no place for."""
    shown = [sweeps.drawable(line) for line in lines]
    if any(len(a.points) != len(b.points) for a, b in zip(lines, shown, strict=True)):
        on_note("note: left out gamma 0 and infinity, which an axis of logarithms does not show")
    return [line for line in shown if len(line.points) > 1]


def _by_gamma(axes: "Axes", lines: Sequence[sweeps.Sweep]) -> list[style.End]:
    axes.set_xscale("log")
    ends = [
        bands.draw(axes, [point.value for point in line.points], line, style.look(number))
        for number, line in enumerate(lines)
    ]
    for value in {sweeps.default(line.one.setup, "gamma") for line in lines}:
        _mark(axes, value)
    return ends


def _by_beta(axes: "Axes", lines: Sequence[sweeps.Sweep]) -> list[style.End]:
    """Beside each other, whatever the distance: from the largest beta to the smallest."""
    values = sorted({point.value for line in lines for point in line.points}, reverse=True)
    axes.set_xticks(range(len(values)), [sweeps.fraction(value) for value in values])
    ends = []
    for number, line in enumerate(lines):
        turned = sweeps.Sweep(line.name, line.points[::-1])
        places = [values.index(point.value) for point in turned.points]
        ends.append(bands.draw(axes, places, turned, style.look(number)))
    usual = sweeps.default(lines[0].one.setup, "beta")
    if usual in values:
        _mark(axes, values.index(usual))
    return ends


def _mark(axes: "Axes", place: float) -> None:
    """The default."""
    axes.axvline(place, color="0.35", linestyle=":", linewidth=1, zorder=0)
    axes.annotate(
        "default", (place, 1), xycoords=axes.get_xaxis_transform(), ha="center", va="bottom",
        color="0.35",
    )  # fmt: skip
