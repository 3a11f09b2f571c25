"""Functions on tensors replayed as CUDA graphs: the kernels of a whole step in one launch.

A GPU of today finishes the kernels of a small network faster than Python can launch them, so what
is called over and over with the same shapes is recorded once and replayed.
"""

import gc
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager
from typing import Any, Protocol

import torch
from torch import Tensor

from stkit.core.errors import DeviceError
from stkit.engine.memory import Recorded, fitted, out_of_memory
from stkit.engine.process import undetermined
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
        self.replay = None  # so that a recording of fewer images is free before this one
        self.inputs = [tensor.detach().clone() for tensor in tensors]
        before = [(tensor, tensor.detach().clone()) for tensor in self.state()]

        def restore() -> None:
            with torch.no_grad():
                for tensor, value in before:
                    tensor.copy_(value)

        self.replay = (self.runtime.record or record)(lambda: self.body(*self.inputs), restore)
        restore()


class Cuda(Protocol):
    """What `record` uses of `torch.cuda`."""

    @property
    def Stream(self) -> Callable[[], torch.cuda.Stream]:
        """A stream of CUDA's."""

    @property
    def CUDAGraph(self) -> Callable[[], torch.cuda.CUDAGraph]:
        """A graph without a step."""

    @property
    def graph(self) -> Callable[..., AbstractContextManager[None]]:
        """What captures into a graph."""

    @property
    def stream(self) -> Callable[[torch.cuda.Stream], AbstractContextManager[Any]]:
        """What makes a stream the current one."""

    def current_stream(self) -> torch.cuda.Stream:
        """The stream that kernels are launched on."""
        ...

    def get_rng_state(self) -> Tensor:
        """The state of the generator that Dropout draws from."""
        ...

    def set_rng_state(self, new_state: Tensor) -> None:
        """Put such a state back."""
        ...


def record(
    run: Callable[[], Any], restore: Callable[[], None], cuda: Cuda = torch.cuda
) -> Callable[[], Any]:
    """Record what `run` launches, on a side stream as graphs need it; returns what replays it.

    Each recording warms up on the stream that it is captured on, and has one of its own: with a
    graph torch drops the workspace that cuBLAS has for its stream, from which others may compute
    (pytorch/pytorch#193402). What an earlier recording holds is collected first: it refers to
    itself, and is large. The generator that Dropout draws from is left as it was found. Errors: see
    `captured`; after one the generator and the memory of this process are of no use.
    """
    gc.collect()
    drawn = cuda.get_rng_state()
    graph, side = cuda.CUDAGraph(), cuda.Stream()
    side.wait_stream(cuda.current_stream())
    with cuda.stream(side):  # which a capture that fails would leave the current one
        for _ in range(WARM_UP):
            run()
            restore()
        # thread_local: a feed's thread goes on sending images meanwhile
        capture = cuda.graph(graph, stream=side, capture_error_mode="thread_local")
        result = captured(run, capture)
    cuda.current_stream().wait_stream(side)
    cuda.set_rng_state(drawn)

    def replay() -> Any:
        graph.replay()
        return result

    return replay


def captured(run: Callable[[], Any], capture: AbstractContextManager[None]) -> Any:
    """What `run` returns within the capture.

    Where memory runs out that is `Recorded`, what else PyTorch raises a DeviceError with the
    remedy; any other error stays what it is. The cause is what `run` raised: to end a capture in
    which something has failed raises an error of its own over that.
    """
    causes: list[Exception] = []
    try:
        with capture:
            try:
                return run()
            except Exception as error:
                causes.append(error)
                raise
    except Exception as error:
        cause = causes[0] if causes else error
        if out_of_memory(cause):
            raise Recorded from cause
        if isinstance(cause, RuntimeError):
            raise DeviceError(refusal(cause)) from cause
        raise cause from None


def refusal(error: RuntimeError) -> str:
    """What to say of the error that a capture failed of."""
    said = " ".join(str(error).partition("Search for")[0].split())[:120]
    return undetermined(error) or (
        f"this model's step cannot be recorded as a CUDA graph ({said}); pass --step eager"
    )
