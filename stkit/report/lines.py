"""Lines of trainings in a picture, as several kinds of `stkit plot` draw them."""

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from stkit.core.errors import ArtifactError
from stkit.core.text import figure as figure_text
from stkit.report import gather
from stkit.report.charts import Points
from stkit.report.groups import Group, grouped
from stkit.report.result import Result

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure


def draw(
    figure: "Figure", paths: Sequence[Path], *, what: str,
    points: Callable[[Result], tuple[Points, Points]], on_note: Callable[[str], None],
) -> tuple["Axes", list[Group]]:  # fmt: skip
    """Draw a line a training into an empty figure; those that differ in seeds share a colour.

    points: of a training's line, and those to be marked. Returns the axes and the trainings.
    ArtifactError when none has any; `what` is what it lacks.
    """
    axes = figure.subplots()
    groups = grouped(gather.noted(paths, on_note=on_note).results, None)
    grounds = {group.first.ground for group in groups}
    for number, group in enumerate(groups):
        label = figure_text(group.frame if len(grounds) == 1 else _called(group))
        for result in group.results:
            line, marks = points(result)
            if not line:
                continue
            axes.plot(*zip(*line, strict=True), color=f"C{number}", label=label)
            if marks:
                axes.plot(*zip(*marks, strict=True), "o", color=f"C{number}", markersize=4)
            label = "_"  # once in the legend
    if not axes.lines:
        raise ArtifactError(f"found no {what} in these files; pass checkpoints or results of runs")
    axes.legend(frameon=False)
    return axes, groups


def _called(group: Group) -> str:
    result = group.first
    return f"{result.called} {group.frame} {result.model}"
