"""What does not fit, and which batch would."""

from collections.abc import Callable, Sequence
from math import inf
from typing import Any

import torch
from torch import Tensor

from stkit.core.errors import DeviceError
from stkit.engine.runtime import Runtime

SIGNS = (
    "out of memory", "allocate memory", "not enough memory", "ALLOC_FAILED",
    "could not create a primitive",  # so says oneDNN
)  # fmt: skip
DOUBTFUL = (
    "unable to find an engine", "CUDNN_STATUS_", "CUBLAS_STATUS_", "previous error during capture",
)  # fmt: skip
"""What CUDA's libraries say when they get no memory, and of other troubles too. The last is said of
memory by torch's allocator, which frees what it keeps within a capture: pytorch/pytorch#187795."""
LITTLE, SHARE = 2**30, 0.03
"""Bytes, and the share of a GPU's memory: below either of them little is free. cuDNN asks for some
hundred MB to work in; which engine it takes it finds out by trying."""


class Recorded(MemoryError):
    """Memory that ran out within a recording.

    It keeps what it took until the process ends, so that a smaller batch cannot be tried.
    """


def room() -> tuple[float, float]:
    """Bytes of the current GPU, free and in all; infinite where none is in use.

    Infinite too where it answers no more, as after an illegal access.
    """
    try:
        return torch.cuda.mem_get_info() if torch.cuda.is_initialized() else (inf, inf)
    except RuntimeError:
        return inf, inf


def out_of_memory(error: BaseException, room: Callable[[], tuple[float, float]] = room) -> bool:
    """Whether this is what torch or Python raise when memory runs out, on one device or another."""
    said = str(error)
    if isinstance(error, MemoryError) or any(sign in said for sign in SIGNS):
        return True
    if not any(sign in said for sign in DOUBTFUL):
        return False
    free, whole = room()
    return free < max(LITTLE, SHARE * whole)


def fitted(
    call: Callable[..., Any],
    tensors: Sequence[Tensor],
    runtime: Runtime,
    again: Callable[..., Any] | None = None,
) -> Any:
    """`call(*tensors)`. DeviceError when the batch, the first dimension of all, does not fit.

    To say what would, ever smaller batches are tried by `again`, by default by `call`, which spoils
    what it changes; not on several ranks, where the others do not try, nor after `Recorded`.
    """
    try:
        return call(*tensors)
    except (RuntimeError, MemoryError) as error:
        if not out_of_memory(error):
            raise
        recorded = isinstance(error, Recorded)
    # here, where the error no longer holds on to what the failed call had made
    count = len(tensors[0])
    smaller = count // 2 if runtime.world_size == 1 else 0
    remedy = "lower --batch-size, or pass --device cpu"
    if recorded and smaller:
        remedy, smaller = f"try --batch-size {smaller}, or pass --step eager", 0
    while smaller:
        try:
            (again or call)(*(t[: len(t) * smaller // count] for t in tensors))
            remedy = f"--batch-size {smaller} fits"
            break
        except (RuntimeError, MemoryError) as error:
            if not out_of_memory(error):
                raise
        smaller //= 2
    raise DeviceError(f"a batch of {count} images does not fit into the memory; {remedy}")
