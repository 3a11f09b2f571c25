"""Arrays in memory or in a file, and memory that is freed stays with the process."""

import os
import platform
import resource
import signal

import numpy as np
import pytest
import torch

from stkit.core import arrays
from stkit.core.errors import ArtifactError
from stkit.engine.process import configure
from stkit.engine.runtime import pick


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="only glibc has the setting")
def test_memory_freed_by_one_step_serves_the_next() -> None:
    """A quarter of a gigabyte in sixteen blocks: 65,536 pages, which the system gives once."""

    def step() -> int:
        before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
        blocks = [torch.ones(1 << 22) for _ in range(16)]
        del blocks
        return resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before

    configure(pick("cpu", "fp32"))
    for _ in range(5):  # until the heap has found its shape
        step()
    assert step() < 1000


@pytest.mark.parametrize(("memory", "in_file"), [(None, False), (30, False), (29, True), (0, True)])
def test_an_array_larger_than_half_of_the_memory_lies_in_a_file(
    memory: int | None, in_file: bool
) -> None:
    found = arrays.zeros((3, 5), np.int8, memory)
    assert isinstance(found, np.memmap) == in_file
    assert found.shape == (3, 5) and found.dtype == np.int8 and not found.any()
    found[1] = 7
    assert found.sum() == 35


def test_what_is_larger_than_the_free_memory_does_not_fit() -> None:
    assert not arrays.fits((2 * arrays.available(),), np.uint8)


@pytest.mark.skipif(not hasattr(os, "posix_fallocate"), reason="the system reserves no space")
def test_a_disk_without_room_for_an_array_is_found_when_it_is_made() -> None:
    """Later the system would end the process, by SIGBUS."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    before = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (1 << 20, hard))
    try:
        with pytest.raises(
            ArtifactError, match="2,097,152 bytes do not fit into memory, nor there"
        ):
            arrays.zeros((1 << 21,), np.uint8, 0)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
        signal.signal(signal.SIGXFSZ, before)
