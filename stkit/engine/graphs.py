"""Functions on tensors replayed as CUDA graphs: the kernels of a whole step in one launch.

A GPU of today finishes the kernels of a small network faster than Python can launch them, so what
is called over and over with the same shapes is recorded once and replayed.
"""

import gc
from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor

from stkit.core.errors import DeviceError
from stkit.engine.memory import fitted
from stkit.engine.runtime import Runtime

WARM_UP = 3  # calls before the recording, in which libraries choose and load their kernels


class Captured:
    """`body(*tensors)`, replayed where the runtime says so, else simply called.

    `record` records it, or what the runtime has for that. body: takes tensors, changes tensors of
    its own in place, and returns tensors or None. It may not wait for the device, nor depend on
    Python numbers that change: what changes between calls is in its arguments or on the device.
    state: what it changes in place, put back after the calls that only warm up. The result of a
    replay is overwritten by the next one. DeviceError as by `fitted`.
    """

    def __init__(
        self,
        body: Callable[..., Any],
        runtime: Runtime,
        state: Callable[[], Sequence[Tensor]] = tuple,
    ) -> None:
        self.body, self.runtime, self.state = body, runtime, state
        self.inputs: list[Tensor] = []
        self.replay: Callable[[], Any] | None = None

    def __call__(self, *tensors: Tensor) -> Any:
        """What the body returns for these tensors."""
        return fitted(self._call, tensors, self.runtime, self.body)

    def _call(self, *tensors: Tensor) -> Any:
        if not self.runtime.replays:
            return self.body(*tensors)
        if self.replay is None or len(tensors[0]) > len(self.inputs[0]):
            self._capture(tensors)  # again where the first was the ragged rest of a set
        if any(a.shape != b.shape for a, b in zip(self.inputs, tensors, strict=True)):
            return self.body(*tensors)  # the ragged rest of a set
        for static, tensor in zip(self.inputs, tensors, strict=True):
            static.copy_(tensor, non_blocking=True)
        assert self.replay is not None
        return self.replay()

    def _capture(self, tensors: tuple[Tensor, ...]) -> None:
        self.inputs = [tensor.detach().clone() for tensor in tensors]
        before = [(tensor, tensor.detach().clone()) for tensor in self.state()]

        def restore() -> None:
            with torch.no_grad():
                for tensor, value in before:
                    tensor.copy_(value)

        self.replay = (self.runtime.record or record)(lambda: self.body(*self.inputs), restore)
        restore()


def record(run: Callable[[], Any], restore: Callable[[], None]) -> Callable[[], Any]:
    """Record what `run` launches, on a side stream as graphs need it; returns what replays it.

    What an earlier recording holds is collected first: it refers to itself, and is large.
    The generator that Dropout draws from is left as it was found.
    """
    gc.collect()
    drawn = torch.cuda.get_rng_state()
    side = torch.cuda.Stream()
    side.wait_stream(torch.cuda.current_stream())
    with torch.cuda.stream(side):
        for _ in range(WARM_UP):
            run()
            restore()
    torch.cuda.current_stream().wait_stream(side)
    graph = torch.cuda.CUDAGraph()
    try:
        # thread_local: a feed's thread goes on sending images meanwhile
        with torch.cuda.graph(graph, capture_error_mode="thread_local"):
            result = run()
    except torch.OutOfMemoryError:
        raise
    except RuntimeError as error:
        reason = " ".join(str(error).split())[:120]
        raise DeviceError(
            f"this model's step cannot be recorded as a CUDA graph ({reason}); pass --step eager"
        ) from None
    torch.cuda.set_rng_state(drawn)

    def replay() -> Any:
        graph.replay()
        return result

    return replay
