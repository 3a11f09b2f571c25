"""What a machine has: versions, threads, GPUs."""

import platform
from contextlib import suppress
from importlib.metadata import version
from typing import Any

import torch

from stkit import __version__
from stkit.engine import devices

PACKAGES = ("torch", "torchvision", "timm", "safetensors", "numpy", "scikit-learn", "typer")


def facts() -> dict[str, Any]:
    """Versions and devices, as a report of a bug wants them; asks each GPU for its memory."""
    missing = devices.missing()
    count = 0 if missing else torch.cuda.device_count()
    return {
        "stkit": __version__,
        "python": platform.python_version(),
        "system": platform.platform(),
        **{name: version(name) for name in PACKAGES},
        "threads": torch.get_num_threads(),
        "cuda": torch.version.cuda,
        "cudnn": torch.backends.cudnn.version() if torch.version.cuda and count else None,
        "nccl": _nccl() if count else None,
        "driver": devices.driver(),
        "gpus": [gpu(index) for index in range(count)],
        "no_gpu": missing,
    }


def gpu(index: int) -> dict[str, Any]:
    """A GPU's name, compute capability, bytes of memory, all and free, and whether bf16 is native;
    or why it cannot be used."""
    device = torch.device("cuda", index)
    properties = torch.cuda.get_device_properties(device)
    known: dict[str, Any] = {
        "name": properties.name,
        "capability": f"{properties.major}.{properties.minor}",
        "memory": properties.total_memory,
        "bf16": devices.native_bf16(device),
    }
    try:
        known["free"] = torch.cuda.mem_get_info(device)[0]
    except RuntimeError as error:
        known["trouble"] = " ".join(str(error).split("\n")[0].split())
    return known


def _nccl() -> str | None:
    """NCCL's version, where this torch has it."""
    with suppress(Exception):
        return ".".join(map(str, torch.cuda.nccl.version()))
    return None
