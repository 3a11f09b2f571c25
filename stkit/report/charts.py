"""Curves over a training as inline SVG, by epoch: means over seeds with a band, named at the end.

Measures are those of the SVG's own grid, which a page scales. Colours and what is seen on request
are the page's style: `.run` is a line with all that belongs to it, `.rest` one that is grey.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from math import ceil, floor, isfinite, log10
from statistics import fmean
from textwrap import wrap

from stkit.core.text import html
from stkit.report.lettering import spread
from stkit.report.result import Result

WIDTH, HEIGHT = 480, 250
LEFT, RIGHT, TOP, BOTTOM = 44, 112, 26, 34
POINTS = 300  # a line; of longer ones every n-th point is drawn
COLOURS = 8
TICKS = 6  # of whole epochs, and of powers of ten, at most so many and one
MAY_BREAK = "\v"  # blank to `wrap`, and in no name
LETTERS, LINES, LEADING = 13, 3, 15  # of a line's name: in a row, rows, height of one
BESIDE = 12  # from the axes to the names at their right
DECIMALS = 4  # powers of ten beyond that of it are written as such

Points = list[tuple[float, float]]


@dataclass(frozen=True)
class Line:
    """The trainings that differ in seeds alone, in a chart.

    Attributes:
        number: of what they are called, in a block of charts: what is pointed at or ticked.
        colour: from 0.
        points: means over seeds.
        band: x, the lowest and the highest seed; empty where there is one.
        marks: roll-backs, of all seeds.
        thresholds: what ACM was judged by.
        on: in colour from the first; the others are grey until they are asked for.
    """

    number: int
    colour: int
    name: str
    points: Points
    band: tuple[tuple[float, float, float], ...] = ()
    marks: Sequence[tuple[float, float]] = ()
    thresholds: tuple[float, ...] = ()
    on: bool = True


def accuracy(training: Result) -> Points:
    """Accuracy in percent, by epoch."""
    return [
        (epoch.number, epoch.accuracy * 100)
        for epoch in training.history
        if epoch.accuracy is not None
    ]


def retained(training: Result) -> Points:
    """The retained share in percent, by epoch."""
    return [
        (epoch.number, epoch.retained_share * 100)
        for epoch in training.history
        if epoch.retained_share is not None
    ]


def acm(training: Result) -> tuple[Points, Points]:
    """The ACM that was judged, by epoch or a fraction of one, and the checks that rolled back."""
    looked = [(epoch, check) for epoch in training.history for check in epoch.checks]
    # the last check of an epoch is at its end or not long before
    steps = max((check.step / epoch.number for epoch, check in looked), default=1.0)
    checks = [check for _, check in looked if isfinite(check.acm) and check.acm > 0]
    return (
        [(round(check.step / steps, 3), check.acm) for check in checks],
        [(round(check.step / steps, 3), check.acm) for check in checks if not check.kept],
    )


def merged(seeds: Sequence[Points]) -> tuple[Points, tuple[tuple[float, float, float], ...]]:
    """The mean over seeds at each x, and the lowest and highest where there are several."""
    at: dict[float, list[float]] = {}
    for points in seeds:
        for x, y in points:
            at.setdefault(x, []).append(y)
    places = sorted(at.items())
    band = tuple((x, min(ys), max(ys)) for x, ys in places) if len(seeds) > 1 else ()
    return [(x, fmean(ys)) for x, ys in places], band


@dataclass(frozen=True)
class Scale:
    """From values to places in the picture: from 0 to `right`, and from `low` to `high`.

    log: `low` and `high` are powers of ten. Otherwise they are percent. height: of the picture.
    """

    right: float
    low: int
    high: int
    log: bool
    height: float = HEIGHT

    def across(self, value: float) -> float:
        """The x of a value."""
        return round(LEFT + (WIDTH - LEFT - RIGHT) * value / self.right, 1)

    def down(self, value: float) -> float:
        """The y of a value."""
        return self.level(log10(value) if self.log else value)

    def level(self, value: float) -> float:
        """The y of a value, or of a power of ten."""
        share = (value - self.low) / (self.high - self.low)
        return round(self.height - BOTTOM - (self.height - TOP - BOTTOM) * share, 1)

    def place(self, point: tuple[float, float]) -> str:
        """Both, as SVG has them."""
        return f"{self.across(point[0])},{self.down(point[1])}"


def chart(lines: Sequence[Line], *, key: str, title: str, x: str, y: str, log: bool) -> str:
    """An SVG of lines; empty when there is nothing to draw. key: no other chart's on the page."""
    drawn = [line for line in lines if line.points]
    if not drawn:
        return ""
    values = [py for line in drawn for _, py in line.points]
    values += [value for line in drawn for value in line.thresholds if value > 0]
    values += [py for line in drawn for _, *pair in line.band for py in pair]
    values = [log10(value) for value in values] if log else values
    low, high = (floor(min(values)), ceil(max(values))) if log else (0, max(100, ceil(max(values))))
    names = {line.number: _rows(line.name) for line in drawn}
    heights = [LEADING * len(names[line.number]) + 2 for line in drawn if line.on]
    height = max(HEIGHT, sum(heights) + TOP + BOTTOM)
    right = max(px for line in drawn for px, _ in line.points) or 1
    scale = Scale(right, low, max(high, low + 1), log, height)
    wanted = [scale.down(line.points[-1][1]) for line in drawn if line.on]
    places = iter(spread(wanted, heights, TOP, height - BOTTOM))
    ends = {line.number: next(places) for line in drawn if line.on}
    ordered = sorted(drawn, key=lambda line: line.on)  # what is drawn last lies above
    return "".join([
        f'<svg viewBox="0 0 {WIDTH} {height:g}" data-within="{TOP} {height - BOTTOM:g}" role="img" '
        f'aria-label="{html(f"{title}. {_told(drawn, log=log)}")}">',
        *_axes(scale, x, y), *_thresholds(drawn, scale),
        *(element for line in ordered for element in _run(
            line, scale, f"{key}-{line.number}", names[line.number], ends.get(line.number))),
        "</svg>",
    ])  # fmt: skip


