"""What EM and REM share about their surrogate model: where data lies, and how to stop and go on."""

import math
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from stkit import header, step, storage
from stkit.checkpoints import fill
from stkit.data import Images
from stkit.errors import DataError
from stkit.runtime import Runtime

ROOM = 0.4  # the share of the device's free memory that images may take


def place(images: Images, runtime: Runtime) -> tuple[Tensor, Tensor]:
    """Images and labels on the device if they fit, else where they are, to be sent in batches."""
    if runtime.device.type == "cuda":
        free, _ = torch.cuda.mem_get_info(runtime.device)
        if images.images.nbytes > ROOM * free:
            return images.images, images.labels
    return runtime.place(images.images), runtime.place(images.labels)


def noise(shape: tuple[int, ...], runtime: Runtime) -> tuple[Tensor, Tensor]:
    """Zeros for an image's noise and for the best so far: float32 on the device if both fit, else
    float32 in memory, else float16 in files."""
    both = (2, *shape)
    room = storage.fits(both, np.float32)
    if runtime.device.type == "cuda":
        free, _ = torch.cuda.mem_get_info(runtime.device)
        if 4 * math.prod(both) > ROOM * free:
            dtype = np.float32 if room else np.float16
            return tuple(torch.from_numpy(storage.zeros(shape, dtype)) for _ in range(2))  # type: ignore[return-value]
    elif not room:
        return tuple(torch.from_numpy(storage.zeros(shape, np.float16)) for _ in range(2))  # type: ignore[return-value]
    return torch.zeros(shape, device=runtime.device), torch.zeros(shape, device=runtime.device)


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
