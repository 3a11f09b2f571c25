"""The look of all pictures: readable in print, one column or two wide, and by the colour-blind.

Lines are told apart by colour (Okabe and Ito's, "Color Universal Design", 2008, with grey for
their yellow, which no paper shows), from the ninth on also by dashes. Their names stand at their
ends, not in a legend. Numbers here are points, inches where that is said.
"""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from textwrap import fill
from typing import TYPE_CHECKING, Any

from stkit.core.errors import ArtifactError
from stkit.core.text import figure as harmless
from stkit.report.lettering import spread

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure
    from matplotlib.lines import Line2D

COLUMN, PAGE = 3.4, 7.0
"""Inches: the width of one column of a paper, and of two."""
FONT = 8.0
COLOURS = (
    "#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#000000", "#8A8A8A",
)  # fmt: skip
DASHES: tuple[tuple[float, ...], ...] = ((), (7, 2), (7, 2, 1.5, 2), (3, 1.2))
"""Of a line's number divided by how many colours there are; dots mean something else."""
MOST = len(COLOURS) * len(DASHES)  # lines that can be told apart
DOTS = (1, 1.3)
"""For a second line of the same look: training beside test."""
GRID = "#D8D8D8"
LINE, THIN = 1.4, 0.6
WIDE = 26  # characters of a label's line
LEADING = 1.25  # of a label, in heights of the font
GAP = 10.0  # from the axes to the labels at their right
RC: dict[str, Any] = {
    "font.size": FONT, "axes.titlesize": FONT, "axes.labelsize": FONT, "xtick.labelsize": FONT,
    "ytick.labelsize": FONT, "legend.fontsize": FONT, "figure.titlesize": FONT,
    "figure.figsize": (PAGE, PAGE / 2), "figure.dpi": 200, "savefig.dpi": "figure",
    "axes.spines.top": False, "axes.spines.right": False, "axes.linewidth": THIN,
    "axes.grid": True, "axes.axisbelow": True, "grid.color": GRID, "grid.linewidth": 0.4,
    "xtick.major.width": THIN, "ytick.major.width": THIN, "lines.linewidth": LINE,
    "lines.markersize": 3.5, "lines.solid_capstyle": "round", "legend.frameon": False,
    "image.cmap": "cividis", "svg.fonttype": "none", "svg.hashsalt": "stkit", "pdf.fonttype": 42,
}  # fmt: skip
METADATA: dict[str, dict[str, None]] = {
    "png": {}, "svg": {"Date": None}, "pdf": {"CreationDate": None},
}  # fmt: skip
"""Of a file, by its type: the same picture is the same bytes."""


@contextmanager
def applied() -> Iterator[None]:
    """Matplotlib's settings for these pictures, whatever the user's own; put back at the end."""
    from matplotlib.style import context

    with context(["default", RC]):
        yield


@dataclass(frozen=True)
class Look:
    """A line's colour, and its dashes (none: solid)."""

    colour: str
    dashes: tuple[float, ...]

    @property
    def line(self) -> str | tuple[float, tuple[float, ...]]:
        """What matplotlib calls a line style."""
        return (0, self.dashes) if self.dashes else "-"


def look(number: int) -> Look:
    """That of a line by its number from 0: no other number has it. ArtifactError: too many."""
    if number >= MOST:
        raise ArtifactError(
            f"found more than {MOST} lines, which nobody can tell apart; pass fewer files"
        )
    again, colour = divmod(number, len(COLOURS))
    return Look(COLOURS[colour], DASHES[again])


def width(columns: int | None, usual: int = 2) -> float:
    """Inches: the width of so many columns of a paper, 1 or 2."""
    return COLUMN if (columns or usual) == 1 else PAGE


def sized(figure: "Figure", width: float = PAGE, height: float | None = None) -> None:
    """Make the figure as wide as COLUMN or PAGE, in inches; height: by default by the width."""
    usual = width / 2 if width == PAGE else 0.75 * width
    figure.set_size_inches(width, usual if height is None else height)


def by_number(axes: "Axes", name: str, last: float, *, first: float = 1) -> None:
    """Let an axes have epochs, or what else is counted, from left to right: ticks at whole ones."""
    from matplotlib.ticker import MaxNLocator

    pad = min(0.5, 0.1 + last / 60)
    axes.set(xlabel=name, xlim=(first - pad, last + pad))
    axes.xaxis.set_major_locator(MaxNLocator(integer=True, min_n_ticks=1, steps=[1, 2, 5, 10]))


@dataclass(frozen=True)
class Mark:
    """A dot in the data's numbers, what is written at it (empty: nothing), and its line's look."""

    text: str
    x: float
    y: float
    look: Look


