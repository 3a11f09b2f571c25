"""ACM by step, as it was judged."""

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from matplotlib.figure import Figure

ABOUT = "ACM by step, of checkpoints and of the results of stkit bench"


def draw(figure: "Figure", paths: Sequence[Path], *, on_note: Callable[[str], None]) -> None:
    """Draw a line a training; those that differ in seeds alone share a colour."""
    from stkit.report import charts, lines

    axes, _ = lines.draw(figure, paths, what="acm", points=charts.acm, on_note=on_note)
    axes.set(xlabel="step", ylabel="ACM (dots: rolled back)", yscale="log")
