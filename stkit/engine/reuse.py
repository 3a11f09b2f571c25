"""Memory of a process that does one task after another, each as if it were the first.

What `process.put_back` is for settings, this is for memory.
"""

import gc
from pathlib import Path

import torch

from stkit.core import arrays

ON_GPU = 128 << 20  # bytes that may stay: small tables, and what libraries hold for good
ON_HOST = 2 << 30  # bytes that may come to stay, modules that are imported late among them


class Rest:
    """What the tasks of this process have left behind."""

    def __init__(self) -> None:
        self.usual: int | None = None  # bytes after the first task: libraries stay

    def after_task(self) -> str:
        """Free what a task has left and start the peaks of memory anew; why no other task should
        follow in this process, or nothing."""
        gc.collect()  # a recorded step refers to itself
        gpu = torch.cuda.is_initialized()
        if gpu:
            torch._C._cuda_clearCublasWorkspaces()
            torch.cuda.empty_cache()
            torch.cuda.reset_peak_memory_stats()
            held = torch.cuda.memory_reserved()
            if held > ON_GPU:
                return f"{held >> 20} MiB stay on the GPU"
        arrays.give_back()
        here = _private()
        self.usual = here if self.usual is None else self.usual
        if here - self.usual > ON_HOST:
            return f"{(here - self.usual) >> 20} MiB stay in memory"
        if not _peak_forgotten() and not gpu:
            return "this system does not forget a peak of memory"
        return ""


def _private() -> int:
    """Bytes in memory of this process that are no file's; 0 where the system does not tell."""
    try:
        status = Path("/proc/self/status").read_text()
        return 1024 * int(status.split("RssAnon:")[1].split()[0])
    except (OSError, IndexError):
        return 0


def _peak_forgotten() -> bool:
    """Start the peak that `getrusage` tells of this process anew; whether that is Linux."""
    try:
        Path("/proc/self/clear_refs").write_text("5")
    except OSError:
        return False
    return True