def mark(axes: "Axes", marks: Sequence[Mark]) -> None:
    """Dots, each with its text above it or below, or without where another's stands there.

    To be called when the limits and scales are as they will be.
    """
    if marks:
        _lay_out(axes)
    unit = axes.figure.dpi / 72
    taken: list[tuple[float, float]] = []
    for each in marks:
        axes.plot(each.x, each.y, "o", color=each.look.colour, clip_on=False)
        x, y = (float(value) / unit for value in axes.transData.transform((each.x, each.y)))
        side = above_or_below((x, y), taken, wide=FONT * 0.7 * max(1, len(each.text)))
        if side and each.text:
            taken.append((x, y + side * FONT))
            label(axes, each.text, each.x, each.y, each.look, (0, side * FONT))


def label(
    axes: "Axes", text: str, x: float, y: float, look: Look, by: tuple[float, float] = (4, 0)
) -> None:
    """A text at a point in the data's numbers: to the right of it, or centred and moved `by`."""
    from matplotlib.patheffects import withStroke

    axes.annotate(
        harmless(text), (x, y), by, textcoords="offset points", ha="left" if by[0] else "center",
        va="center", color=look.colour, zorder=4, annotation_clip=False,
        path_effects=[withStroke(linewidth=1.5, foreground="white")],
    )  # fmt: skip


def above_or_below(
    place: tuple[float, float], taken: Sequence[tuple[float, float]], *, wide: float
) -> int:
    """Where there is room for a text at a dot: 1 above it, else -1 below, else 0: nowhere."""
    x, y = place
    free = [
        side
        for side in (1, -1)
        if all(abs(x - a) >= wide or abs(y + side * FONT - b) >= FONT for a, b in taken)
    ]
    return free[0] if free else 0


def key(axes: "Axes", handles: Sequence["Line2D"]) -> None:
    """What kinds of lines mean, above the axes; which line is which stands at its end."""
    axes.legend(
        handles=handles, loc="lower left", bbox_to_anchor=(0, 1),
        ncols=len(handles) if _wide(axes) else 1, borderaxespad=0.2, borderpad=0.2,
        handlelength=2.2,
    )  # fmt: skip


def rolled_back() -> "Line2D":
    """What a `Mark` of a roll-back means, for `key`."""
    from matplotlib.lines import Line2D

    return Line2D(
        [], [], color="black", marker="o", linestyle="", label=r"rolled back, stage $\tau$ begins"
    )


@dataclass(frozen=True)
class End:
    """The last point of a line, in the data's numbers, and what the line is called."""

    text: str
    x: float
    y: float
    look: Look


def label_ends(axes: "Axes", ends: Sequence[End]) -> None:
    """Write the lines' names at the right of the axes, each near its line's end, none over another.

    To be called last, when the limits and scales are as they will be. Where the names need more
    height than there is, the figure grows.
    """
    from matplotlib.transforms import offset_copy

    figure = _lay_out(axes)
    names = [fill(harmless(end.text), WIDE if _wide(axes) else WIDE // 2) for end in ends]
    unit = figure.dpi / 72 * FONT * LEADING
    heights = [unit * (name.count("\n") + 1) for name in names]
    while (box := axes.get_window_extent()).height < sum(heights):
        figure.set_figheight(figure.get_figheight() * sum(heights) / box.height * 1.02)
        _lay_out(axes)
    wanted = [float(axes.transData.transform((end.x, end.y))[1]) for end in ends]
    places = spread(wanted, heights, box.y0, box.y1)
    beside = offset_copy(axes.transAxes, fig=figure, x=GAP, units="points")
    for end, name, place in zip(ends, names, places, strict=True):
        axes.annotate(
            name, (end.x, end.y), (1.0, (place - box.y0) / box.height), textcoords=beside,
            annotation_clip=False, color=end.look.colour, va="center", linespacing=1.0,
            arrowprops={"arrowstyle": "-", "color": end.look.colour, "linewidth": THIN,
                        "shrinkA": 0, "shrinkB": 1, "relpos": (0, 0.5)},
        )  # fmt: skip


def _wide(axes: "Axes") -> bool:
    """Whether the figure is more than one column wide."""
    return bool(axes.figure.bbox.width / axes.figure.dpi > COLUMN + 0.1)


def _lay_out(axes: "Axes") -> "Figure":
    """Decide where the axes are, as drawing does; the figure that they are in."""
    from matplotlib.figure import Figure

    figure = axes.figure
    assert isinstance(figure, Figure), "no figure within another"
    engine = figure.get_layout_engine()
    assert engine is not None, "figures are laid out by constraints"
    engine.execute(figure)
    return figure
