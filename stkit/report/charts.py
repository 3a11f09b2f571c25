"""Curves over a training as inline SVG: accuracy by epoch, ACM by step."""

from dataclasses import dataclass
from html import escape
from math import ceil, floor, isfinite, log10, nan

from stkit.report.gather import Entry

WIDTH, HEIGHT = 460, 250
LEFT, RIGHT, TOP, BOTTOM = 46, 18, 24, 34
POINTS = 300  # a line; of longer ones every n-th point is drawn
COLOURS = 8
TICKS = 8  # powers of ten that have a name, at most so many and one

Points = list[tuple[float, float]]


@dataclass(frozen=True)
class Line:
    number: int  # of what it is called: trainings that share it share a colour
    name: str
    points: Points
    marks: Points  # roll-backs
    on: bool = False  # drawn in colour among many, which are grey


def accuracy(entry: Entry) -> Points:
    """Accuracy in percent, by epoch."""
    return [
        (record["epoch"], record["accuracy"] * 100)
        for record in entry.history
        if record.get("accuracy") is not None
    ]


def acm(entry: Entry) -> tuple[Points, Points]:
    """The ACM that was judged, by step, and the checks that rolled back."""
    points, marks = [], []
    for record in entry.history:
        variant = entry.setup.get(f"train.phases.{record['phase'] - 1}.staged.variant", "literal")
        for check in record.get("checks") or []:
            value = check["acm"].get(variant, nan)
            if isfinite(value) and value > 0:
                points.append((check["step"], value))
                if check["verdict"] != "keep":
                    marks.append((check["step"], value))
    return points, marks


def chart(lines: list[Line], *, title: str, x: str, y: str, log: bool) -> str:
    """An SVG of lines; empty when there is nothing to draw."""
    points = [point for line in lines for point in line.points]
    if not points:
        return ""
    right = max(px for px, _ in points) or 1
    values = [log10(py) if log else py for _, py in points]
    low, high = (floor(min(values)), ceil(max(values))) if log else (0, 100)
    high = max(high, low + 1)

    def across(value: float) -> str:
        return f"{LEFT + (WIDTH - LEFT - RIGHT) * value / right:.1f}"

    def up(value: float) -> str:
        share = (value - low) / (high - low)
        return f"{HEIGHT - BOTTOM - (HEIGHT - TOP - BOTTOM) * share:.1f}"

    def at(point: tuple[float, float]) -> str:
        return f"{across(point[0])},{up(log10(point[1]) if log else point[1])}"

    parts = [f'<svg viewBox="0 0 {WIDTH} {HEIGHT}" role="img"><title>{escape(title)}</title>']
    for tick in range(low, high + 1, -(-(high - low) // TICKS) if log else 20):
        height = up(tick)
        name = f"1e{tick}" if log else str(tick)
        parts.append(f'<path class="grid" d="M{LEFT} {height}H{WIDTH - RIGHT}"/>')
        parts.append(f'<text x="{LEFT - 6}" y="{height}" dy="4" text-anchor="end">{name}</text>')
    for number in sorted({round(right * quarter / 4) for quarter in range(5)}):
        place = across(number)
        parts.append(
            f'<text x="{place}" y="{HEIGHT - BOTTOM + 16}" text-anchor="middle">{number}</text>'
        )
    parts.append(f'<text x="{WIDTH - RIGHT}" y="{HEIGHT - 3}" text-anchor="end">{escape(x)}</text>')
    parts.append(f'<text x="{LEFT}" y="12">{escape(y)}</text>')
    for line in sorted(lines, key=lambda line: line.on):  # what is drawn last lies above
        if not line.points:
            continue
        step = -(-len(line.points) // POINTS)
        shown = line.points[::step] + (line.points[-1:] if step > 1 else [])
        drawn = " ".join(map(at, shown))
        style = f'class="{styled("line", line.number, line.on)}" data-line="{line.number}"'
        name = f"<title>{escape(line.name)}</title>"
        parts.append(f'<polyline {style} points="{drawn}">{name}</polyline>')
        if len(shown) == 1:
            parts.append(_dot(at(shown[0]), style, 3))
        parts += [_dot(at(mark), style, 3.5) for mark in line.marks[:POINTS]]
    return "".join([*parts, "</svg>"])


def styled(kind: str, number: int, on: bool) -> str:
    """The classes of a line of this number, or of its key."""
    return f"{kind} c{number % COLOURS}" + (" on" if on else "")


def _dot(place: str, style: str, radius: float) -> str:
    x, y = place.split(",")
    return f'<circle {style} cx="{x}" cy="{y}" r="{radius}"/>'
