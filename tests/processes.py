"""Processes that a test starts: none outlives it, and each has time enough on a busy machine."""

import os
import signal
import subprocess
import sys
from collections.abc import Mapping
from contextlib import suppress
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


def run(*command: Any, cwd: Path = ROOT, env: Mapping[str, str | None] | None = None) -> Ended:
    """Python with these arguments, of this checkout, on one thread; what it left behind.

    env: what is other than in this process; None: not set. Its children end with it.
    """
    variables = os.environ | {"PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"} | (env or {})
    process = subprocess.Popen(
        [sys.executable, *map(str, command)], text=True, start_new_session=True, cwd=cwd,
        env={name: value for name, value in variables.items() if value is not None},
        stdout=subprocess.PIPE, stderr=subprocess.PIPE,
    )  # fmt: skip

    def kill() -> None:
        process.terminate()  # torchrun ends its ranks, which are in groups of their own
        with suppress(subprocess.TimeoutExpired):
            process.wait(GRACE)
        with suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)  # a group may outlive its leader

    alarm = Timer(PATIENCE, kill)
    alarm.start()
    try:
        out, err = process.communicate()
    finally:
        alarm.cancel()
        kill()
    return Ended(process.returncode, out, err)
