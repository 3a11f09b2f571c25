"""Processes that wait for the next task when one is done: imports and a GPU's start cost seconds.

A worker does what `stkit` would, and says when a task is done. A task that ends in any other way
ends its worker too, by the code or the signal by which it would have ended `stkit`.
"""

import json
import os
import subprocess
from collections.abc import Mapping, Sequence
from contextlib import suppress
from pathlib import Path

BY_ITSELF = "--step=compile"
"""A compiler counts what it has compiled in a process, and gives up after some."""
SETTLED = ("--deterministic", BY_ITSELF)
"""What a process decides once: cuBLAS looks for its workspace at its first product."""


class Worker:
    """A process that does one task after another. kind: what its tasks have in common."""

    def __init__(
        self, program: Sequence[str], kind: tuple[str, ...], log: Path, *,
        environment: Mapping[str, str], locks: Sequence[int],
    ) -> None:  # fmt: skip
        """Start it. log: what it says before its first task has one. locks: open files for it."""
        self.kind, self.busy = kind, False
        with open(log, "ab") as errors:
            self.popen = subprocess.Popen(
                program, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=errors, bufsize=0,
                env=environment, pass_fds=locks, process_group=0,
            )  # fmt: skip
        assert self.popen.stdin and self.popen.stdout
        self.tasks, self.answers = self.popen.stdin, self.popen.stdout
        os.set_blocking(self.answers.fileno(), False)

    def take(self, words: Sequence[str], printed: Path, log: Path) -> None:
        """Begin a task: the words after `stkit`, and where its stdout and stderr go."""
        self.busy = True
        task = {"words": list(words), "printed": str(printed), "log": str(log)}
        with suppress(BrokenPipeError):  # it has died meanwhile, which `poll` says
            self.tasks.write(json.dumps(task).encode() + b"\n")

    def poll(self) -> int | None:
        """None while the task is under way; then its exit code, or the signal below 0."""
        code = self.popen.poll()  # first: what it has said before its end is there then
        said = self.answers.read(1)  # None: nothing yet; empty: it has ended
        code = 0 if said else code
        self.busy = code is None
        return code

    def terminate(self) -> None:
        """Tell the task to save and stop."""
        self.popen.terminate()

    def dismiss(self) -> None:
        """End it at once, as nothing is under way."""
        self.popen.kill()
        self.popen.wait()
        self.tasks.close()
        self.answers.close()


class Workers:
    """As many at a time as there are places. Who waits and fits is taken, else one is started."""

    def __init__(
        self, program: Sequence[str], most: int, *,
        environment: Mapping[str, str], locks: Sequence[int],
    ) -> None:  # fmt: skip
        self.program, self.most = program, most
        self.environment, self.locks = environment, locks
        self.all: list[Worker] = []

    def start(self, words: Sequence[str], device: str, printed: Path, log: Path) -> Worker:
        """Begin a task, for which a place is free; the worker that has it."""
        kind = (device, *(word for word in SETTLED if word in words))
        for worker in [worker for worker in self.all if not worker.busy]:
            if BY_ITSELF in worker.kind or worker.popen.poll() is not None:
                self._dismiss(worker)
        waiting = [worker for worker in self.all if not worker.busy]
        fitting = [worker for worker in waiting if worker.kind == kind]
        if not fitting:
            if len(self.all) >= self.most:
                self._dismiss(waiting[0])
            fitting = [
                Worker(self.program, kind, log, environment=self.environment, locks=self.locks)
            ]
            self.all += fitting
        fitting[0].take(words, printed, log)
        return fitting[0]

    def end(self) -> None:
        """Dismiss all, when no task is under way any more."""
        while self.all:
            self._dismiss(self.all[0])

    def _dismiss(self, worker: Worker) -> None:
        self.all.remove(worker)
        worker.dismiss()
