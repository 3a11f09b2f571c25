"""`python -m stkit.cli.worker`: tasks of a bench one after another, see `bench.workers`.

Each line of stdin is a task as JSON: `words` after `stkit`, and the files `printed` and `log` for
stdout and stderr. One that is done is answered by a byte on the stdout that this began with; one
that fails ends the process, and so does stdin when it ends, as it does when the bench was killed.
"""

import ctypes
import json
import os
import signal
import sys
from contextlib import suppress

from stkit.cli.app import main
from stkit.cli.output import note


def work() -> int:
    """Do tasks until one fails or leaves too much behind, or there are no more; the exit code."""
    from stkit.engine import process, reuse

    tasks, answers = os.fdopen(os.dup(0)), os.dup(1)
    _lead(0, os.devnull, os.O_RDONLY)
    rest = reuse.Rest()
    _on_signals(signal.SIG_DFL)
    for line in tasks:
        task = json.loads(line)
        _lead(1, task["printed"], os.O_WRONLY | os.O_CREAT | os.O_TRUNC)
        _lead(2, task["log"], os.O_WRONLY | os.O_CREAT | os.O_APPEND)
        with process.put_back():
            code = main(task["words"])
            _on_signals(signal.SIG_IGN)  # the task has ended; it is only to be said
        for stream in (sys.stdout, sys.stderr):
            stream.flush()
        ctypes.CDLL(None).fflush(None)
        if code:
            return code
        too_much = rest.after_task()
        if too_much:
            note(f"note: {too_much}; the next task has a new process")
            return 0
        _on_signals(signal.SIG_DFL)
        with suppress(BrokenPipeError):  # nobody listens any more, and no more tasks come
            os.write(answers, b"\n")
    return 0


def _on_signals(handler: signal.Handlers) -> None:
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, handler)


def _lead(stream: int, path: str, flags: int) -> None:
    """Let a standard stream, which C libraries write to as well, lead to a file."""
    file = os.open(path, flags, 0o666)
    os.dup2(file, stream)
    os.close(file)


if __name__ == "__main__":
    raise SystemExit(work())
