"""What EM and REM share: where noise lies, whose it is, and how a surrogate stops and goes on."""

import math
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from stkit.core import arrays, header
from stkit.core.errors import DataError
from stkit.engine import step
from stkit.engine.feed import ROOM
from stkit.engine.runtime import Runtime
from stkit.models.weights import fill

BLOCK = 4096  # images whose noise is gathered at a time


def noise(shape: tuple[int, ...], runtime: Runtime) -> tuple[Tensor, Tensor]:
    """Zeros for an image's noise and for the best so far: float32 on the device if both fit, else
    float32 in memory, else float16 in files."""
    both = (2, *shape)
    room = arrays.fits(both, np.float32)
    device = runtime.device
    room = all(runtime.gathered(room))  # ranks need the same
    fits = device.type == "cuda" and 4 * math.prod(both) <= ROOM * runtime.room()
    if all(runtime.gathered(fits if device.type == "cuda" else room)):
        return torch.zeros(shape, device=device), torch.zeros(shape, device=device)
    dtype = np.float32 if room else np.float16
    first, second = (torch.from_numpy(arrays.zeros(shape, dtype)) for _ in range(2))
    return first, second


def mine(count: int, batch_size: int, runtime: Runtime) -> Tensor:
    """Which of `count` images, walked in order by batches, this rank answers for: bool [count]."""
    found = torch.zeros(count, dtype=torch.bool)
    for batch in torch.arange(count).split(batch_size):
        found[batch[runtime.owned(len(batch))]] = True
    return found


def gathered(noise: Tensor, mine: Tensor, runtime: Runtime) -> Tensor:
    """The noise [N,...] of all ranks' images, each from the rank that answers for it.

    Whole on rank 0 only, in host memory or a file; on one rank, the tensor itself.
    """
    if runtime.world_size == 1:
        return noise
    shape = tuple(noise.shape) if runtime.first else (0,)
    whole = torch.from_numpy(arrays.zeros(shape, noise[:0].cpu().numpy().dtype.type))
    for rows in torch.arange(len(noise)).split(BLOCK):
        block = noise[rows.to(noise.device)] * mine[rows].to(noise.device).view(-1, 1, 1, 1)
        runtime.sum_(block)
        if runtime.first:
            whole[rows] = block.cpu()
    return whole


def check(loss: float, place: str) -> None:
    """DataError when the surrogate has diverged: noise made against it would be none."""
    if not math.isfinite(loss):
        raise DataError(f"the surrogate diverged at {place} (loss {loss}); lower --lr or --clip")


def tensors(model: nn.Module, sgd: torch.optim.Optimizer) -> dict[str, Tensor]:
    """The surrogate's weights, BatchNorm statistics and momentum."""
    momentum = step.momentum(model, sgd)
    return {f"surrogate/{k}": v for k, v in model.state_dict().items()} | {
        f"optimizer/{k}": v for k, v in momentum.items()
    }


@torch.no_grad()
def resume(
    model: nn.Module,
    sgd: torch.optim.Optimizer,
    head: dict[str, Any],
    tensors: dict[str, Tensor],
    expected: dict[str, Any],
) -> None:
    """Put a state file's surrogate in place. ArtifactError where its settings are not these."""
    header.same(head, expected)
    prefix = "surrogate/"
    fill(model, {k.removeprefix(prefix): v for k, v in tensors.items() if k.startswith(prefix)})
    for name, buffer in step.momentum(model, sgd).items():
        buffer.copy_(tensors[f"optimizer/{name}"])
