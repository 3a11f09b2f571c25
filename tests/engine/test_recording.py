"""What `graphs.record` asks of CUDA, and what it says where a recording fails, by a made-up CUDA.

As PyTorch's, it raises an error of its own when a capture ends after something failed in it, and
then leaves its stream the current one.
"""

from contextlib import contextmanager
from dataclasses import replace
from functools import partial

import pytest
import torch

from stkit.core.errors import DataError, DeviceError
from stkit.engine import graphs
from stkit.engine.memory import Recorded, out_of_memory
from stkit.engine.runtime import pick

CPU = pick("cpu", "fp32")
SPOILT = "CUDA error: operation failed due to a previous error during capture"
FORBIDDEN = RuntimeError(
    "CUDA error: operation not permitted when stream is capturing\n"
    "Search for `cudaErrorStreamCaptureUnsupported' in https://docs.nvidia.com"
)
UNDETERMINED = RuntimeError(
    "put_ does not have a deterministic implementation, but you set "
    "'torch.use_deterministic_algorithms(True)'."
)
FULL = torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2 GiB.")


class Stream:
    def wait_stream(self, other: "Stream") -> None: ...


class Graph:
    replays = 0

    def replay(self) -> None:
        self.replays += 1


class Capture:
    def __init__(self, cuda: "Cuda", stream: Stream) -> None:
        self.cuda, self.stream = cuda, stream

    def __enter__(self) -> None:
        self.before, self.cuda.current = self.cuda.current, self.stream
        self.cuda.capturing = True

    def __exit__(self, *raised: object) -> None:
        self.cuda.capturing = False
        if raised[0] and self.cuda.ending:
            raise RuntimeError(self.cuda.ending)
        self.cuda.current = self.before


class Cuda:
    """ending: what the end of a capture that failed raises; None: nothing."""

    Stream, CUDAGraph = Stream, Graph

    def __init__(self, ending: str | None = SPOILT) -> None:
        self.main = self.current = Stream()
        self.ending, self.capturing, self.drawn = ending, False, torch.zeros(1)

    def current_stream(self) -> Stream:
        return self.current

    @contextmanager
    def stream(self, stream: Stream):
        before, self.current = self.current, stream
        try:
            yield
        finally:
            self.current = before

    def graph(self, graph: Graph, *, stream: Stream, capture_error_mode: str) -> Capture:
        assert capture_error_mode == "thread_local"
        return Capture(self, stream)

    def get_rng_state(self) -> torch.Tensor:
        return self.drawn.clone()

    def set_rng_state(self, new_state: torch.Tensor) -> None:
        self.drawn = new_state


def test_a_recording_has_one_stream_and_no_other_has_it():
    cuda, calls, streams = Cuda(), [], []

    def run() -> str:
        cuda.drawn = cuda.drawn + 1
        calls.append(cuda.capturing)
        streams.append(cuda.current)
        return "result"

    one, two = (graphs.record(run, lambda: None, cuda) for _ in range(2))
    assert calls == 2 * [*graphs.WARM_UP * [False], True]
    assert len(set(streams)) == 2 and cuda.main not in streams
    assert len(set(streams[: graphs.WARM_UP + 1])) == 1
    assert cuda.current is cuda.main and cuda.drawn == 0
    assert one() == two() == "result"


@pytest.mark.parametrize("ending", [None, SPOILT, "CUDA error: capturing stream has unjoined work"])
@pytest.mark.parametrize(
    ("error", "kind", "said"),
    [
        (FORBIDDEN, DeviceError, r"graph \(CUDA error: operation not permitted when stream is "
         r"capturing\); pass --step eager$"),
        (UNDETERMINED, DeviceError, "^put_ has no deterministic implementation here; leave --det"),
        (FULL, Recorded, "^$"),
        (DataError("ten classes"), DataError, "^ten classes$"),
    ],
)  # fmt: skip
def test_a_recording_that_fails_tells_the_cause(error, kind, said, ending):
    cuda = Cuda(ending)

    def run() -> None:
        if cuda.capturing:
            raise error

    with pytest.raises(kind, match=said):
        graphs.record(run, lambda: None, cuda)
    assert cuda.current is cuda.main


def test_an_error_that_was_being_handled_before_is_no_cause():
    cuda = Cuda()

    def run() -> None:
        if cuda.capturing:
            raise RuntimeError(SPOILT)

    with pytest.raises(DeviceError, match="previous error during capture"):
        try:
            raise KeyError("an older one")
        except KeyError:
            graphs.record(run, lambda: None, cuda)


@pytest.mark.parametrize(
    ("warms", "remedy"),
    [(False, "--batch-size 2 fits"), (True, "try --batch-size 8, or pass --step eager")],
)
def test_smaller_batches_are_tried_but_not_after_a_capture_that_failed(warms, remedy):
    """Memory for three images at a time; warms: outside of the capture there is enough for all."""
    cuda, tried = Cuda(), []
    runtime = replace(CPU, how="graph", record=partial(graphs.record, cuda=cuda))

    def body(x: torch.Tensor) -> None:
        tried.append(len(x))
        if len(x) > 3 and (cuda.capturing or not warms):
            raise FULL

    with pytest.raises(DeviceError, match=f"a batch of 16 .* the memory; {remedy}$"):
        graphs.Captured(body, runtime)(torch.zeros(16))
    assert tried == ([16, 16, 16, 16] if warms else [16, 8, 4, 2])


@pytest.mark.parametrize(
    "said",
    [
        "FIND was unable to find an engine to execute this computation",
        "cuDNN error: CUDNN_STATUS_EXECUTION_FAILED",
        "CUDA error: CUBLAS_STATUS_NOT_INITIALIZED when calling `cublasCreate(handle)`",
        SPOILT,
    ],
)
def test_what_libraries_fail_in_is_memory_only_where_little_is_free(said):
    gib = 2**30
    for free, whole, little in ((gib - 1, 8 * gib, True), (2 * gib, 80 * gib, True),
                                (gib, 8 * gib, False), (3 * gib, 80 * gib, False)):  # fmt: skip
        assert out_of_memory(RuntimeError(said), lambda: (free, whole)) is little  # noqa: B023
    assert not out_of_memory(RuntimeError(said)), "of a GPU that is not there all is free"
    assert not out_of_memory(RuntimeError("shapes do not match"), lambda: (0, gib))
