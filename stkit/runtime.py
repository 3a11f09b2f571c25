"""Where and how precisely to compute. The only place that picks a device.

One process on one device.
"""

from dataclasses import dataclass

import torch
from torch import Tensor

from stkit.errors import DeviceError, RecipeError
from stkit.recipes import choose

PRECISIONS = ("auto", "fp32", "bf16")
UNKNOWN = "unknown device {!r}; choose one of auto, cpu, cuda, cuda:N, mps"


@dataclass(frozen=True)
class Runtime:
    """A device and a precision; `autocast()` is the context of every forward pass."""

    device: torch.device
    precision: str  # fp32 or bf16

    def autocast(self) -> torch.autocast:
        """bf16 autocast where the precision is bf16, else a context that does nothing."""
        return torch.autocast(
            self.device.type, dtype=torch.bfloat16, enabled=self.precision == "bf16"
        )

    @property
    def sums(self) -> torch.dtype:
        """The type in which losses and counts are added up on the device: MPS has no float64."""
        return torch.float32 if self.device.type == "mps" else torch.float64

    def place(self, tensor: Tensor) -> Tensor:
        """The tensor on the device, without waiting for the copy."""
        return tensor.to(self.device, non_blocking=True)


def pick(device: str = "auto", precision: str = "auto") -> Runtime:
    """The runtime for `--device auto|cpu|cuda|cuda:N|mps` and `--precision auto|fp32|bf16`.

    auto takes the GPU when there is one, and bf16 on a GPU that has it. DeviceError when the
    device named is not there, RecipeError when there is no such name.
    """
    choose("precision", precision, PRECISIONS)
    if device == "auto":
        device = "cuda" if torch.cuda.is_available() else "cpu"
        if device == "cpu" and torch.backends.mps.is_available():
            device = "mps"
    try:
        found = torch.device(device)
    except RuntimeError:
        raise RecipeError(UNKNOWN.format(device)) from None
    if found.type == "cuda":
        _check_cuda(found)
    elif found.type == "mps" and not torch.backends.mps.is_available():
        raise DeviceError("device mps is asked for but not there; pass --device cpu")
    elif found.type not in ("cpu", "mps"):
        raise RecipeError(UNKNOWN.format(device))
    if precision == "auto":
        able = found.type == "cuda" and torch.cuda.is_bf16_supported(including_emulation=False)
        precision = "bf16" if able else "fp32"
    if found.type == "cuda" and precision == "fp32":  # not TF32, which torch has on by default
        torch.backends.cudnn.conv.fp32_precision = "ieee"  # type: ignore[attr-defined]
        torch.backends.cuda.matmul.fp32_precision = "ieee"
    return Runtime(found, precision)


def _check_cuda(device: torch.device) -> None:
    count = torch.cuda.device_count() if torch.cuda.is_available() else 0
    if (device.index or 0) >= count:
        raise DeviceError(
            f"device {device} is asked for, but {count or 'no'} GPU is there; "
            "pass --device cpu, or auto"
        )
    torch.backends.cudnn.benchmark = True
