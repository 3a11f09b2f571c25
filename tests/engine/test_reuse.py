"""What a task leaves of its memory to the next one in its process."""

import resource
import sys

import pytest
import torch

from stkit.engine.reuse import Rest


@pytest.mark.skipif(sys.platform != "linux", reason="elsewhere a peak of memory is for good")
def test_a_peak_is_that_of_its_task() -> None:
    rest, size = Rest(), 400 << 20
    rest.after_task()
    before = _peak()
    torch.ones(size, dtype=torch.uint8)
    assert _peak() > before + size // 2
    assert rest.after_task() == ""
    assert _peak() < before + size // 2


def _peak() -> int:
    return 1024 * resource.getrusage(resource.RUSAGE_SELF).ru_maxrss


@pytest.mark.parametrize(("held", "said"), [(3 << 20, ""), (3 << 30, "3072 MiB stay on the GPU")])
def test_what_stays_on_a_gpu_ends_its_process(monkeypatch, held: int, said: str) -> None:
    """A recorded step that is not given back, say; what only waits to be used again is."""
    kept = [held + (9 << 30)]
    monkeypatch.setattr(torch.cuda, "is_initialized", lambda: True)
    monkeypatch.setattr(torch._C, "_cuda_clearCublasWorkspaces", lambda: None, raising=False)
    monkeypatch.setattr(torch.cuda, "empty_cache", lambda: kept.append(held))
    monkeypatch.setattr(torch.cuda, "reset_peak_memory_stats", lambda: None)
    monkeypatch.setattr(torch.cuda, "memory_reserved", lambda: kept[-1])
    assert Rest().after_task() == said
