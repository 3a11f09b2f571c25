"""What poisons do to images: clean, poisoned, and the difference, a column a class.

Each pixel of an image is a square of whole pixels of the picture, so that one that changed is seen;
where few have, each gets a ring, filled with its colour in the difference.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from stkit.report.plots.asked import Asked, Rows

if TYPE_CHECKING:
    import numpy as np
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure
    from numpy.typing import NDArray

    from stkit.report.samples import Samples

ABOUT = "clean images, poisons of them, and what each changed, a column a class"
FILES = "a data set and poisons of it"
TAKES: tuple[str, ...] = ()

# In dots of a page that is 830 wide, as GitHub's is; most screens have two pixels in each.
WIDTH, LABELS, GAP, APART, EDGE, HEAD, HANG = 830, 98, 5, 12, 6, 22, 5
WIDEST = 110  # an image, where there are few classes
RING = 5.5  # the radius
FINE = 2  # pixels of the picture in a dot, at least
LARGEST = 256  # pixels of a side of an image; in larger ones several become one


@dataclass(frozen=True)
class Line:
    """A row of the picture. Images [K,H,W,3]; rings: of each the pixels (y, x) to be marked."""

    label: str
    images: "NDArray[np.uint8]"
    rings: Sequence[Sequence[tuple[int, int]]] = ()
    strong: bool = True
    apart: bool = False  # from the row above


@dataclass(frozen=True)
class Sheet:
    """Where things are, in pixels of the picture.

    height, width: of an image as it is drawn. zoom: pixels in one of an image. dots: pixels in a
    dot of the page.
    """

    columns: int
    height: int
    width: int
    zoom: int
    dots: float
    tops: Sequence[int]  # of the rows

    @property
    def scale(self) -> float:
        """Of letters and strokes, for which 200 pixels are an inch, and an inch 100 dots."""
        return self.dots / FINE

    def left(self, column: int) -> int:
        """Where a column begins."""
        gap = round(GAP * self.dots)
        return round((EDGE + LABELS) * self.dots) + column * (self.width + gap)

    @property
    def all(self) -> tuple[int, int]:
        """Height and width of the picture."""
        edge = round(EDGE * self.dots)
        return self.tops[-1] + self.height + edge, self.left(self.columns - 1) + self.width + edge


def draw(
    figure: "Figure", paths: Sequence[Path], asked: Asked, *, on_note: Callable[[str], None]
) -> Rows:
    """Draw a clean data set and poisons of it, or poisons alone; a row of numbers an image."""
    from stkit.report import samples

    shown = samples.read(paths)
    if shown.left_out:
        count = len(shown.classes)
        on_note(f"note: shown are {count} of {count + shown.left_out} classes")
    lines = _lines(shown)
    sheet = _sheet(lines)
    axes = _paper(figure, lines, sheet)
    _write(axes, shown, lines, sheet, on_note)
    for top, line in zip(sheet.tops, lines, strict=True):
        _rings(axes, line, sheet, top)
    return _rows(shown)


def _write(
    axes: "Axes", shown: "Samples", lines: Sequence[Line], sheet: Sheet,
    on_note: Callable[[str], None],
) -> None:  # fmt: skip
    """The names of the columns and of the rows."""
    from stkit.report import lettering

    heads = [
        axes.text(
            sheet.left(column) + sheet.width / 2, sheet.tops[0] - HANG * sheet.dots, "",
            ha="center", fontsize=8 * sheet.scale,
        )
        for column in range(sheet.columns)
    ]  # fmt: skip
    lettering.put(heads, shown.classes, width=sheet.width, kind="class", on_note=on_note)
    names = [
        axes.text(
            EDGE * sheet.dots, top + sheet.height / 2, "", va="center",
            fontsize=(9 if line.strong else 8) * sheet.scale,
            fontweight="bold" if line.strong else "normal",
        )
        for top, line in zip(sheet.tops, lines, strict=True)
    ]  # fmt: skip
    labels = [line.label for line in lines]
    width = (LABELS - GAP) * sheet.dots
    lettering.put(names, labels, width=width, kind="row", on_note=on_note)


def _rows(shown: "Samples") -> Rows:
    """What each poison did to each image: norms on the [0,1] scale, and how many pixels changed."""
    import numpy as np

    rows: Rows = []
    for poison in shown.poisons:
        for column, (name, image) in enumerate(zip(shown.classes, poison.images, strict=True)):
            row: dict[str, str | int | float | None] = {
                "poison": poison.name, "class": name, "index": shown.index[column],
            }  # fmt: skip
            if shown.clean:
                pair = (np.frombuffer(b, np.uint8) for b in (shown.clean.images[column], image))
                before, after = (each.astype(np.int64).reshape(3, -1) for each in pair)
                delta = after - before
                row |= {
                    "linf": float(abs(delta).max()) / 255,
                    "l2": float(np.sqrt((delta**2).sum())) / 255,
                    "changed_pixels": int((delta != 0).any(0).sum()),
                }
            rows.append(row)
    return rows


def _lines(shown: "Samples") -> list[Line]:
    """The rows from top to bottom."""
    import numpy as np

    from stkit.report import pictures

    height, width = shown.size

    def array(images: Sequence[bytes]) -> "NDArray[np.uint8]":
        values = np.frombuffer(b"".join(images), np.uint8)
        return values.reshape(len(images), 3, height, width).transpose(0, 2, 3, 1)

    step = -(-max(shown.size) // LARGEST)
    if shown.clean is None:
        return [Line(p.name, _smaller(array(p.images), step), apart=True) for p in shown.poisons]
    lines = [Line(shown.clean.name, _smaller(array(shown.clean.images), step))]
    for poison in shown.poisons:
        delta = pictures.difference(shown.clean.images, poison.images)
        rings = [
            [(pixel // width // step, pixel % width // step) for pixel in pixels]
            for pixels in delta.pixels
        ]
        change = _farthest(array(delta.images), step)
        lines += [
            Line(poison.name, _smaller(array(poison.images), step), rings, apart=True),
            Line(
                f"difference \N{MULTIPLICATION SIGN} {delta.factor:g}", change, rings, strong=False
            ),
        ]
    return lines


def _blocks(images: "NDArray[np.uint8]", step: int) -> "NDArray[np.uint8]":
    """Images [K,H,W,3] as [K,H/step,W/step,3,step*step]; what is left over at the edges is not."""
    count, height, width, _ = images.shape
    high, wide = height // step, width // step
    whole = images[:, : high * step, : wide * step]
    whole = whole.reshape(count, high, step, wide, step, 3).transpose(0, 1, 3, 5, 2, 4)
    return whole.reshape(count, high, wide, 3, step * step)


def _smaller(images: "NDArray[np.uint8]", step: int) -> "NDArray[np.uint8]":
    """Blocks of pixels as their mean."""
    return images if step == 1 else _blocks(images, step).mean(-1).round().astype("uint8")


def _farthest(images: "NDArray[np.uint8]", step: int) -> "NDArray[np.uint8]":
    """Blocks of pixels as the one that is farthest from mid grey, so that none is lost."""
    if step == 1:
        return images
    blocks = _blocks(images, step)
    place = abs(blocks.astype("int16") - 128).argmax(-1)
    return blocks.reshape(-1, step * step)[range(place.size), place.ravel()].reshape(place.shape)


def _sheet(lines: Sequence[Line]) -> Sheet:
    """The measures of the picture: images as large as fit the width of a page."""
    columns, height, width, _ = lines[0].images.shape
    room = (WIDTH - 2 * EDGE - LABELS - (columns - 1) * GAP) / columns
    wide = min(room, WIDEST)
    zoom = max(1, round(FINE * wide / width))
    dots = zoom * width / wide
    tops, top = [], (EDGE + HEAD) * dots - APART * dots * lines[0].apart
    for line in lines:
        top += APART * dots if line.apart else 0
        tops.append(round(top))
        top += zoom * height + GAP * dots
    return Sheet(columns, zoom * height, zoom * width, zoom, dots, tops)


def _paper(figure: "Figure", lines: Sequence[Line], sheet: Sheet) -> "Axes":
    """Axes that fill the figure, in its pixels, with the images in their places."""
    import numpy as np

    height, width = sheet.all
    figure.set_layout_engine("none")
    # half a pixel more, since what is not whole is rounded down
    figure.set_size_inches((width + 0.5) / figure.dpi, (height + 0.5) / figure.dpi)
    axes = figure.add_axes(
        (0, 0.5 / (height + 0.5), width / (width + 0.5), height / (height + 0.5))
    )
    axes.set_axis_off()
    paper = np.full((height, width, 3), 255, np.uint8)
    for top, line in zip(sheet.tops, lines, strict=True):
        for column, image in enumerate(line.images):
            left = sheet.left(column)
            large = image.repeat(sheet.zoom, 0).repeat(sheet.zoom, 1)
            paper[top : top + sheet.height, left : left + sheet.width] = large
    axes.imshow(paper, interpolation="nearest", aspect="auto", extent=(0, width, height, 0))
    return axes


def _rings(axes: "Axes", line: Line, sheet: Sheet, top: int) -> None:
    """A ring around each pixel that is to be seen: black in white, it stands out of any image.

    In a difference it is filled with the pixel's colour. At an edge it is pushed inwards, so that
    none lies over a neighbour's.
    """
    from matplotlib.patches import Circle

    radius = RING * sheet.dots
    inside = radius - GAP / 2 * sheet.dots
    for column, (image, pixels) in enumerate(zip(line.images, line.rings, strict=False)):
        left = sheet.left(column)
        for y, x in pixels:
            across = min(max((x + 0.5) * sheet.zoom, inside), sheet.width - inside)
            down = min(max((y + 0.5) * sheet.zoom, inside), sheet.height - inside)
            colour = "none" if line.strong else tuple(image[y, x] / 255)
            for edge, thick in (("white", 2.2), ("black", 0.9)):
                axes.add_patch(Circle(
                    (left + across, top + down), radius, facecolor=colour, edgecolor=edge,
                    linewidth=thick * sheet.scale,
                ))  # fmt: skip
