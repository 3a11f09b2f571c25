"""Stages as processes: each is started when what it needs is there and a place is free.

A stage that fails takes with it only what needs it. To stop, every process gets SIGTERM, upon which
`stkit train` and `stkit poison` save what they have; the next run goes on from there.
"""

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from stkit.bench import locks
from stkit.bench.tasks import Stage
from stkit.core.errors import StkitError
from stkit.report import files

POLL = 0.05  # seconds between two looks at the processes
RETRY = 1.0  # seconds between two looks at a file that another run is making
PATIENCE = 30.0  # seconds to wait at the end for cells that others are at
STOPPED = (130, 143, -signal.SIGINT, -signal.SIGTERM)

Finish = Callable[[Stage, dict[str, Any]], str]
"""Takes a stage whose file is there and what it printed (or nothing); says what for people."""


@dataclass
class Running:
    stage: Stage
    process: subprocess.Popen
    lock: locks.Lock
    device: str
    start: float
    log: Path
    said: int  # bytes in the log before it began


class Pool:
    """Runs stages to the end, `jobs` at a time; afterwards the sets below say what became of each.

    finish: called once for each stage that made its file; its StkitError makes the stage fail.
    say: takes a line of progress. deadline: on the clock of `time.monotonic`.
    """

    def __init__(
        self, out: Path, work: Path, *, devices: list[str], jobs: int, deadline: float | None,
        data_root: Path | None, finish: Finish, say: Callable[[str], None],
    ) -> None:  # fmt: skip
        self.out, self.work, self.devices, self.jobs = out, work, devices, jobs
        self.deadline, self.finish, self.say = deadline, finish, say
        self.done: set[str] = set()  # files
        self.failed: dict[str, str] = {}  # file -> why
        self.elsewhere: dict[str, str] = {}  # file of a cell -> who is at it
        self.signal = 0  # that ended the run; 0: none
        self.stopping = False
        self.running: list[Running] = []
        self.later: dict[str, float] = {}  # file -> when to look again
        self.environment = {k: v for k, v in os.environ.items() if k not in ("RANK", "WORLD_SIZE")}
        if data_root is not None:
            self.environment["STKIT_DATA"] = str(data_root)
        if jobs > 1:  # threads that fight for cores slow each other down several times over
            share = str(max(1, (os.cpu_count() or 1) // jobs))
            self.environment.setdefault("OMP_NUM_THREADS", share)

    def run(self, stages: list[Stage]) -> None:
        """Make the files of these stages, which come after those that they need.

        What others are at stays in the queue: they may stop, or have died. At the end it is waited
        for a while.
        """
        waiting, busy = list(stages), time.monotonic()
        names = (signal.SIGINT, signal.SIGTERM)
        before = {name: signal.signal(name, self._caught) for name in names}
        try:
            while waiting or self.running:
                if self.deadline is not None and time.monotonic() > self.deadline:
                    self._stop("the time is up")
                if self.signal:
                    self._stop("interrupted")
                self._reap()
                if self.stopping:
                    waiting.clear()
                waiting = [stage for stage in waiting if not self._settled(stage)]
                if self.running or any(stage.file not in self.elsewhere for stage in waiting):
                    busy = time.monotonic()
                elif time.monotonic() - busy > PATIENCE:
                    break
                time.sleep(POLL)
        finally:
            self._stop("ending")
            while self.running:
                self._reap()
                time.sleep(POLL)
            for name, handler in before.items():
                signal.signal(name, handler)

    def _caught(self, number: int, _: object) -> None:
        self.signal = self.signal or number

    def _stop(self, why: str) -> None:
        if self.stopping:
            return
        self.stopping = True
        if self.running:
            self.say(f"{why}: {len(self.running)} stages save and stop")
        for run in self.running:
            run.process.terminate()

    def _settled(self, stage: Stage) -> bool:
        """Start a stage if that can be; whether it needs no more attention from `run`."""
        needs = [other.file for other in stage.needs]
        lost = next((other for other in stage.needs if other.file in self.failed), None)
        if lost is not None:
            why = self.failed[lost.file]
            self.failed[stage.file] = f"it needs {lost.name}, which failed: {why}"
            return True
        if len(self.running) >= self.jobs or not self.done.issuperset(needs):
            return False
        if time.monotonic() < self.later.get(stage.file, 0):
            return False
        try:
            return self._start(stage)
        except StkitError as error:
            self._fail(stage, str(error))
            return True

    def _start(self, stage: Stage) -> bool:
        """Lock and start a stage, or finish it where its file is there; False: look again later."""
        trains = stage.verb == ("train",)
        home = self.out / f"{stage.name}.lock" if trains else self.work / f"{stage.file}.lock"
        lock = locks.acquire(home)
        if isinstance(lock, str):
            if stage.file not in self.later:
                self.say(f"{'skip' if trains else 'wait'}   {stage.name}: {lock} is at it")
            self.later[stage.file] = time.monotonic() + RETRY
            if trains:
                self.elsewhere[stage.file] = lock
            return False
        self.elsewhere.pop(stage.file, None)
        made = (self.work / stage.file).exists()
        if made or (trains and (self.out / f"{stage.name}.json").exists()):
            self._finish(stage, "kept", lock)
            return True
        loads = [sum(run.device == device for run in self.running) for device in self.devices]
        device = self.devices[loads.index(min(loads))]
        self.running.append(self._process(stage, lock, device))
        self.say(f"start  {stage.name}" + (f" on {device}" if device != "auto" else ""))
        return True

    def _process(self, stage: Stage, lock: locks.Lock, device: str) -> Running:
        words = [*stage.command(self.work), "--json"]
        if stage.resumable and device != "auto":
            words.append(f"--device={device}")
        log = self.work / "logs" / f"{stage.file.removesuffix('.safetensors')}.log"
        log.parent.mkdir(parents=True, exist_ok=True)
        _begin(self.work, stage)
        with open(log, "ab") as errors, open(_printed(self.work, stage), "wb") as printed:
            said = errors.tell()
            process = subprocess.Popen(
                [sys.executable, "-m", "stkit", *words], stdin=subprocess.DEVNULL, stdout=printed,
                stderr=errors, env=self.environment, pass_fds=(lock.file,), process_group=0,
            )  # fmt: skip
        return Running(stage, process, lock, device, time.monotonic(), log, said)

    def _reap(self) -> None:
        """Take leave of the processes that ended."""
        ended = [run for run in self.running if run.process.poll() is not None]
        self.running = [run for run in self.running if run not in ended]
        for run in ended:
            code = run.process.returncode
            if code == 0:
                self._finish(run.stage, "done", run.lock)
                continue
            _spent(self.work, run.stage, time.monotonic() - run.start)
            run.lock.release()
            if not (self.stopping and code in STOPPED):
                self._fail(run.stage, _why(run, code))

    def _finish(self, stage: Stage, how: str, lock: locks.Lock) -> None:
        """Note a stage whose file is there: of a process that ended, or found under its lock."""
        try:
            line = self.finish(stage, printed(self.work, stage))
            _forget(self.work, stage)
            self.done.add(stage.file)
            self.say(f"{how}   {stage.name}  {line}".rstrip())
        except StkitError as error:
            self._fail(stage, str(error))
        finally:
            lock.release()

    def _fail(self, stage: Stage, why: str) -> None:
        self.failed[stage.file] = why
        self.say(f"failed {stage.name}: {why}")


def _why(run: Running, code: int) -> str:
    """The last line that a stage said, which is its error; or how it ended."""
    with open(run.log, "rb") as file:
        file.seek(run.said)
        lines = file.read().decode(errors="replace").split("\n")
    said = [line.strip() for line in lines if line.strip()]
    if code < 0:
        return f"killed by signal {-code}" + (", perhaps for want of memory" if code == -9 else "")
    return said[-1].removeprefix("error: ") if said else f"ended with code {code}; see {run.log}"


def _tries(work: Path, stage: Stage) -> Path:
    return work / f"{stage.file}.tries"


def _printed(work: Path, stage: Stage) -> Path:
    return work / f"{stage.file}.printed"


def printed(work: Path, stage: Stage) -> dict[str, Any]:
    """What the last process of a stage printed; nothing where it was killed, or that is lost.

    It lies in a file, so that it is there also when the run that began the process has died.
    """
    try:
        found = json.loads(_printed(work, stage).read_text().splitlines()[-1])
    except (OSError, ValueError, IndexError):
        return {}
    return found if isinstance(found, dict) else {}


def spent(work: Path, stage: Stage) -> dict[str, Any]:
    """How many processes a stage has had, `seconds` of those interrupted, `timed` how many.

    One that ended unseen, when the run that had begun it was gone, has no time.
    """
    try:
        found = json.loads(_tries(work, stage).read_text())
        return {
            "attempts": int(found["attempts"]), "seconds": float(found["seconds"]),
            "timed": int(found["timed"]),
        }  # fmt: skip
    except (OSError, ValueError, KeyError, TypeError):
        return {"attempts": 0, "seconds": 0.0, "timed": 0}


def _begin(work: Path, stage: Stage) -> None:
    before = spent(work, stage)
    files.write(_tries(work, stage), before | {"attempts": before["attempts"] + 1})


def _spent(work: Path, stage: Stage, seconds: float) -> None:
    before = spent(work, stage)
    found = {"seconds": before["seconds"] + seconds, "timed": before["timed"] + 1}
    files.write(_tries(work, stage), before | found)


def _forget(work: Path, stage: Stage) -> None:
    """The stage is finished: what its processes took and printed stands in its result."""
    for path in (_tries(work, stage), _printed(work, stage)):
        path.unlink(missing_ok=True)
