"""Lines of means over seeds, with what lies between the lowest and the highest seed."""

from collections.abc import Sequence
from typing import TYPE_CHECKING

from stkit.report.plots import style

if TYPE_CHECKING:
    from matplotlib.axes import Axes

    from stkit.report.sweeps import Sweep


def draw(axes: "Axes", places: Sequence[float], sweep: "Sweep", look: style.Look) -> style.End:
    """Draw a line, its points at these places from left to right, in percent; its end."""
    means = [100 * point.group.mean for point in sweep.points]
    axes.plot(places, means, marker="o", linestyle=look.line, color=look.colour)
    if any(point.low < point.high for point in sweep.points):
        low = [100 * point.low for point in sweep.points]
        high = [100 * point.high for point in sweep.points]
        axes.fill_between(places, low, high, color=look.colour, alpha=0.2, linewidth=0)
    return style.End(sweep.name, places[-1], means[-1], look)


def label(drawn: Sequence[tuple["Axes", Sequence[style.End]]]) -> None:
    """Name the lines of panels beside each other: in the last one, where all have the same."""
    looks = [{(end.text, end.look) for end in ends} for _, ends in drawn]
    same = all(each == looks[-1] for each in looks)
    for axes, ends in drawn[-1:] if same else drawn:
        style.label_ends(axes, ends)
