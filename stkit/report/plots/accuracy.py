"""Accuracy by epoch."""

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from matplotlib.figure import Figure

ABOUT = "accuracy by epoch, of checkpoints and of the results of stkit bench"


def draw(figure: "Figure", paths: Sequence[Path], *, on_note: Callable[[str], None]) -> None:
    """Draw a line a training; those that differ in seeds alone share a colour."""
    from stkit.report import charts, lines

    axes, groups = lines.draw(
        figure, paths, what="accuracy", points=lambda r: (charts.accuracy(r), []), on_note=on_note
    )
    tested = " or ".join(sorted({group.first.split for group in groups}))
    axes.set(xlabel="epoch", ylabel=f"accuracy on clean {tested} images, %", ylim=(0, 100))
