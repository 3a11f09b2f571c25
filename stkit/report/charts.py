"""Curves over a training as inline SVG: accuracy by epoch, ACM by step."""

from collections.abc import Iterator
from dataclasses import dataclass
from math import ceil, floor, isfinite, log10

from stkit.core.text import html
from stkit.report.result import Result

WIDTH, HEIGHT = 460, 250
LEFT, RIGHT, TOP, BOTTOM = 46, 18, 24, 34
POINTS = 300  # a line; of longer ones every n-th point is drawn
COLOURS = 8
TICKS = 8  # powers of ten that have a name, at most so many and one

Points = list[tuple[float, float]]


@dataclass(frozen=True)
class Line:
    """A training's line in a chart."""

    number: int  # of what it is called: trainings that share it share a colour
    name: str
    points: Points
    marks: Points  # roll-backs
    on: bool = False  # drawn in colour among many, which are grey


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
    """The ACM that was judged, by step, and the checks that rolled back."""
    checks = [
        check
        for epoch in training.history
        for check in epoch.checks
        if isfinite(check.acm) and check.acm > 0
    ]
    return (
        [(check.step, check.acm) for check in checks],
        [(check.step, check.acm) for check in checks if not check.kept],
    )


@dataclass(frozen=True)
class Scale:
    """From values to places in the picture: from 0 to `right`, and from `low` to `high`.

    log: `low` and `high` are powers of ten. Otherwise they are percent.
    """

    right: float
    low: int
    high: int
    log: bool

    def across(self, value: float) -> str:
        """The x of a value."""
        return f"{LEFT + (WIDTH - LEFT - RIGHT) * value / self.right:.1f}"

    def up(self, value: float) -> str:
        """The y of a value, of its logarithm where that is shown."""
        share = (value - self.low) / (self.high - self.low)
        return f"{HEIGHT - BOTTOM - (HEIGHT - TOP - BOTTOM) * share:.1f}"

    def place(self, point: tuple[float, float]) -> str:
        """Both, as SVG has them."""
        return f"{self.across(point[0])},{self.up(log10(point[1]) if self.log else point[1])}"


def chart(lines: list[Line], *, title: str, x: str, y: str, log: bool) -> str:
    """An SVG of lines; empty when there is nothing to draw."""
    points = [point for line in lines for point in line.points]
    if not points:
        return ""
    values = [log10(py) if log else py for _, py in points]
    low, high = (floor(min(values)), ceil(max(values))) if log else (0, max(100, ceil(max(values))))
    scale = Scale(max(px for px, _ in points) or 1, low, max(high, low + 1), log)
    ordered = sorted(lines, key=lambda line: line.on)  # what is drawn last lies above
    return "".join([
        f'<svg viewBox="0 0 {WIDTH} {HEIGHT}" role="img"><title>{html(title)}</title>',
        *_axes(scale, x, y),
        *(element for line in ordered if line.points for element in _drawn(line, scale)),
        "</svg>",
    ])  # fmt: skip


def _axes(scale: Scale, x: str, y: str) -> Iterator[str]:
    low, high = scale.low, scale.high
    for tick in range(low, high + 1, -(-(high - low) // TICKS) if scale.log else 20):
        height, name = scale.up(tick), f"1e{tick}" if scale.log else str(tick)
        yield f'<path class="grid" d="M{LEFT} {height}H{WIDTH - RIGHT}"/>'
        yield f'<text x="{LEFT - 6}" y="{height}" dy="4" text-anchor="end">{name}</text>'
    for number in sorted({round(scale.right * quarter / 4) for quarter in range(5)}):
        place = f'x="{scale.across(number)}" y="{HEIGHT - BOTTOM + 16}"'
        yield f'<text {place} text-anchor="middle">{number}</text>'
    yield f'<text x="{WIDTH - RIGHT}" y="{HEIGHT - 3}" text-anchor="end">{html(x)}</text>'
    yield f'<text x="{LEFT}" y="12">{html(y)}</text>'


def _drawn(line: Line, scale: Scale) -> Iterator[str]:
    step = -(-len(line.points) // POINTS)
    shown = line.points[::step] + (line.points[-1:] if step > 1 else [])
    style = f'class="{styled("line", line.number, line.on)}" data-line="{line.number}"'
    places = " ".join(map(scale.place, shown))
    yield f'<polyline {style} points="{places}"><title>{html(line.name)}</title></polyline>'
    if len(shown) == 1:
        yield _dot(scale.place(shown[0]), style, 3)
    for mark in line.marks[:POINTS]:
        yield _dot(scale.place(mark), style, 3.5)


def styled(kind: str, number: int, on: bool) -> str:
    """The classes of a line of this number, or of its key."""
    return f"{kind} c{number % COLOURS}" + (" on" if on else "")


def _dot(place: str, style: str, radius: float) -> str:
    x, y = place.split(",")
    return f'<circle {style} cx="{x}" cy="{y}" r="{radius}"/>'
