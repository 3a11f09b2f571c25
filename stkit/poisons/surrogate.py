"""What EM and REM share about their surrogate model: where data lies, and how to stop and go on."""

import math
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from stkit import header, step, storage
from stkit.checkpoints import fill
from stkit.data import Images
from stkit.errors import ArtifactError
from stkit.runtime import Runtime

ROOM = 0.4  # the share of the device's free memory that images may take


def place(images: Images, runtime: Runtime) -> tuple[Tensor, Tensor]:
    """Images and labels on the device if they fit, else where they are, to be sent in batches."""
    if runtime.device.type == "cuda":
        free, _ = torch.cuda.mem_get_info(runtime.device)
        if images.images.nbytes > ROOM * free:
            return images.images, images.labels
    return runtime.place(images.images), runtime.place(images.labels)


def noise(shape: tuple[int, ...], runtime: Runtime) -> Tensor:
    """Zeros for stored noise: float32 on the device, else in memory, else float16 in a file."""
    size = 4 * math.prod(shape)
    if runtime.device.type == "cuda" and size > ROOM * torch.cuda.mem_get_info(runtime.device)[0]:
        dtype = np.float32 if storage.fits(shape, np.float32) else np.float16
        return torch.from_numpy(storage.zeros(shape, dtype))
    if runtime.device.type == "cpu" and not storage.fits(shape, np.float32):
        return torch.from_numpy(storage.zeros(shape, np.float16))
    return torch.zeros(shape, device=runtime.device)


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
    other = header.differences(head, expected)
    if other:
        raise ArtifactError(
            f"the unfinished work was made with other settings: {'; '.join(other)}; "
            "pass the same ones, or --force to start again"
        )
    prefix = "surrogate/"
    fill(model, {k.removeprefix(prefix): v for k, v in tensors.items() if k.startswith(prefix)})
    for name, buffer in step.momentum(model, sgd).items():
        buffer.copy_(tensors[f"optimizer/{name}"])
