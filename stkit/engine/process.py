"""What a runtime needs of the whole process: for good (`configure`), or for one library call.

Nothing else in stkit changes a setting of PyTorch's that others would notice.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from datetime import timedelta

import torch
import torch.distributed as dist

from stkit.core import arrays
from stkit.engine.runtime import Runtime

# how long a rank waits for another that says nothing: as long as rank 0 may take to write a large
# file; that a rank has died, gloo and torchrun notice at once
PATIENCE = timedelta(hours=2)


def configure(runtime: Runtime) -> None:
    """Give this process to the runtime, as the command line does: once, for good.

    What `settings` has for a while; memory that is freed stays with the process; and several ranks
    are connected. RankError unless all of them have the same device and precision.
    """
    _apply(runtime)
    if runtime.device.type == "cpu":
        arrays.keep_freed()
    if runtime.world_size > 1 and not dist.is_initialized():
        backends = "cpu:gloo,cuda:nccl" if runtime.device.type == "cuda" else "gloo"
        dist.init_process_group(backends, timeout=PATIENCE)
    runtime.same((runtime.device.type, runtime.precision), "devices or precisions")


@contextmanager
def settings(runtime: Runtime) -> Iterator[None]:
    """The settings of PyTorch that the runtime computes under, within a library call.

    Of a GPU: it is the current one, cuDNN looks for its fastest kernels, and fp32 is not TF32. At
    the end they are those of the process again, and so is its generator of random numbers, from
    which a model's Dropout draws (see `rng.reseed`).
    """
    gpus = [runtime.device] if runtime.device.type == "cuda" else []
    cudnn, matmul = torch.backends.cudnn, torch.backends.cuda.matmul
    before = cudnn.benchmark, cudnn.conv.fp32_precision, matmul.fp32_precision  # type: ignore[attr-defined]
    with torch.random.fork_rng(gpus), torch.cuda.device(runtime.device if gpus else -1):
        try:
            _apply(runtime)
            yield
        finally:
            cudnn.benchmark, cudnn.conv.fp32_precision, matmul.fp32_precision = before  # type: ignore[attr-defined]


def _apply(runtime: Runtime) -> None:
    """Set what PyTorch keeps for the whole process."""
    if runtime.device.type != "cuda":
        return
    torch.backends.cudnn.benchmark = True
    if runtime.precision == "fp32":  # not TF32, which torch has on by default
        torch.backends.cudnn.conv.fp32_precision = "ieee"  # type: ignore[attr-defined]
        torch.backends.cuda.matmul.fp32_precision = "ieee"
    if runtime.device.index is not None:
        torch.cuda.set_device(runtime.device)
