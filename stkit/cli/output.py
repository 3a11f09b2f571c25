"""What the command line prints: results on stdout, everything else on stderr.

Whatever comes from files and their names goes through `core.text` here, by where it is shown.
"""

import os
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, TextIO

from stkit.cli import fitted
from stkit.core import bars
from stkit.core import text as harmless
from stkit.core.errors import ArtifactError
from stkit.core.header import dumps

BYTES = ("peak_memory", "memory_bytes", "disk_bytes")
STAGES = (
    "stages: 2@5 is the second roll-back, after epoch 5, with which stage tau = 2 began; "
    "with each the shallow layers learn more slowly"
)
LONG = 2000
"""Characters of an error at most: some repeat what was typed, all of it."""


def rank() -> int:
    """Which of the processes this is that torchrun started: rank 0 speaks for all, and so does one
    whose number is none of torchrun's."""
    told, count = (os.environ.get(name, "") for name in ("RANK", "WORLD_SIZE"))
    started = told.isdecimal() and count.isdecimal() and int(told) < int(count)
    return int(told) if started else 0


def say(shown: str) -> None:
    """Lines on stdout, at once. ArtifactError where they cannot be written."""
    try:
        print(shown, flush=True)
    except BrokenPipeError:
        raise  # who read it has seen enough
    except OSError as error:
        raise unsaid(error) from None


def unsaid(error: OSError) -> ArtifactError:
    """What to say when stdout failed; what it still holds is let go."""
    _let_go(sys.stdout)
    return ArtifactError(
        f"stdout: cannot be written ({error.strerror}); what -o names is there if it was asked "
        "for; send what is printed elsewhere"
    )


def _let_go(stream: TextIO) -> None:
    """Send a stream nowhere from now on: Python writes at its end what a stream still holds."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), stream.fileno())


def error(message: str, code: int) -> int:
    """One line on stderr; returns the exit code."""
    shown = harmless.line(message)
    if len(shown) > LONG:
        shown = f"{shown[: LONG // 2]} ... {shown[-LONG // 2 :]}"
    _aside(f"error: {shown}")
    return code


def note(message: str) -> None:
    """A progress or log line on stderr."""
    if rank() == 0:
        _aside(harmless.plain(message))


def _aside(shown: str) -> None:
    """A line on stderr; nothing where that is gone, for which no work is given up."""
    try:
        print(shown, file=sys.stderr, flush=True)
    except OSError:
        _let_go(sys.stderr)


def result(values: dict[str, Any], *, as_json: bool, quiet: bool, brief: Any = None) -> None:
    """One result: a JSON object, or `brief` alone when quiet, or a line for each key."""
    if rank():
        return
    if as_json:
        say(harmless.json(dumps(values)))
    elif quiet:
        say(harmless.plain(str(brief)))
    else:
        shown = {
            harmless.plain(key.replace("_", " ")): harmless.plain(text(_told(key, value)))
            for key, value in values.items()
        }
        wide = max(map(len, shown))
        lines = [f"{key:<{wide}}  {value}" for key, value in shown.items()]
        if values.get("stages") and fitted.width() is not None:
            lines.append(STAGES)
        say("\n".join(lines))


def text(value: Any) -> str:
    """A value for people: four digits, names before values, nothing for None."""
    if value is None:
        return "-"
    if isinstance(value, float):
        return f"{value:.4g}"
    if isinstance(value, list | tuple):
        flat = all(isinstance(v, (int, float, str)) for v in value)
        return (" " if flat else "; ").join(text(v) for v in value)
    if isinstance(value, dict):
        said = {k: v for k, v in value.items() if v not in (None, [], (), {})}
        return ", ".join(f"{str(k).replace('_', ' ')} {_within(v)}" for k, v in said.items())
    return str(value)


def _within(value: Any) -> str:
    """A value among others, with brackets around what has several parts."""
    shown = text(value)
    return f"({shown})" if isinstance(value, dict | list | tuple) and {*",;"} & {*shown} else shown


def duration(seconds: float | None) -> str | None:
    """Seconds for people."""
    if seconds is None:
        return None
    if seconds < 120:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 7200 else f"{seconds / 3600:.1f} h"


def stages(values: list[dict[str, Any]]) -> str:
    """Roll-backs for people: 2@5 is the second one, after epoch 5."""
    return ", ".join(f"{stage['tau']}@{stage['epoch']}" for stage in values) or "-"


def _told(key: str, value: Any) -> Any:
    """A result's value as people read it: `stages`, where it is no other thing by that name, and
    bytes in GB, of 10^9."""
    if key in BYTES and isinstance(value, int | float):
        return f"{value / 1e9:.2f} GB"
    if key == "stages" and isinstance(value, list):
        whole = all(isinstance(v, dict) and v.keys() >= {"epoch", "tau"} for v in value)
        return stages(value) if whole else value
    return value


def rows(values: list[dict[str, Any]], form: str, *, fit: fitted.Fit | None = None) -> str:
    """Rows with the same keys as table, markdown, csv or json; fit: of a table on a terminal."""
    if form == "json":
        return harmless.json(dumps(values))
    keys = list(dict.fromkeys(key for row in values for key in row))
    if form == "csv":
        lines: list[list[Any]] = [list(keys), *([row.get(key) for key in keys] for row in values)]
        return "\n".join(",".join(map(_csv, line)) for line in lines)
    shown = harmless.markdown if form == "markdown" else harmless.plain
    cells = [[shown(key.replace("_", " ")) for key in keys]]
    cells += [[shown(text(row.get(key))) for key in keys] for row in values]
    if fit is not None and form == "table":
        return "\n".join(fitted.table(keys, cells, fit))
    wide = [max(len(line[i]) for line in cells) for i in range(len(keys))]
    rule = ["-" * w for w in wide]
    edge, gap = ("| ", " | ") if form == "markdown" else ("", "  ")
    lined = [
        edge + gap.join(cell.ljust(w) for cell, w in zip(line, wide, strict=True)) + edge[::-1]
        for line in (cells[0], rule, *cells[1:])
    ]
    return "\n".join(line.rstrip() for line in lined)


def _csv(value: Any) -> str:
    """A cell: a number as Python writes it, nothing for None, else text."""
    if value is None:
        return ""
    return repr(value) if isinstance(value, (int, float)) else harmless.csv(str(value))


@contextmanager
def bar(label: str) -> Iterator[Callable[[int, int], None]]:
    """A progress bar on a terminal, silence elsewhere; call it with (done, total)."""
    with bars.bar(label, shown=sys.stderr.isatty() and not rank()) as progress:
        yield progress
