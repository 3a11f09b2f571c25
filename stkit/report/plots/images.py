"""Images of data sets, a row each."""

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from stkit.report.plots.asked import Asked, Rows

if TYPE_CHECKING:
    from matplotlib.figure import Figure

ABOUT = "the first image of each class; of two sets, clean first, also what was added"
FILES = "data set files"
TAKES = ()


def draw(
    figure: "Figure", paths: Sequence[Path], asked: Asked, *, on_note: Callable[[str], None]
) -> Rows:
    """Draw data set files, a row each: the images that are the first of their class in the first.

    Of two files also the difference. DataError for sets of different sizes.
    """
    import numpy as np

    from stkit.core import header
    from stkit.core.errors import DataError
    from stkit.core.text import figure as figure_text
    from stkit.report import pictures

    for path in paths:
        header.read(path, "dataset")
    rows = pictures.rows_of_classes(paths[0])
    try:
        strips = [(path.name, pictures.strip(path, rows)) for path in paths]
        if len(strips) == 2:
            delta, factor = pictures.difference(strips[0][1], strips[1][1])
            strips.append((f"difference, times {factor:.3g}", delta))
    except ValueError:
        raise DataError(
            "found data sets of different sizes, expected one and what was made of it"
        ) from None
    widest = max(strip.width / strip.height for _, strip in strips)
    figure.set_size_inches(8, 0.4 + len(strips) * (8 / widest + 0.3))
    places = figure.subplots(len(strips), squeeze=False)[:, 0]
    for axes, (name, strip) in zip(places, strips, strict=True):
        pixels = np.frombuffer(strip.pixels, np.uint8).reshape(strip.height, strip.width, 3)
        axes.imshow(pixels, interpolation="nearest")
        axes.set_title(figure_text(name), loc="left")
        axes.set_axis_off()
    return []
