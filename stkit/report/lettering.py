"""Names of any language and length in a picture: in a font that has the letters, cut, kept apart.

matplotlib draws a box for a letter that its font lacks, and text over whatever stands beside it.
"""

from collections.abc import Callable, Sequence
from functools import cache
from typing import TYPE_CHECKING

from stkit.core.text import figure as figure_text

if TYPE_CHECKING:
    from matplotlib.text import Text

BOXES = "Last Resort"
"""A font of matplotlib that has a box for every letter there is."""
LONGEST = 80  # letters; no place is so wide


def put(
    places: Sequence["Text"], names: Sequence[str], *, width: float, kind: str,
    on_note: Callable[[str], None],
) -> None:  # fmt: skip
    """Write the names into these places, none wider than so many pixels.

    One that no font here can write is called by its kind and number, from 1, which a note says.
    """
    numbered = 0
    for number, (place, name) in enumerate(zip(places, names, strict=True), 1):
        font = _font(name)
        if font is None:
            numbered += 1
            name = f"{kind} {number}"
        elif font:
            place.set_fontfamily(["DejaVu Sans", font])
        _fit(place, name, width)
    if numbered:
        on_note(
            f"note: no font here has the letters of {numbered} names, which are numbers in the "
            "picture; install a font of that language"
        )


def _fit(place: "Text", name: str, width: float) -> None:
    """Write a name, cut where it is too wide."""
    name = name if len(name) <= LONGEST else name[:LONGEST] + "…"
    place.set_text(figure_text(name))
    while place.get_window_extent().width > width and len(name) > 2:
        name = name[:-2].rstrip() + "…"
        place.set_text(figure_text(name))


@cache
def _font(name: str) -> str | None:
    """The font that has the letters which matplotlib's own lacks; empty: none is needed."""
    from matplotlib import font_manager

    letters = {ord(letter) for letter in figure_text(name) if not letter.isspace()}
    own = font_manager.findfont("DejaVu Sans")
    missing = letters - _letters(own)
    if not missing:
        return ""
    for font in font_manager.fontManager.ttflist:
        if not font.name.startswith(BOXES) and missing <= _letters(font.fname):
            return font.name
    return None


@cache
def _letters(file: str) -> frozenset[int]:
    """What a font file can write."""
    from matplotlib import font_manager

    try:
        return frozenset(font_manager.get_font(file).get_charmap())
    except (OSError, RuntimeError):
        return frozenset()


def spread(
    wanted: Sequence[float], heights: Sequence[float], low: float, high: float
) -> list[float]:
    """Centres of labels of these heights, as near as can be to where they are wanted.

    None is over another, none leaves low..high, where they fit in there; their order is that of
    what is wanted. The sum of squared moves is the least: pool adjacent violators, then the limits.
    """
    order = sorted(range(len(wanted)), key=lambda i: wanted[i])
    offsets, top = [], 0.0  # of a label's centre when all are stacked from 0
    for i in order:
        offsets.append(top + heights[i] / 2)
        top += heights[i]
    pools: list[tuple[float, int]] = []  # mean of what is left when the offset is gone, how many
    for i, offset in zip(order, offsets, strict=True):
        mean, count = wanted[i] - offset, 1
        while pools and pools[-1][0] > mean:
            before, many = pools.pop()
            mean, count = (before * many + mean * count) / (many + count), many + count
        pools.append((mean, count))
    bottoms = [min(max(mean, low), high - top) for mean, count in pools for _ in range(count)]
    places = [0.0] * len(wanted)
    for i, bottom, offset in zip(order, bottoms, offsets, strict=True):
        places[i] = bottom + offset
    return places
