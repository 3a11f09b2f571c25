"""What a bench shows on a terminal: how many runs are done, the time left, the tasks at work."""

import os
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from stkit.bench.attempts import Attempts
from stkit.bench.estimate import Estimate
from stkit.bench.progress import Progress
from stkit.bench.run import Pool
from stkit.bench.tasks import Task, called, folders
from stkit.cli import output
from stkit.core import text as harmless

OFTEN = 0.5
"""Seconds between two looks."""
TAIL = 1000
"""Bytes of a log, in which its last line is looked for."""


class Left:
    """How long a bench still takes: the tasks' estimates, corrected by how long those that are done
    took in the end."""

    def __init__(self, plan: Estimate, there: Progress, tasks: Sequence[Task]) -> None:
        where = folders(there.todo)
        self.seconds = {
            task.file: plan.images.get(called(task.name, where[task.file][0]), 0.0)
            for task in tasks
        }
        self.seconds |= {run.task.file: plan.runs.get(run.called, 0.0) for run in there.todo}
        self.took: dict[str, float] = {}

    def look(self, pool: Pool) -> float:
        """Seconds from now, about."""
        now = pool.host.clock()
        self.took |= {each.task.file: now - each.start for each in pool.running}
        ended = pool.outcome.done | pool.outcome.failed.keys()
        measured = [file for file in pool.outcome.done if self.took.get(file)]
        spent = sum(self.took[file] for file in measured)
        thought = sum(self.seconds[file] for file in measured)
        pace = spent / thought if spent and thought else 1.0
        begun = {each.task.file for each in pool.running}
        left = sum(
            max(0.0, pace * seconds - (self.took[file] if file in begun else 0.0))
            for file, seconds in self.seconds.items()
            if file not in ended
        )
        return left / pool.places.jobs


def lines(pool: Pool, there: Progress, left: float) -> list[str]:
    """Runs done and time left, then a line for each task at work: how long, and what it says."""
    trained = sum(run.task.file in pool.outcome.done for run in there.todo)
    failed = len(pool.outcome.failed)
    first = f"{len(there.done) + trained} of {len(there.statuses)} runs done"
    first += f", {failed} tasks failed" if failed else ""
    now = pool.host.clock()
    return [
        f"{first}, about {output.duration(left)} left",
        *(
            f"  {each.task.name}  {output.duration(now - each.start)}  "
            f"{_last(Attempts(pool.work, each.task).log, each.said)}".rstrip()
            for each in pool.running
        ),
    ]


def _last(log: Path, start: int) -> str:
    """The last line that a task has said, if any."""
    try:
        with open(log, "rb") as file:
            file.seek(max(start, file.seek(0, os.SEEK_END) - TAIL))
            said = file.read().decode(errors="replace").split("\n")
    except OSError:
        return ""
    return next((line.strip() for line in reversed(said) if line.strip()), "")


@contextmanager
def watched(
    there: Progress, tasks: Sequence[Task], plan: Callable[[], Estimate], *, quiet: bool
) -> Iterator[Callable[[Pool], None] | None]:
    """What looks at the pool and shows it, on a terminal; None elsewhere."""
    if quiet or not sys.stderr.isatty():
        yield None
        return
    from rich.console import Console
    from rich.live import Live
    from rich.text import Text

    left, looked = Left(plan(), there, tasks), float("-inf")
    console = Console(stderr=True, no_color="NO_COLOR" in os.environ)
    with Live(console=console, transient=True, auto_refresh=False) as shown:

        def watch(pool: Pool) -> None:
            nonlocal looked
            now = pool.host.clock()
            if now - looked >= OFTEN:
                looked = now
                told = "\n".join(map(harmless.plain, lines(pool, there, left.look(pool))))
                shown.update(Text(told, no_wrap=True, overflow="ellipsis"), refresh=True)

        yield watch
