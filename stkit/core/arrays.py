"""Large arrays: in memory where they fit, else in a file that vanishes with the process.

The file is made where Python makes temporary files (`TMPDIR` says otherwise), already unlinked. And
memory that was freed, which a process may keep.
"""

import ctypes
import math
import os
import tempfile
from contextlib import suppress

import numpy as np

from stkit.core.errors import ArtifactError

M_TRIM_THRESHOLD, M_MMAP_THRESHOLD = -1, -3  # of glibc's malloc.h
SHARE = 0.5  # of the memory that is available now; a larger array goes into a file


def available() -> int:
    """Bytes of memory that can be had without swapping, as far as the system tells."""
    try:
        with open("/proc/meminfo") as file:
            sizes = dict(line.split(":") for line in file)
        return int(sizes["MemAvailable"].split()[0]) * 1024
    except (OSError, KeyError, ValueError):
        return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")


def fits(shape: tuple[int, ...], dtype: type, memory: int | None = None) -> bool:
    """Whether such an array may lie in memory, of which so many bytes (None: `available`) are."""
    memory = available() if memory is None else memory
    return math.prod(shape) * np.dtype(dtype).itemsize <= SHARE * memory


def zeros(shape: tuple[int, ...], dtype: type, memory: int | None = None) -> np.ndarray:
    """An array of zeros, memory-mapped from a file when it does not fit, see `fits`.

    ArtifactError where the disk has no room for that file: later, it would end the process.
    """
    if fits(shape, dtype, memory):
        return np.zeros(shape, dtype)
    size = math.prod(shape) * np.dtype(dtype).itemsize
    try:
        with tempfile.TemporaryFile() as file:
            if hasattr(os, "posix_fallocate"):  # not on macOS
                os.posix_fallocate(file.fileno(), 0, size)
            return np.memmap(file, dtype, "w+", shape=shape)
    except OSError as error:
        raise ArtifactError(
            f"{tempfile.gettempdir()}: {size:,} bytes do not fit into memory, nor there "
            f"({error.strerror or error}); set TMPDIR to a folder with more space"
        ) from None


def keep_freed() -> None:
    """Let this process keep the memory that it frees, under glibc (elsewhere nothing happens).

    Otherwise what a step frees at its end goes back to the system, and the next one takes it again
    page by page: 5,000 page faults and a sixth of the time of a step of the small net. It costs
    about a twentieth more memory; blocks of 32 MiB and above still go back.
    """
    try:
        mallopt = ctypes.CDLL(None).mallopt
    except (AttributeError, TypeError):  # macOS, musl; Windows
        return
    mallopt(M_TRIM_THRESHOLD, 1 << 30)
    mallopt(M_MMAP_THRESHOLD, 1 << 25)  # the most that every version takes


def give_back() -> None:
    """Let the system have the memory that this process has freed and kept, under glibc."""
    with suppress(AttributeError, TypeError):
        ctypes.CDLL(None).malloc_trim(0)
