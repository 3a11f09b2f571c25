"""Arrays in memory or in a file, and memory that is freed stays with the process."""

import platform
import resource

import numpy as np
import pytest
import torch

from stkit.core import arrays
from stkit.engine.runtime import pick


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="only glibc has the setting")
def test_memory_freed_by_one_step_serves_the_next() -> None:
    """A quarter of a gigabyte in sixteen blocks: 65,536 pages, which the system gives once."""

    def step() -> int:
        before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
        blocks = [torch.ones(1 << 22) for _ in range(16)]
        del blocks
        return resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before

    pick("cpu", "fp32")
    step(), step()
    assert step() < 1000


@pytest.mark.parametrize("in_memory", [None, True, False])
def test_an_array_of_zeros_lies_where_it_is_told_to(in_memory: bool | None) -> None:
    """None: where it fits, and a small one does."""
    found = arrays.zeros((3, 5), np.int8, in_memory=in_memory)
    assert isinstance(found, np.memmap) == (in_memory is False)
    assert found.shape == (3, 5) and found.dtype == np.int8 and not found.any()
    found[1] = 7
    assert found.sum() == 35


def test_what_is_larger_than_the_free_memory_does_not_fit() -> None:
    assert not arrays.fits((2 * arrays.available(),), np.uint8)
    assert arrays.fits((1,), np.uint8)
