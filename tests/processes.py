"""Processes that a test starts: none outlives it, and each has time enough on a busy machine."""

import os
import signal
import subprocess
import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from threading import Timer
from typing import Any, NamedTuple

ROOT = Path(__file__).parents[1]
PATIENCE = 1200.0
"""Seconds until what still runs is killed, which fails its test. The longest, all commands of
test_ranks.py in one process, takes about 60 on an idle machine."""


GRACE = 10.0
"""Seconds in which what is told to end may do so by itself."""


class Ended(NamedTuple):
    """What a process left behind."""

    code: int
    out: str
    err: str


@contextmanager
def started(
    commands: Sequence[Sequence[Any]],
    *,
    cwd: Sequence[Path] = (ROOT,),
    env: Sequence[Mapping[str, str]] = ({},),
    patience: float = PATIENCE,
) -> Iterator[list[subprocess.Popen[str]]]:
    """Python with each of these arguments, of this checkout, on one thread; all end with the block.

    cwd, env: of each, in turn. A process's children end with it.
    """
    base = os.environ | {"PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"}
    processes: list[subprocess.Popen[str]] = []

    def kill() -> None:
        for process in processes:
            if process.poll() is None:
                process.terminate()  # torchrun ends its ranks, which are in groups of their own
        for process in processes:
            with suppress(subprocess.TimeoutExpired):
                process.wait(GRACE)
            with suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)  # a group may outlive its leader

    alarm = Timer(patience, kill)
    try:
        for number, command in enumerate(commands):
            processes.append(
                subprocess.Popen(
                    [sys.executable, *map(str, command)], text=True, start_new_session=True,
                    cwd=cwd[number % len(cwd)], env=base | env[number % len(env)],
                    stdout=subprocess.PIPE, stderr=subprocess.PIPE,
                )
            )  # fmt: skip
        alarm.start()
        yield processes
    finally:
        alarm.cancel()
        kill()
        for process in processes:
            process.communicate()


def ended(processes: Sequence[subprocess.Popen[str]]) -> list[Ended]:
    """Wait for each, and say what it left behind."""
    outs = [process.communicate() for process in processes]
    return [Ended(p.returncode, *out) for p, out in zip(processes, outs, strict=True)]


def run(*command: Any, cwd: Path = ROOT, env: Mapping[str, str] | None = None) -> Ended:
    """Python with these arguments, to its end."""
    with started([command], cwd=[cwd], env=[env or {}]) as processes:
        return ended(processes)[0]
