"""What the processes of a task leave beside its file: a log, what they printed, their time.

It lies in files, so that it is there also when the bench that began a process has died.
"""

import os
import stat
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from stkit.bench.tasks import Task
from stkit.core import atomic, files, header, schema
from stkit.core.errors import ArtifactError
from stkit.report.files import PRINTED


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


SPENT = {"attempts": schema.COUNT, "seconds": (float, 0, 1e15), "timed": schema.COUNT}
"""What is written of it."""


class Attempts:
    """The processes of one task, those of earlier benches among them."""

    def __init__(self, work: Path, task: Task) -> None:
        self.tries, self.output = work / f"{task.file}.tries", work / f"{task.file}.printed"
        self.log = work / "logs" / f"{task.file.removesuffix('.safetensors')}.log"

    def begin(self) -> None:
        """One more process is about to start."""
        try:
            self.log.parent.mkdir(parents=True, exist_ok=True)
            self.output.unlink(missing_ok=True)  # a link is not written through
            if self.log.is_symlink() or not stat.S_ISREG(os.stat(self.log).st_mode):
                raise ArtifactError(f"{self.log}: found no file, expected a log; remove it")
        except FileNotFoundError:
            pass
        except OSError as error:
            where = error.filename or self.log
            raise ArtifactError(
                f"{where}: {error.strerror}; remove it or pass another --work"
            ) from None
        before = self.spent()
        self._write(Spent(before.attempts + 1, before.seconds, before.timed))

    def took(self, seconds: float) -> None:
        """The last process was seen to end without the file, after this time."""
        before = self.spent()
        self._write(Spent(before.attempts, before.seconds + seconds, before.timed + 1))

    def spent(self) -> Spent:
        """What there has been so far."""
        read = _read(self.tries, SPENT)
        return Spent(**{key: read[key] for key in SPENT}) if read else Spent()

    def printed(self) -> dict[str, Any]:
        """The JSON that the last process printed; empty where it was killed, or that is lost."""
        return _read(self.output, PRINTED)

    def forget(self) -> None:
        """The task is finished: what its processes took and printed stands in its result."""
        for path in (self.tries, self.output):
            path.unlink(missing_ok=True)

    def _write(self, spent: Spent) -> None:
        atomic.write_text(self.tries, header.dumps(asdict(spent)))


def _read(path: Path, shape: dict[str, Any]) -> dict[str, Any]:
    """The JSON in the last line of a file, if it is of that shape; else empty."""
    try:
        *_, last = files.content(path).splitlines() or [b""]
        read: dict[str, Any] = header.numbers(files.parse_json(last.decode()))
        schema.check(read, shape)
    except (ArtifactError, ValueError):
        return {}
    return read
