"""Tasks in processes: each is begun when what it needs is there and a place is free.

A task that fails takes with it only what needs it. To stop, every process gets SIGTERM, upon which
`stkit train` and `stkit poison` save what they have; the next bench goes on from there.
"""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from stkit.bench.attempts import Attempts
from stkit.bench.tasks import Task
from stkit.bench.workers import Worker, Workers
from stkit.core.errors import StkitError

WORKER = (sys.executable, "-m", "stkit.cli.worker")
POLL = 0.02  # seconds between two looks at the processes
STOPPED = (130, 143, -signal.SIGINT, -signal.SIGTERM)

Finish = Callable[[Task], str]
"""Takes a task whose file is there; says what for people. Its StkitError makes the task fail."""


@dataclass(frozen=True)
class Host:
    """What a bench takes from the machine: a clock in seconds, and how many tasks may compute side
    by side on its CPU. program: does as `stkit`, once for each task, in the place of workers."""

    program: tuple[str, ...] = ()
    clock: Callable[[], float] = time.monotonic
    cores: int = 1


@dataclass(frozen=True)
class Places:
    """Where tasks run: so many side by side, on these devices. locks: open files for each."""

    devices: Sequence[str]
    jobs: int
    locks: tuple[int, ...] = ()


@dataclass
class Outcome:
    """What became of the tasks, by their files; those in neither were not ended."""

    done: set[str] = field(default_factory=set)
    failed: dict[str, str] = field(default_factory=dict)  # file -> why
    signal: int = 0  # that ended it all; 0: none


@dataclass(frozen=True)
class Process:
    """A task under way. said: bytes that were in its log before it began."""

    task: Task
    popen: subprocess.Popen[bytes] | Worker
    device: str
    start: float
    said: int


