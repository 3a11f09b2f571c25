"""What the command line prints: results on stdout, everything else on stderr."""

import csv
import io
import json
import os
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

from stkit.core.header import dumps


def rank() -> int:
    """Which of the processes this is that torchrun started; rank 0 speaks for all."""
    return int(os.environ.get("RANK") or 0)


def error(message: str, code: int) -> int:
    """One line on stderr; returns the exit code."""
    print(f"error: {' '.join(message.split())}", file=sys.stderr)
    return code


def note(message: str) -> None:
    """A progress or log line on stderr."""
    if rank() == 0:
        print(message, file=sys.stderr, flush=True)


def result(values: dict[str, Any], *, as_json: bool, quiet: bool, brief: Any = None) -> None:
    """One result: a JSON object, or `brief` alone when quiet, or a line for each key."""
    if rank():
        return
    if as_json:
        print(dumps(values))
    elif quiet:
        print(brief)
    else:
        wide = max(len(key) for key in values)
        for key, value in values.items():
            value = stages(value) if key == "stages" else value
            print(f"{key.replace('_', ' '):<{wide}}  {text(value)}")


def text(value: Any) -> str:
    """A value for people: four digits, nothing for None."""
    if value is None:
        return "-"
    if isinstance(value, float):
        return f"{value:.4g}"
    if isinstance(value, list) and all(isinstance(v, (int, float, str)) for v in value):
        return " ".join(text(v) for v in value)
    return json.dumps(value) if isinstance(value, (list, dict)) else str(value)


def stages(values: list[dict[str, Any]]) -> str:
    """Roll-backs for people: 2@5 is the second one, after epoch 5."""
    return ", ".join(f"{stage['tau']}@{stage['epoch']}" for stage in values) or "-"


def rows(values: list[dict[str, Any]], form: str) -> str:
    """Rows with the same keys as table, markdown, csv or json."""
    if form == "json":
        return dumps(values)
    keys = list(dict.fromkeys(key for row in values for key in row))
    if form == "csv":
        out = io.StringIO()
        writer = csv.DictWriter(out, keys, lineterminator="\n")
        writer.writeheader()
        writer.writerows(values)
        return out.getvalue().rstrip("\n")
    cells = [[key.replace("_", " ") for key in keys]]
    cells += [[text(row.get(key)) for key in keys] for row in values]
    wide = [max(len(line[i]) for line in cells) for i in range(len(keys))]
    rule = ["-" * w for w in wide]
    edge, gap = ("| ", " | ") if form == "markdown" else ("", "  ")
    lines = [
        edge + gap.join(cell.ljust(w) for cell, w in zip(line, wide, strict=True)) + edge[::-1]
        for line in (cells[0], rule, *cells[1:])
    ]
    return "\n".join(line.rstrip() for line in lines)


@contextmanager
def bar(label: str) -> Iterator[Callable[[int, int], None]]:
    """A progress bar on a terminal, silence elsewhere; call it with (done, total)."""
    if not sys.stderr.isatty() or rank():
        yield lambda done, total: None
        return
    from rich.console import Console
    from rich.progress import Progress

    with Progress(
        console=Console(stderr=True, no_color="NO_COLOR" in os.environ), transient=True
    ) as shown:
        task = shown.add_task(label, total=None)
        yield lambda done, total: shown.update(task, completed=done, total=total)
