"""What to say when a file that is read or written through memory is cut off meanwhile.

Large files are memory-mapped. Where one becomes shorter while it is read, or the disk of one that
is written is full, the system sends SIGBUS, which ends the process without a word. A handler in
Python cannot help: it would run after the instruction that failed, which is tried again for ever.
So C's `signal` gets a function that says one line and ends the process, saving nothing.
"""

import os
import signal

LINE = (
    b"error: a file was cut off while it was used, or its disk is full or failed; check the input "
    b"files and the space for temporary ones; where FILE.part is there, the same command with "
    b"--resume goes on\n"
)
STDERR = 2
kept: list[object] = []
"""What C calls must not be collected."""


def watch() -> None:
    """Say LINE and exit with 1 on SIGBUS, where the system has it and nobody else deals with it."""
    import ctypes
    import faulthandler

    if kept or not hasattr(signal, "SIGBUS") or faulthandler.is_enabled():
        return

    lines = [LINE]

    def end(_: int) -> None:
        if lines:  # several threads may read; the others come back here until all ends
            os.write(STDERR, lines.pop())
            os._exit(1)

    kind = ctypes.CFUNCTYPE(None, ctypes.c_int)
    handler = kind(end)
    set_handler = ctypes.CDLL(None).signal
    set_handler.argtypes, set_handler.restype = (ctypes.c_int, kind), ctypes.c_void_p
    set_handler(signal.SIGBUS, handler)
    kept.append(handler)
