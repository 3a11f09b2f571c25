"""Accuracy by epoch (Figures 1, 5, 6 of the ST paper): early, and then no more.

Where trainings have it, below it the share of their accuracy that washed images retain, with the
least that passes; see `recipes.purifiers`.
"""

from collections.abc import Callable, Iterator, Sequence
from itertools import pairwise
from pathlib import Path
from typing import TYPE_CHECKING

from stkit.recipes import purifiers
from stkit.report.plots.asked import Asked, Row, Rows

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure
    from matplotlib.lines import Line2D

    from stkit.report.history import Epoch
    from stkit.report.plots.runs import Run
    from stkit.report.plots.style import End, Look, Mark

ABOUT = "training and test accuracy by epoch, roll-backs and stages"
FILES = "checkpoints, or results of stkit bench"
TAKES = ("columns",)


def draw(
    figure: "Figure", paths: Sequence[Path], asked: Asked, *, on_note: Callable[[str], None]
) -> Rows:
    """Draw two lines a training, those that differ in seeds alone in one look.

    A dot is an epoch that was rolled back, with the number of the stage tau that begins with it;
    what it shows are the weights that were given up. ArtifactError where there is neither test
    accuracy nor a retained share.
    """
    from stkit.core.errors import ArtifactError
    from stkit.report.plots import style
    from stkit.report.plots.runs import runs

    drawn = runs(paths, on_note=on_note)
    washed = _purifiers(drawn)
    width = style.width(asked.columns)
    style.sized(figure, width, max(0.7 * width, 4) if washed else None)
    places = figure.subplots(2 if washed else 1, sharex=True, squeeze=False)[:, 0]
    axes = places[0]
    rows: Rows = []
    ends: dict[int, style.End] = {}  # by the look's number
    marks: list[Mark] = []
    untested: list[str] = []
    for run in drawn:
        look, mine = style.look(run.number), _rows(run, washed)
        rows += mine
        tested = [row for row in mine if row["accuracy"] is not None]
        _line(axes, mine, "train_accuracy", look, training=True)
        if not tested:
            untested.append(run.name)
            continue
        _line(axes, tested, "accuracy", look)
        marks += _marks(tested, look, named=run.number not in ends)
        _phases(axes, mine, look)
        ends[run.number] = _end(run, tested[-1], "accuracy")
    if not ends and not washed:
        raise ArtifactError(
            "found no accuracy on test images in these files, which train --test SOURCE takes"
        )
    _note(untested, "no test accuracy, which train --test SOURCE takes", on_note)
    axes.set(ylabel="accuracy, %", ylim=(0, 100))
    _key(axes, rows, " or ".join(sorted({run.result.split for run in drawn})))
    for each in places:
        name = "epoch" if each is places[-1] else ""
        style.by_number(each, name, max(float(row["epoch"] or 0) for row in rows))
    if washed:
        _retained(places[1], [(run, _rows(run, washed)) for run in drawn], on_note)
    figure.align_ylabels()
    style.mark(axes, marks)
    style.label_ends(axes, list(ends.values()))
    return rows


def _purifiers(drawn: Sequence["Run"]) -> list[str]:
    """The purifiers by which any of the trainings was measured."""
    each = (
        name for run in drawn for epoch in run.result.history for name in epoch.purified_accuracy
    )
    return list(dict.fromkeys(each))


def _retained(
    axes: "Axes", drawn: Sequence[tuple["Run", Rows]], on_note: Callable[[str], None]
) -> None:
    """The share that each training retains, and the least that passes."""
    from stkit.report.plots import style

    ends: dict[int, style.End] = {}
    for run, rows in drawn:
        look = style.look(run.number)
        _line(axes, rows, "least_share", look, training=True)
        shown = [row for row in rows if row["retained_share"] is not None]
        _line(axes, shown, "retained_share", look)
        if shown:
            ends[run.number] = _end(run, shown[-1], "retained_share")
    without = [run.name for run, _ in drawn if run.number not in ends]
    _note(without, "no retained share, which train --holdout N --purified takes", on_note)
    axes.set(ylabel="retained share, %", ylim=(0, max(100, axes.dataLim.y1)))
    _said(axes, "accuracy that washed images retain", "the least that passes")
    style.label_ends(axes, list(ends.values()))


def _rows(run: "Run", washed: Sequence[str]) -> Rows:
    """A row an epoch; tau: the stage after it, empty in a phase that is not judged. washed: the
    purifiers by which any of the trainings was measured."""
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
            } | (_washed(run, epoch, washed) if washed else {})
        )  # fmt: skip
    return rows


def _washed(run: "Run", epoch: "Epoch", names: Sequence[str]) -> Row:
    """What washed images retain at an epoch; least_share: empty where nothing can be judged."""
    h, classes = epoch.holdout_accuracy, run.result.classes
    count = run.result.setup.get("train.holdout") or 0
    least = None
    if h and classes and count and purifiers.learned(h, classes, count):
        least = purifiers.least_share(h, classes)
    by = {name.replace(",", "+"): epoch.purified_accuracy.get(name) for name in names}
    return {
        "holdout_accuracy": h,
        **{f"purified_accuracy:{name}": value for name, value in by.items()},
        "retained_share": epoch.retained_share, "least_share": least,
    }  # fmt: skip


def _end(run: "Run", row: Row, key: str) -> "End":
    """Where a line ends whose last row this is."""
    from stkit.report.plots import style

    return style.End(run.name, float(row["epoch"] or 0), _percent(row[key]), style.look(run.number))


def _note(names: Sequence[str], lack: str, on_note: Callable[[str], None]) -> None:
    """Name the trainings that lack something."""
    if names:
        on_note(f"note: {'; '.join(dict.fromkeys(names))}: {lack}")


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
    from stkit.report.plots import style

    dots = [style.rolled_back()] if any(row["rolled_back"] for row in rows) else []
    _said(axes, f"clean {tested} images", "training images", *dots)


def _said(axes: "Axes", solid: str, dotted: str, *more: "Line2D") -> None:
    from matplotlib.lines import Line2D

    from stkit.report.plots import style

    line = Line2D([], [], color="black", label=solid)
    dots = Line2D([], [], color="black", linestyle=(0, style.DOTS), label=dotted)
    style.key(axes, [line, dots, *more])
