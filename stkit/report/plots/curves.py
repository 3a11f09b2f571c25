"""Accuracy by epoch (Figures 1, 5, 6 of the ST paper): early, and then no more."""

from collections.abc import Callable, Iterator, Sequence
from itertools import pairwise
from pathlib import Path
from typing import TYPE_CHECKING

from stkit.report.plots.asked import Asked, Rows

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

    from stkit.report.plots.runs import Run
    from stkit.report.plots.style import Look, Mark

ABOUT = "training and test accuracy by epoch, roll-backs and stages"
FILES = "checkpoints, or results of stkit bench"
TAKES = ("columns",)


def draw(
    figure: "Figure", paths: Sequence[Path], asked: Asked, *, on_note: Callable[[str], None]
) -> Rows:
    """Draw two lines a training, those that differ in seeds alone in one look.

    A dot is an epoch that was rolled back, with the number of the stage tau that begins with it;
    what it shows are the weights that were given up. ArtifactError where there is no test
    accuracy at all.
    """
    from stkit.core.errors import ArtifactError
    from stkit.report.plots import style
    from stkit.report.plots.runs import runs

    axes, drawn = figure.subplots(), runs(paths, on_note=on_note)
    style.sized(figure, style.width(asked.columns))
    rows: Rows = []
    ends: dict[int, style.End] = {}  # by the look's number
    marks: list[Mark] = []
    untested: list[str] = []
    for run in drawn:
        look, mine = style.look(run.number), _rows(run)
        rows += mine
        tested = [row for row in mine if row["accuracy"] is not None]
        _line(axes, mine, "train_accuracy", look, training=True)
        if not tested:
            untested.append(run.name)
            continue
        _line(axes, tested, "accuracy", look)
        marks += _marks(tested, look, named=run.number not in ends)
        _phases(axes, mine, look)
        last = tested[-1]
        ends[run.number] = style.End(
            run.name, float(last["epoch"] or 0), _percent(last["accuracy"]), look
        )
    if not ends:
        raise ArtifactError(
            "found no accuracy on test images in these files, which train --test SOURCE takes"
        )
    if untested:
        names = "; ".join(dict.fromkeys(untested))
        on_note(f"note: {names}: no test accuracy, which train --test SOURCE takes")
    axes.set(ylabel="accuracy, %", ylim=(0, 100))
    _key(axes, rows, " or ".join(sorted({run.result.split for run in drawn})))
    style.by_number(axes, "epoch", max(float(row["epoch"] or 0) for row in rows))
    style.mark(axes, marks)
    style.label_ends(axes, list(ends.values()))
    return rows


def _rows(run: "Run") -> Rows:
    """A row an epoch; tau: the stage after it, empty in a phase that is not judged."""
    rows: Rows = []
    tau: dict[int, int] = {}  # by phase
    judged = {epoch.phase for epoch in run.result.history if epoch.checks}
    for epoch in run.result.history:
        if epoch.phase in judged:
            tau[epoch.phase] = epoch.checks[-1].tau if epoch.checks else tau.get(epoch.phase, 0)
        rows.append(
            run.row() | {
                "epoch": epoch.number, "phase": epoch.phase,
                "train_accuracy": epoch.train_accuracy, "accuracy": epoch.accuracy,
                "rolled_back": int(any(not check.kept for check in epoch.checks)),
                "tau": tau.get(epoch.phase),
            }
        )  # fmt: skip
    return rows


def _percent(share: str | int | float | None) -> float:
    return 100 * float(share or 0)


def _line(axes: "Axes", rows: Rows, key: str, look: "Look", *, training: bool = False) -> None:
    """One line of accuracy; training: dotted and thin."""
    from stkit.report.plots import style

    points = [(row["epoch"], _percent(row[key])) for row in rows if row[key] is not None]
    if points:
        axes.plot(
            *zip(*points, strict=True), color=look.colour,
            linestyle=(0, style.DOTS) if training else look.line,
            linewidth=style.LINE / 1.4 if training else style.LINE,
            marker="o" if len(points) == 1 else "", clip_on=False,
        )  # fmt: skip


def _marks(rows: Rows, look: "Look", *, named: bool) -> Iterator["Mark"]:
    """Where a training rolled back; named: with the stage that began."""
    from stkit.report.plots import style

    for row in rows:
        if row["rolled_back"]:
            text = str(row["tau"]) if named else ""
            yield style.Mark(text, float(row["epoch"] or 0), _percent(row["accuracy"]), look)


def _phases(axes: "Axes", rows: Rows, look: "Look") -> None:
    """A line up where a phase after the first begins."""
    from stkit.report.plots import style

    for before, row in pairwise(rows):
        if before["phase"] != row["phase"]:
            x = float(row["epoch"] or 0) - 0.5
            axes.axvline(x, color=look.colour, linewidth=style.THIN)
            axes.annotate(
                f"phase {row['phase']}", (x, 0), (3, 4), textcoords="offset points",
                color=look.colour,
            )  # fmt: skip


def _key(axes: "Axes", rows: Rows, tested: str) -> None:
    """What solid, dotted and dots mean, above the axes."""
    from matplotlib.lines import Line2D

    from stkit.report.plots import style

    solid = Line2D([], [], color="black", label=f"clean {tested} images")
    dotted = Line2D([], [], color="black", linestyle=(0, style.DOTS), label="training images")
    dots = [style.rolled_back()] if any(row["rolled_back"] for row in rows) else []
    style.key(axes, [solid, dotted, *dots])