class Pool:
    """Runs tasks to the end, as many at a time as there are places.

    work: the folder of their files. finish: called once for each task that made its file.
    say: takes a line of progress. deadline: on the host's clock. watch: looks at the pool, often.
    """

    def __init__(
        self, work: Path, places: Places, *, finish: Finish, say: Callable[[str], None],
        deadline: float | None = None, data_root: Path | None = None, host: Host | None = None,
        watch: "Callable[[Pool], None] | None" = None,
    ) -> None:  # fmt: skip
        self.work, self.places, self.finish, self.say = work, places, finish, say
        self.deadline, self.host, self.watch = deadline, host or Host(), watch
        self.environment = _environment(places.jobs, data_root)
        self.workers = Workers(
            WORKER, places.jobs, environment=self.environment, locks=places.locks
        )
        self.outcome = Outcome()
        self.stopping = False
        self.running: list[Process] = []

    def run(self, tasks: Sequence[Task]) -> Outcome:
        """Make the files of these tasks, which come after those that they need."""
        waiting = list(tasks)
        before = {
            name: signal.signal(name, self._caught) for name in (signal.SIGINT, signal.SIGTERM)
        }
        try:
            while waiting or self.running:
                if self.deadline is not None and self.host.clock() > self.deadline:
                    self._stop("the time is up")
                if self.outcome.signal:
                    self._stop("interrupted")
                self._reap()
                if self.stopping:
                    waiting.clear()
                if len(self.running) < self.places.jobs:
                    waiting = [task for task in waiting if not self._settled(task)]
                if self.watch is not None:
                    self.watch(self)
                time.sleep(POLL)
        finally:
            self._stop("ending")
            while self.running:
                self._reap()
                time.sleep(POLL)
            self.workers.end()
            for name, handler in before.items():
                signal.signal(name, handler)
        return self.outcome

    def _caught(self, number: int, _: object) -> None:
        self.outcome.signal = self.outcome.signal or number

    def _stop(self, why: str) -> None:
        if self.stopping:
            return
        self.stopping = True
        if self.running:
            count = len(self.running)
            stop = "task saves and stops" if count == 1 else "tasks save and stop"
            self.say(f"{why}: {count} {stop}")
        for process in self.running:
            process.popen.terminate()

    def _settled(self, task: Task) -> bool:
        """Start a task, or finish it, if that can be; whether it waits no longer."""
        lost = next((other for other in task.needs if other.file in self.outcome.failed), None)
        if lost is not None:
            why = self.outcome.failed[lost.file]
            self.outcome.failed[task.file] = f"it needs {lost.name}, which failed: {why}"
            return True
        if len(self.running) >= self.places.jobs:
            return False
        if not self.outcome.done.issuperset(other.file for other in task.needs):
            return False
        if (self.work / task.file).exists():
            self._finish(task, "kept")
        else:
            self._start(task)
        return True

    def _start(self, task: Task) -> None:
        devices = self.places.devices
        loads = [sum(process.device == device for process in self.running) for device in devices]
        device = devices[loads.index(min(loads))]
        words = [*task.command(self.work), "--json"]
        if task.resumable and device != "auto":
            words.append(f"--device={device}")
        attempts = Attempts(self.work, task)
        try:
            attempts.begin()
        except StkitError as error:
            self._fail(task, str(error))
            return
        start = self.host.clock()
        with open(attempts.log, "ab") as errors, open(attempts.output, "wb") as printed:
            said = errors.tell()
            popen: subprocess.Popen[bytes] | Worker
            if self.host.program:
                popen = subprocess.Popen(
                    [*self.host.program, *words], stdin=subprocess.DEVNULL, stdout=printed,
                    stderr=errors, env=self.environment, pass_fds=self.places.locks,
                    process_group=0,
                )  # fmt: skip
            else:
                popen = self.workers.start(words, device, attempts.output, attempts.log)
        self.running.append(Process(task, popen, device, start, said))
        self.say(f"start  {task.name}" + (f" on {device}" if device != "auto" else ""))

    def _reap(self) -> None:
        """Take leave of the processes that ended."""
        codes = [(process, process.popen.poll()) for process in self.running]
        self.running = [process for process, code in codes if code is None]
        for process, code in codes:
            if code is None:
                continue
            if code == 0:
                self._finish(process.task, "done")
                continue
            attempts = Attempts(self.work, process.task)
            attempts.took(self.host.clock() - process.start)
            if not (self.stopping and code in STOPPED):
                self._fail(process.task, _why(attempts.log, process.said, code))

    def _finish(self, task: Task, how: str) -> None:
        """Note a task whose file is there: made by its process, or found."""
        try:
            line = self.finish(task)
        except StkitError as error:
            self._fail(task, str(error))
            return
        self.outcome.done.add(task.file)
        self.say(f"{how}   {task.name}  {line}".rstrip())

    def _fail(self, task: Task, why: str) -> None:
        self.outcome.failed[task.file] = why
        self.say(f"failed {task.name}: {why}")


def _environment(jobs: int, data_root: Path | None) -> dict[str, str]:
    """The environment of every process: of no ranks, its share of the cores."""
    of_ranks = ("RANK", "WORLD_SIZE")
    environment = {key: value for key, value in os.environ.items() if key not in of_ranks}
    if data_root is not None:
        environment["STKIT_DATA"] = str(data_root)
    if jobs > 1:  # threads that fight for cores slow each other down several times over; those that
        # decide bytes are in the task's command
        environment.setdefault("OMP_NUM_THREADS", str(max(1, (os.cpu_count() or 1) // jobs)))
    return environment


def _why(log: Path, start: int, code: int) -> str:
    """The last line that a process said, which is its error; or how it ended."""
    with open(log, "rb") as file:
        file.seek(start)
        lines = file.read().decode(errors="replace").split("\n")
    said = [line.strip() for line in lines if line.strip()]
    if code < 0:
        return f"killed by signal {-code}" + (", perhaps for want of memory" if code == -9 else "")
    return said[-1].removeprefix("error: ") if said else f"ended with code {code}; see {log}"
