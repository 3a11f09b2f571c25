"""Cases and their rows: a file of JSON lines, one a case, that grows as cases are measured.

A case is a dict that decides what is measured; its row has the case's keys and values in it, what
was measured, and on which machine, with which torch, by which command and when. The file is always
written whole and renamed into place, so a process that is killed leaves nothing half, and the next
one measures what is missing.
"""

import argparse
import json
import os
import shlex
import sys
import time
import traceback
from collections.abc import Callable, Iterable, Mapping, Sequence
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from typing import Any

import measuring

from stkit.core import atomic

Case = dict[str, Any]
LEFT = 3
"""The exit code where the minutes ran out and cases are left; 1 is that one failed."""


class Minutes:
    """The time of a run. A case is begun only if the longest so far would still end in it."""

    def __init__(self, minutes: float) -> None:
        self.end, self.longest = time.monotonic() + 60 * minutes, 0.0

    @property
    def left(self) -> bool:
        """Whether there is time for one more case."""
        return time.monotonic() + self.longest < self.end

    def took(self, seconds: float) -> None:
        """A case has ended after so long."""
        self.longest = max(self.longest, seconds)


def read(path: Path | None) -> list[Case]:
    """The rows that are there; a line that is no JSON is none."""
    if path is None or not path.exists():
        return []
    rows = []
    for line in path.read_text().splitlines():
        try:
            rows.append(json.loads(line))
        except ValueError:
            print(f"{path}: a line that is no JSON is left out", file=sys.stderr)
    return rows


def missing(cases: Iterable[Case], rows: Sequence[Case]) -> list[Case]:
    """The cases without a row."""
    return [c for c in cases if not any(all(row.get(k) == c[k] for k in c) for row in rows)]


def stamp(words: Sequence[str]) -> dict[str, str]:
    """By which command, and when. Of a path that is this machine's own, only the name is told."""
    named = [Path(word).name if os.path.isabs(word) else word for word in words]
    date = datetime.now(UTC).strftime("%Y-%m-%d %H:%M")
    return {"command": shlex.join(named), "date": date}


def command(file: str, words: Sequence[str] | None) -> list[str]:
    """The command line of a benchmark. words: its options where they are not the process's own."""
    return ["python", f"benchmarks/{Path(file).name}", *(sys.argv[1:] if words is None else words)]


def add(path: Path | None, row: Case) -> None:
    """One more row of the file, which appears whole."""
    keep(path, [*read(path), row])


def keep(path: Path | None, rows: Sequence[Case]) -> None:
    """These rows alone; without any there is no file."""
    if path is None:
        return
    if rows:
        atomic.write_text(path, "".join(json.dumps(row) + "\n" for row in rows))
    else:
        path.unlink(missing_ok=True)


def in_turn(todo: Sequence[Case], begun: Sequence[Case]) -> list[Case]:
    """Cases without a row, those last that were begun already: they failed, or took too long, and
    would keep the others from being measured ever."""
    return sorted(todo, key=lambda case: not missing([case], begun))


def fill(
    cases: Sequence[Case], measure: Callable[[Case], Case], *, path: Path | None, minutes: float,
    by: Sequence[str], broken: Callable[[Exception], bool] = lambda error: False,
) -> tuple[list[Case], int]:  # fmt: skip
    """Measure the cases that the file lacks. Returns all of its rows, and the exit code: 0, 1 where
    a case failed, LEFT where the time ended it.

    measure: what a case's row has besides the case and the stamp: numbers, machine. by: the command
    line. A case that fails ends no other, but where `broken` says that the process can measure none
    after it. Which were begun stands in a file beside `path`, see `in_turn`.
    """
    time_left, rows, code = Minutes(minutes), read(path), 0
    part = path and path.with_name(f"{path.name}.part")
    for case in in_turn(missing(cases, rows), read(part)):
        if not time_left.left:
            print("out of time; the same command with --out goes on", file=sys.stderr)
            return rows, code or LEFT
        if missing([case], read(part)):
            add(part, case)
        begun = time.monotonic()
        try:
            row = {**case, **measure(case), **stamp(by)}
        except KeyboardInterrupt:  # not the case's fault
            keep(part, missing(read(part), [case]))
            raise
        except Exception as error:  # whatever stops one case, the others are wanted
            print(f"failed: {json.dumps(case)}", file=sys.stderr)
            traceback.print_exc()
            code = 1
            if broken(error):
                break
            continue
        time_left.took(time.monotonic() - begun)
        rows.append(row)
        add(path, row)
        print(f"measured in {time.monotonic() - begun:.0f} s: {json.dumps(case)}", file=sys.stderr)
    keep(part, missing(read(part), rows))
    return rows, code


def run(
    cases: Sequence[Case], measure: Callable[[Case], Case], columns: Mapping[str, str],
    options: argparse.Namespace, *, by: Sequence[str],
) -> int:  # fmt: skip
    """`fill` by a benchmark's options (device, out, minutes, json), and its rows printed, as JSON
    or a table of these columns; the exit code."""
    found, code = fill(
        cases, measure, path=options.out, minutes=options.minutes, by=by,
        broken=partial(measuring.broken, options.device),
    )  # fmt: skip
    print(json.dumps(found) if options.json else measuring.table(found, columns))
    return code
