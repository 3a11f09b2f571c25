"""What the tests see of GPUs: nothing, but those that are marked `gpu`."""

import processes
import pytest
import torch
from conftest import VISIBLE

from stkit.bench.estimate import on_gpu


def test_gpus_are_hidden():
    """From child processes too."""
    assert not torch.cuda.is_available()
    assert processes.run("-c", "import os; print(os.environ['CUDA_VISIBLE_DEVICES'])").out == "\n"


@pytest.mark.skipif(not on_gpu("auto"), reason="no GPU here")
def test_those_that_want_a_gpu():
    """In a process of their own, to which the GPUs are shown again."""
    shown = {"CUDA_VISIBLE_DEVICES": VISIBLE}
    ended = processes.run("-m", "pytest", "-m", "gpu", "-p", "no:xdist", env=shown)
    assert ended.code == 0, ended.out + ended.err
