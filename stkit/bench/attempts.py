"""What the processes of a task leave beside its file: a log, what they printed, their time.

It lies in files, so that it is there also when the bench that began a process has died.
"""

import json
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from stkit.bench.tasks import Task
from stkit.core import atomic, header


@dataclass(frozen=True)
class Spent:
    """Processes that a task has had.

    seconds: of those that were interrupted or failed; timed: how many those are. One that ended
    unseen, when the bench that had begun it was gone, has no time.
    """

    attempts: int = 0
    seconds: float = 0.0
    timed: int = 0

    def total(self, last: float | None) -> float | None:
        """Seconds of all, the last one having said its own; None where one is not known."""
        known = last is not None and self.timed == self.attempts - 1
        return last + self.seconds if known and last is not None else None


class Attempts:
    """The processes of one task, those of earlier benches among them."""

    def __init__(self, work: Path, task: Task) -> None:
        self.tries, self.output = work / f"{task.file}.tries", work / f"{task.file}.printed"
        self.log = work / "logs" / f"{task.file.removesuffix('.safetensors')}.log"

    def begin(self) -> None:
        """One more process is about to start."""
        self.log.parent.mkdir(parents=True, exist_ok=True)
        before = self.spent()
        self._write(Spent(before.attempts + 1, before.seconds, before.timed))

    def took(self, seconds: float) -> None:
        """The last process was seen to end without the file, after this time."""
        before = self.spent()
        self._write(Spent(before.attempts, before.seconds + seconds, before.timed + 1))

    def spent(self) -> Spent:
        """What there has been so far."""
        try:
            read = json.loads(self.tries.read_text())
            return Spent(int(read["attempts"]), float(read["seconds"]), int(read["timed"]))
        except (OSError, ValueError, KeyError, TypeError):
            return Spent()

    def printed(self) -> dict[str, Any]:
        """The JSON that the last process printed; empty where it was killed, or that is lost."""
        try:
            read = json.loads(self.output.read_text().splitlines()[-1])
        except (OSError, ValueError, IndexError):
            return {}
        return read if isinstance(read, dict) else {}

    def forget(self) -> None:
        """The task is finished: what its processes took and printed stands in its result."""
        for path in (self.tries, self.output):
            path.unlink(missing_ok=True)

    def _write(self, spent: Spent) -> None:
        atomic.write_text(self.tries, header.dumps(asdict(spent)))
