"""Noise while it is made: where it lies, which rank answers for it, its mean over a class."""

import math

import numpy as np
import torch
from torch import Tensor

from stkit.core import arrays
from stkit.engine.feed import ROOM
from stkit.engine.runtime import Runtime

BLOCK = 4096  # images whose noise is gathered at a time


def zeros(
    shape: tuple[int, ...],
    runtime: Runtime,
    *,
    dtype: torch.dtype = torch.float32,
    memory: int | None = None,
) -> tuple[Tensor, Tensor]:
    """Zeros for an image's noise and for the best so far: of this type on the device if both fit,
    else float32 in memory, else float16 in files.

    memory: bytes of the host that may be counted on; None: what the system says is available.
    """
    both = (2, *shape)
    device = runtime.device
    # ranks need the same
    room = all(runtime.gathered(arrays.fits(both, np.float32, memory)))
    fits = device.type == "cuda" and dtype.itemsize * math.prod(both) <= ROOM * runtime.room()
    if all(runtime.gathered(fits if device.type == "cuda" else room)):
        noise = torch.zeros(shape, dtype=dtype, device=device)
        return noise, noise.clone()
    kept = np.float32 if room else np.float16
    first, second = (torch.from_numpy(arrays.zeros(shape, kept, memory)) for _ in range(2))
    return first, second


def owned(count: int, batch_size: int, runtime: Runtime) -> Tensor:
    """Which of `count` images, walked in order by batches, this rank answers for: bool [count]."""
    mine = torch.zeros(count, dtype=torch.bool)
    for batch in torch.split(torch.arange(count), batch_size):
        mine[batch[runtime.owned(len(batch))]] = True
    return mine


def gathered(noise: Tensor, mine: Tensor, runtime: Runtime) -> Tensor:
    """The noise [N,...] of all ranks' images, each from the rank that answers for it.

    Whole on rank 0 only, in host memory or a file; on one rank, the tensor itself.
    """
    if runtime.world_size == 1:
        return noise
    shape = tuple(noise.shape) if runtime.first else (0,)
    whole = torch.from_numpy(arrays.zeros(shape, noise[:0].cpu().numpy().dtype.type))
    for rows in torch.split(torch.arange(len(noise)), BLOCK):
        block = noise[rows.to(noise.device)] * mine[rows].to(noise.device).view(-1, 1, 1, 1)
        runtime.sum_(block)
        if runtime.first:
            whole[rows] = block.cpu()
    return whole


def class_means(
    noise: Tensor, labels: Tensor, before: Tensor, epsilon: float, runtime: Runtime
) -> Tensor:
    """The noise [K,3,H,W] that each class has, `before`, as the mean over its images in a batch.

    noise [n,3,H,W], labels [n]: this rank's images of the batch; the mean is over those of all
    ranks, within epsilon. A class without images keeps its noise.
    """
    sums = torch.zeros_like(before).index_add_(0, labels, noise)
    counts = torch.zeros(len(before), device=labels.device, dtype=sums.dtype)
    counts = counts.index_add_(0, labels, counts.new_ones(len(labels)))
    sums, counts = runtime.sum_(sums), runtime.sum_(counts).view(-1, 1, 1, 1)
    mean = (sums / counts.clamp_min(1)).clamp(-epsilon, epsilon)
    return torch.where(counts > 0, mean, before)
