"""Memory that is freed stays with the process."""

import platform
import resource

import pytest
import torch

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
    step(), step()
    assert step() < 1000
