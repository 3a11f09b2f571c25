"""What a runtime needs of the whole process: for good (`configure`), or for one library call.

Nothing else in stkit changes a setting of PyTorch's that others would notice.
"""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import timedelta

import torch
import torch.distributed as dist

from stkit.core import arrays
from stkit.core.errors import DeviceError
from stkit.engine.devices import BY_TORCHRUN
from stkit.engine.runtime import Runtime

# how long a rank waits for another that says nothing: as long as rank 0 may take to write a large
# file; that a rank has died, gloo and torchrun notice at once
PATIENCE = timedelta(hours=2)
MOST = 32
"""Threads for each core: OpenMP ends a process that cannot have as many as it asks for."""
WORKSPACE = "CUBLAS_WORKSPACE_CONFIG"
WORKSPACES = (":4096:8", ":16:8")
"""Those with which cuBLAS gives the same bytes again, says NVIDIA; it reads that when it starts."""


def configure(runtime: Runtime) -> None:
    """Give this process to the runtime, as the command line does: once, for good.

    What `settings` has for a while; memory that is freed stays with the process; and several ranks
    are connected. RankError unless all of them have the same device, precision and threads.
    """
    _apply(runtime)
    if runtime.device.type == "cpu":
        arrays.keep_freed()
    if runtime.world_size > 1 and not dist.is_initialized():
        connect(runtime.device)
    computing = runtime.device.type, runtime.recipe
    runtime.same(computing, "devices, precisions or threads (--threads)")


def connect(device: torch.device) -> None:
    """Connect this process to the other ranks, if only itself, as its environment says.

    DeviceError where the environment says too little: torch raises a ValueError.
    """
    backends = "cpu:gloo,cuda:nccl" if device.type == "cuda" else "gloo"
    try:
        dist.init_process_group(backends, timeout=PATIENCE)
    except ValueError as error:
        raise DeviceError(f"the ranks cannot be connected: {error}; {BY_TORCHRUN}") from error


@contextmanager
def settings(runtime: Runtime) -> Iterator[None]:
    """The settings of PyTorch that the runtime computes under, within a library call.

    Of a CPU: its threads. Of a GPU: it is the current one, cuDNN looks for its fastest kernels, and
    fp32 is not TF32. Of both: whether an operation may give other bytes the next time; one that
    would, and may not, is a DeviceError. At the end they are those of the process again, and so is
    its generator of random numbers, from which a model's Dropout draws (see `rng.reseed`).
    """
    gpus = [runtime.device] if runtime.device.type == "cuda" else []
    with (
        torch.random.fork_rng(gpus),
        torch.cuda.device(runtime.device if gpus else -1),
        put_back(),
    ):
        _apply(runtime)
        try:
            yield
        except RuntimeError as error:
            reason = undetermined(error)
            if reason is None:
                raise
            raise DeviceError(reason) from error


def undetermined(error: RuntimeError) -> str | None:
    """What to say where a runtime is `deterministic` and an operation is not; None: it is another
    error."""
    operation, said, _ = str(error).partition(" does not have a deterministic implementation")
    if not said:
        return None
    return (
        f"{operation.split()[-1]} has no deterministic implementation here; "
        "leave --deterministic out, or pass another --device"
    )


@contextmanager
def put_back() -> Iterator[None]:
    """What `configure` and `settings` set is at the end as it was."""
    cudnn, matmul = torch.backends.cudnn, torch.backends.cuda.matmul
    before = cudnn.benchmark, cudnn.conv.fp32_precision, matmul.fp32_precision  # type: ignore[attr-defined]
    exact, deterministic = _exact(), cudnn.deterministic
    threads, workspace = torch.get_num_threads(), os.environ.get(WORKSPACE)
    try:
        yield
    finally:
        cudnn.benchmark, cudnn.conv.fp32_precision, matmul.fp32_precision = before  # type: ignore[attr-defined]
        if _exact() != exact:  # to set it imports a compiler, which takes seconds
            torch.use_deterministic_algorithms(exact[0], warn_only=exact[1])
        cudnn.deterministic = deterministic
        if torch.get_num_threads() != threads:
            torch.set_num_threads(threads)
        if workspace is None:
            os.environ.pop(WORKSPACE, None)
        else:
            os.environ[WORKSPACE] = workspace


def _exact() -> tuple[bool, bool]:
    """Whether operations must be deterministic, and whether others only warn."""
    return (
        torch.are_deterministic_algorithms_enabled(),
        torch.is_deterministic_algorithms_warn_only_enabled(),
    )


def _apply(runtime: Runtime) -> None:
    """Set what PyTorch keeps for the whole process."""
    if runtime.device.type == "cpu":
        _take_threads(runtime.threads)
    if runtime.deterministic:
        if os.environ.get(WORKSPACE) not in WORKSPACES:
            os.environ[WORKSPACE] = WORKSPACES[0]
        torch.use_deterministic_algorithms(True)
        torch.backends.cudnn.deterministic = True
    if runtime.device.type != "cuda":
        return
    torch.backends.cudnn.benchmark = not torch.are_deterministic_algorithms_enabled()
    if runtime.precision == "fp32":  # not TF32, which torch has on by default
        torch.backends.cudnn.conv.fp32_precision = "ieee"  # type: ignore[attr-defined]
        torch.backends.cuda.matmul.fp32_precision = "ieee"
    if runtime.device.index is not None:
        torch.cuda.set_device(runtime.device)


def _take_threads(count: int) -> None:
    """Compute on so many. DeviceError where OpenMP would start fewer and not say so, or might end
    the process because it cannot start as many."""
    cores = os.cpu_count() or 1
    if count > MOST * cores:
        raise DeviceError(
            f"{count} threads are asked for on {cores} cores, expected {MOST * cores} at most; "
            "pass fewer as --threads; what was begun with more goes on where there are more cores"
        )
    limit = os.environ.get("OMP_THREAD_LIMIT", "")
    if limit.isascii() and limit.isdigit() and 0 < int(limit) < count:
        raise DeviceError(
            f"{count} threads are asked for, OMP_THREAD_LIMIT is {limit}; raise that, "
            f"or pass --threads {limit} to what has not begun yet"
        )
    if torch.get_num_threads() != count:
        torch.set_num_threads(count)
