"""What does not fit, and which batch would."""

from collections.abc import Callable, Sequence
from typing import Any

from torch import Tensor

from stkit.core.errors import DeviceError
from stkit.engine.runtime import Runtime


def out_of_memory(error: BaseException) -> bool:
    """Whether this is what torch or Python raise when memory runs out, on one device or another."""
    signs = ("out of memory", "allocate memory", "not enough memory", "ALLOC_FAILED",
             "could not create a primitive")  # so says oneDNN  # fmt: skip
    return isinstance(error, MemoryError) or any(sign in str(error) for sign in signs)


def fitted(
    call: Callable[..., Any],
    tensors: Sequence[Tensor],
    runtime: Runtime,
    again: Callable[..., Any] | None = None,
) -> Any:
    """`call(*tensors)`. DeviceError when the batch, the first dimension of all, does not fit.

    To say what would, ever smaller batches are tried by `again`, by default by `call`, which spoils
    what it changes; not on several ranks, where the others do not try.
    """
    try:
        return call(*tensors)
    except (RuntimeError, MemoryError) as error:
        if not out_of_memory(error):
            raise
    # here, where the error no longer holds on to what the failed call had made
    count = len(tensors[0])
    smaller = count // 2 if runtime.world_size == 1 else 0
    remedy = "lower --batch-size, or pass --device cpu"
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
