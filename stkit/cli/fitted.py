"""Tables for a terminal: as wide as that is, and no wider.

Long headers wrap at words; then long texts lose some of their middle; then columns of little worth
fall away, the least first. What goes to a pipe or a file is whole, see `output.rows`.
"""

import shutil
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

GAP = "  "
LONG, LEAST = 30, 12
"""Characters of a text: more than so many are cut before a column falls away, and down to how many
when none is left that may."""


def width() -> int | None:
    """The columns of the terminal that stdout is; None where it is none."""
    return shutil.get_terminal_size().columns if sys.stdout.isatty() else None


@dataclass(frozen=True)
class Fit:
    """How a table may give way. wide: characters of a line. worthless: the columns that may fall
    away, by their keys, the least worth first. texts: those whose values may lose their middle."""

    wide: int
    worthless: Sequence[str] = ()
    texts: Sequence[str] = ()


def table(keys: Sequence[str], texts: Sequence[Sequence[str]], fit: Fit) -> list[str]:
    """The lines of a table, and one on what was left out where that is any.

    keys: of its columns. texts: rows of as many, the headers first.
    """
    columns = {key: [row[i] for row in texts] for i, key in enumerate(keys)}
    _shorten(columns, fit, LONG)
    for key in fit.worthless:
        if _least(columns) <= fit.wide:
            break
        columns.pop(key, None)
    _shorten(columns, fit, LEAST)
    lines = _lines([*columns.values()], fit.wide)
    dropped = len(keys) - len(columns)
    if dropped:
        lines.append(f"{dropped} column{'s' * (dropped > 1)} more in --format csv")
    return lines


def _need(column: Sequence[str]) -> int:
    """The least width of a column: its widest value, the longest word of its header."""
    return max(map(len, [*column[1:], *column[0].split(), ""]))


def _least(columns: Mapping[str, Sequence[str]]) -> int:
    return sum(map(_need, columns.values())) + len(GAP) * (len(columns) - 1)


def _shorten(columns: dict[str, list[str]], fit: Fit, least: int) -> None:
    """Take the middle out of long texts, the widest column first, until the table fits or each has
    the least length."""
    texts = [key for key in fit.texts if key in columns]
    while (over := _least(columns) - fit.wide) > 0:
        longest = max(texts, key=lambda key: _need(columns[key]), default=None)
        if longest is None:
            return
        head, *values = columns[longest]
        length = max(map(len, values), default=0)
        to = max(least, length - over)
        texts.remove(longest)
        if to < length:
            columns[longest] = [head, *(_cut(value, to) for value in values)]


def _cut(value: str, length: int) -> str:
    if len(value) <= length:
        return value
    end = (length - 3) * 2 // 3  # ends tell more: of files, of frames with their numbers
    return f"{value[: length - 3 - end]}...{value[len(value) - end :]}"


def _lines(columns: Sequence[Sequence[str]], wide: int) -> list[str]:
    """Headers are wrapped, the widest first, as far as is needed."""
    widths = [max(map(len, column)) for column in columns]
    while sum(widths) + len(GAP) * (len(widths) - 1) > wide:
        slack = [width - _need(column) for width, column in zip(widths, columns, strict=True)]
        if not max(slack):
            break
        widths[slack.index(max(slack))] -= 1
    heads = [_wrapped(column[0], width) for column, width in zip(columns, widths, strict=True)]
    high = max(map(len, heads))
    rows = [[*[""] * (high - len(head)), *head] for head in heads]
    above = [_line([rows[i][line] for i in range(len(rows))], widths) for line in range(high)]
    rule = _line(["-" * width for width in widths], widths)
    count = len(columns[0]) - 1
    below = [_line([column[row + 1] for column in columns], widths) for row in range(count)]
    return [*above, rule, *below]


def _line(values: Sequence[str], widths: Sequence[int]) -> str:
    return GAP.join(value.ljust(w) for value, w in zip(values, widths, strict=True)).rstrip()


def _wrapped(text: str, width: int) -> list[str]:
    """A header in lines of at most so many characters, but for a longer word."""
    lines: list[str] = []
    for word in text.split():
        if lines and len(lines[-1]) + 1 + len(word) <= width:
            lines[-1] += f" {word}"
        else:
            lines.append(word)
    return lines or [""]