def _told(lines: Sequence[Line], *, log: bool) -> str:
    """The numbers at the ends of the lines in colour, for who does not see them."""
    form, unit = (".2g", "") if log else (".1f", " %")
    ends = [f"{line.name} {line.points[-1][1]:{form}}{unit}" for line in lines if line.on]
    more = len(lines) - len(ends)
    return f"At the end: {', '.join(ends)}" + (f"; {more} more" if more else "")


def _axes(scale: Scale, x: str, y: str) -> Iterator[str]:
    low, high = scale.low, scale.high
    bottom, right = scale.height - BOTTOM, WIDTH - RIGHT
    for tick in range(low, high + 1, -(-(high - low) // TICKS) if scale.log else 20):
        height, name = scale.level(tick), str(tick)
        if scale.log:
            name = f"{10.0**tick:g}" if abs(tick) <= DECIMALS else f"1e{tick}"
        yield f'<path class="grid" d="M{LEFT} {height}H{right}"/>'
        yield f'<text x="{LEFT - 6}" y="{height}" dy=".35em" text-anchor="end">{name}</text>'
    for number in range(0, floor(scale.right) + 1, whole_step(scale.right)):
        at = scale.across(number)
        yield f'<path class="tick" d="M{at} {bottom}v4"/>'
        yield f'<text x="{at}" y="{bottom + 17}" text-anchor="middle">{number}</text>'
    yield f'<text x="{right + BESIDE + 6}" y="{bottom + 17}">{html(x)}</text>'
    yield f'<text x="0" y="13">{html(y)}</text>'


def whole_step(right: float) -> int:
    """From tick to tick in whole epochs: 1, 2 or 5 times a power of ten, few enough to be read."""
    steps = (digit * int(10**power) for power in range(12) for digit in (1, 2, 5))
    return next(step for step in steps if right / step <= TICKS)


def _thresholds(lines: Sequence[Line], scale: Scale) -> Iterator[str]:
    """Gamma of the lines in colour, each once."""
    values = {value for line in lines if line.on for value in line.thresholds}
    for value in sorted(values):
        yield from _threshold(value, scale)


def _threshold(value: float, scale: Scale, *, below: bool = False) -> Iterator[str]:
    if value > 0 or not scale.log:
        down = scale.down(value)
        yield f'<path class="gamma" d="M{LEFT} {down}H{WIDTH - RIGHT}"/>'
        place = f'x="{LEFT + 4}" y="{down + (13 if below else -4):.1f}"'
        yield f'<text class="gamma" {place}>gamma {value:g}</text>'


def _run(line: Line, scale: Scale, key: str, rows: list[str], end: float | None) -> Iterator[str]:
    """A line, its band, its roll-backs, its threshold where it is one on request, and its name."""
    step = -(-len(line.points) // POINTS)
    shown = line.points[::step] + (line.points[-1:] if step > 1 else [])
    yield f'<g class="{styled("run", line)}"><title>{html(line.name)}</title>'
    if not line.on:
        yield '<g class="asked">'
        for value in line.thresholds:
            yield from _threshold(value, scale, below=True)
        yield "</g>"
    if line.band:
        low = [(x, least) for x, least, _ in line.band[::step]]
        high = [(x, most) for x, _, most in line.band[::step]]
        corners = " ".join(map(scale.place, [*low, *reversed(high)]))
        yield f'<polygon class="band" points="{corners}"/>'
    places = " ".join(map(scale.place, shown))
    yield f'<polyline id="{key}" points="{places}"/><use class="hit" href="#{key}"/>'
    dots = [(mark, 3.5) for mark in line.marks[:POINTS]]
    dots += [(shown[0], 3.0)] if len(shown) == 1 else []
    for point, radius in dots:
        across, down = scale.place(point).split(",")
        yield f'<circle cx="{across}" cy="{down}" r="{radius:g}"/>'
    yield from _name(line, scale, rows, end)
    yield "</g>"


def _name(line: Line, scale: Scale, rows: list[str], end: float | None) -> Iterator[str]:
    """The name at the line's end; end: where there is room for it. Else it waits to be asked for.

    data-y and data-h: where it would best be and how high it is, for the page to make room.
    """
    x, y = scale.across(line.points[-1][0]), scale.down(line.points[-1][1])
    beside, down = WIDTH - RIGHT + BESIDE, y if end is None else end
    first = down - LEADING * (len(rows) - 1) / 2
    about = f'data-y="{y}" data-h="{LEADING * len(rows) + 2}" data-at="{down:.1f}"'
    yield f'<g class="end" {about}><path d="M{x + 2} {y}L{beside - 3} {down:.1f}"/>'
    lines = "".join(
        f'<tspan x="{beside}" dy="{LEADING if number else ".35em"}">{html(row)}</tspan>'
        for number, row in enumerate(rows)
    )
    yield f'<text y="{first:.1f}">{lines}</text></g>'


def _rows(name: str) -> list[str]:
    """A name in rows that fit beside a chart, broken after commas too, cut where it is too long."""
    rows = wrap(
        name.replace(",", f",{MAY_BREAK}"), LETTERS, max_lines=LINES, placeholder="…",
        replace_whitespace=False,
    )  # fmt: skip
    return [row.replace(MAY_BREAK, "") for row in rows] or [name]


def styled(kind: str, line: Line) -> str:
    """The classes of a line of this number, or of its key."""
    return f"{kind} l{line.number} c{line.colour % COLOURS}" + ("" if line.on else " rest")
