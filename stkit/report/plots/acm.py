"""ACM by step, as it was judged."""

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from stkit.report.plots.asked import Asked, Rows

if TYPE_CHECKING:
    from matplotlib.figure import Figure

ABOUT = "ACM by step"
FILES = "checkpoints, or results of stkit bench"
TAKES = ()


def draw(
    figure: "Figure", paths: Sequence[Path], asked: Asked, *, on_note: Callable[[str], None]
) -> Rows:
    """Draw a line a training; those that differ in seeds alone share a look."""
    from stkit.core.errors import ArtifactError
    from stkit.report import charts
    from stkit.report.plots import style
    from stkit.report.plots.runs import runs

    axes, rows, ends = figure.subplots(), [], {}
    for run in runs(paths, on_note=on_note):
        (points, marks), look = charts.acm(run.result), style.look(run.number)
        if points:
            axes.plot(*zip(*points, strict=True), color=look.colour, linestyle=look.line)
            axes.plot(*zip(*marks, strict=True), "o", color=look.colour) if marks else None
            ends[run.name] = style.End(run.name, *points[-1], look)
        rows += [run.row() | {"step": int(x), "acm": y} for x, y in points]
    if not rows:
        raise ArtifactError("found no acm in these files; train with a staged frame")
    axes.set(xlabel="step", ylabel="ACM (dots: rolled back)", yscale="log")
    style.label_ends(axes, list(ends.values()))
    return rows
