"""Devices by their names, and that they are there."""

import os

import torch

from stkit.core.errors import DeviceError, RecipeError

UNKNOWN = "unknown device {!r}; choose one of auto, cpu, cuda, cuda:N, mps"


def named(name: str, world_size: int) -> torch.device:
    """The device of this name; where there are several ranks, this one's.

    DeviceError when it is not there, RecipeError when there is no such name.
    """
    if name == "auto":
        name = "cuda" if torch.cuda.is_available() else "cpu"
        if name == "cpu" and torch.backends.mps.is_available() and world_size == 1:
            name = "mps"
    try:
        device = torch.device(name)
    except RuntimeError:
        raise RecipeError(UNKNOWN.format(name)) from None
    if world_size > 1:
        device = _of_rank(device)
    if device.type == "cuda":
        _check_cuda(device)
    elif device.type == "mps" and not torch.backends.mps.is_available():
        raise DeviceError("device mps is asked for but not there; pass --device cpu")
    elif device.type not in ("cpu", "mps"):
        raise RecipeError(UNKNOWN.format(name))
    return device


def _of_rank(device: torch.device) -> torch.device:
    """The device of this rank on its machine."""
    if device.type == "cpu":
        return device
    if device.type != "cuda" or device.index is not None:
        raise RecipeError(f"device {device} is one device, for several ranks pass --device cuda")
    mine, ranks = (int(os.environ[k]) for k in ("LOCAL_RANK", "LOCAL_WORLD_SIZE"))
    count = torch.cuda.device_count()
    if ranks > count:
        raise DeviceError(
            f"{ranks} ranks on a machine with {count} GPU(s), expected one GPU a rank; "
            f"pass torchrun --nproc-per-node {max(count, 1)}, or --device cpu"
        )
    return torch.device("cuda", mine)


def _check_cuda(device: torch.device) -> None:
    count = torch.cuda.device_count() if torch.cuda.is_available() else 0
    if (device.index or 0) >= count:
        raise DeviceError(
            f"device {device} is asked for, but {count or 'no'} GPU is there; "
            "pass --device cpu, or auto"
        )
