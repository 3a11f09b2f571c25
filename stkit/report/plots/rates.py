"""Accuracy by poison rate, the ST paper's Tables 7 and 8 as lines."""

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from stkit.core.errors import ArtifactError
from stkit.core.text import figure as figure_text
from stkit.report import sweeps
from stkit.report.plots import bands, runs, style
from stkit.report.plots.asked import Asked, Rows

if TYPE_CHECKING:
    from matplotlib.figure import Figure

ABOUT = "accuracy by poison rate (Tables 7 and 8), a panel a poison, a line a frame"
FILES = "folders of stkit bench, or checkpoints"
TAKES: tuple[str, ...] = ()
ACROSS = {1: 1, 2: 2, 4: 2}
"""How many panels are in a row, by how many there are; else three."""


def draw(
    figure: "Figure", paths: Sequence[Path], asked: Asked, *, on_note: Callable[[str], None]
) -> Rows:
    """Draw a panel for each poison, data set and model: means over seeds, and their range.

    Rate 0 are the clean images. ArtifactError where no poison has two rates.
    """
    from matplotlib.ticker import MultipleLocator

    panels = sweeps.by_rate(runs.finished(paths, on_note=on_note))
    if not panels:
        raise ArtifactError(
            "found no poison at two rates, tested, expected some; make them by `stkit rate`, or by "
            "`stkit bench` with a grid such as results/grids/rates.toml"
        )
    frames = list(dict.fromkeys(line.name for lines in panels for line in lines))
    across = ACROSS.get(len(panels), 3)
    down = -(-len(panels) // across)
    style.sized(figure, min(style.PAGE, 3.2 * across), 2.4 * down)
    places = figure.subplots(down, across, squeeze=False, sharey=True)
    drawn = []
    for axes, lines in zip(places.flat, panels, strict=False):
        ends = [
            bands.draw(
                axes, [point.value for point in line.points], line,
                style.look(frames.index(line.name)),
            )
            for line in lines
        ]  # fmt: skip
        axes.set(xlabel="poison rate", ylim=(0, 100))
        axes.xaxis.set_major_locator(MultipleLocator(0.2))
        axes.set_title(figure_text(_title(lines, panels)), loc="left")
        drawn.append((axes, ends))
    for axes in places.flat[len(panels) :]:
        axes.set_axis_off()
    split = " or ".join(sorted({line.one.split for lines in panels for line in lines}))
    for axes in places[:, 0]:
        axes.set_ylabel(f"accuracy on clean {split} images, %")
    for row in range(down):
        bands.label(drawn[row * across : (row + 1) * across])
    return [row for lines in panels for line in lines for row in line.rows("poison_rate")]


def _title(lines: Sequence[sweeps.Sweep], panels: Sequence[Sequence[sweeps.Sweep]]) -> str:
    """The poison, and what else tells this panel from the others."""
    first, every = lines[0].one, [each[0].one for each in panels]
    words = [first.poison]
    if len({result.model for result in every}) > 1:
        words.append(first.model)
    if len({result.data for result in every}) > 1:
        words.append(first.data[0])
    return ", ".join(words)
