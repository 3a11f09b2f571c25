"""Computing on one thread for a while: what does not depend on how many there are."""

from collections.abc import Iterator
from contextlib import contextmanager

import torch


@contextmanager
def one_thread() -> Iterator[None]:
    """Torch on a single thread of the CPU, then on as many as before.

    For products and sums that a file's bytes hang on while no header records the threads: cut up
    among several, their last bits would be others.
    """
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(before)
