"""Devices by their names, and that they are there and can be computed on."""

import os
import warnings
from pathlib import Path

import torch

from stkit.core.errors import DeviceError, RecipeError

UNKNOWN = "unknown device {!r}; choose one of auto, cpu, cuda, cuda:N, mps"
LEAST = 512 << 20
"""Bytes that must be free on a GPU: what cuDNN, a small net and a batch take at the least."""
DRIVER = Path("/proc/driver/nvidia/version")
"""Where Linux tells of NVIDIA's driver, if it is there."""
BY_TORCHRUN = "start the ranks with torchrun, or unset RANK and WORLD_SIZE"


def named(name: str, world_size: int) -> torch.device:
    """The device of this name; where there are several ranks, this one's.

    DeviceError when it is not there or cannot be used, RecipeError when there is no such name.
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
        _check_there(device)
        _check_built_for(device)
        _check_memory(device)
    elif device.type == "mps" and not torch.backends.mps.is_available():
        raise DeviceError("device mps is asked for but not there; pass --device cpu")
    elif device.type not in ("cpu", "mps") or str(device).startswith("cpu:"):
        raise RecipeError(UNKNOWN.format(name))
    return device


def missing() -> str | None:
    """Why no GPU is there, and the remedy; None where one is.

    torch only warns of a driver that is too old, and then knows no GPU.
    """
    with warnings.catch_warnings(action="ignore"):
        if torch.cuda.is_available():
            return None
    if torch.version.cuda is None and torch.version.hip is None:
        return f"torch {torch.__version__} was built for CPUs; install one that was built for CUDA"
    try:
        torch.cuda.init()
    except (RuntimeError, AssertionError) as error:
        said = " ".join(str(error).split())
    else:
        said = "it found none"
    if "too old" in said:
        return (
            f"NVIDIA's driver {driver() or ''} is too old for torch {torch.__version__}, which "
            f"needs one for CUDA {torch.version.cuda}; update it, or install a torch that was "
            "built for an older CUDA"
        )
    visible = os.environ.get("CUDA_VISIBLE_DEVICES")
    if "No CUDA GPUs" in said and visible is not None:
        return f"with CUDA_VISIBLE_DEVICES={visible!r} CUDA sees none; unset it"
    if "no NVIDIA driver" not in said:
        return f"CUDA does not start ({said[:200]}); see what nvidia-smi says"
    if driver() is None:
        return "NVIDIA's driver is not installed; install it"
    return f"NVIDIA's driver {driver()} is there, libcuda is not; give GPUs to the container"


def driver() -> str | None:
    """The version of NVIDIA's driver, where Linux tells it."""
    try:
        words = DRIVER.read_text().split("\n")[0].split()
    except OSError:
        return None
    return next((word for word in words if word[0].isdigit() and "." in word), "of no version")


def native_bf16(device: torch.device) -> bool:
    """Whether a GPU computes bf16 itself, and need not emulate it."""
    return torch.version.hip is not None or _capability(device) >= (8, 0)


def check_bf16(device: torch.device) -> None:
    """DeviceError for a GPU without bf16, where bf16 is asked for."""
    if device.type == "cuda" and not native_bf16(device):
        raise DeviceError(
            f"{_titled(device)} has no bf16, which begins with 8.0; pass --precision fp32"
        )


def _capability(device: torch.device) -> tuple[int, int]:
    return torch.cuda.get_device_capability(device)


def _titled(device: torch.device) -> str:
    """A GPU as messages call it."""
    major, minor = _capability(device)
    name = torch.cuda.get_device_name(device)
    return f"device {device} ({name}, compute capability {major}.{minor})"


def ranks() -> tuple[int, int]:
    """This process among those that torchrun started, and how many these are: 0 of 1 without it.

    DeviceError where the environment has something else than torchrun puts there.
    """
    rank, world_size = _told("RANK", 0), _told("WORLD_SIZE", 1)
    if rank >= world_size:
        raise DeviceError(
            f"RANK is {rank} and WORLD_SIZE {world_size}, expected ranks from 0 on; {BY_TORCHRUN}"
        )
    return rank, world_size


def _told(name: str, default: int | None = None) -> int:
    """A number in the environment; DeviceError where it is none, or is lacking."""
    told = os.environ.get(name) or default
    if not str(told).isdecimal():
        raise DeviceError(
            f"{name} is {told!r}, expected a whole number, as torchrun sets it; {BY_TORCHRUN}"
        )
    return int(str(told))


def _of_rank(device: torch.device) -> torch.device:
    """The device of this rank on its machine."""
    if device.type == "cpu":
        return device
    if device.type != "cuda" or device.index is not None:
        raise RecipeError(f"device {device} is one device, for several ranks pass --device cuda")
    mine, ranks = _told("LOCAL_RANK"), _told("LOCAL_WORLD_SIZE")
    count = torch.cuda.device_count()
    if ranks > count:
        raise DeviceError(
            f"{ranks} ranks on a machine with {count} GPU(s), expected one GPU a rank; "
            f"pass torchrun --nproc-per-node {max(count, 1)}, or --device cpu"
        )
    return torch.device("cuda", mine)


def _check_there(device: torch.device) -> None:
    """DeviceError unless there is such a GPU."""
    why = missing()
    if why is not None:
        raise DeviceError(
            f"device {device} is asked for, but no GPU is there: {why}, or pass --device cpu"
        )
    count = torch.cuda.device_count()
    if (device.index or 0) >= count:
        last = f" to cuda:{count - 1}" if count > 1 else ""
        raise DeviceError(
            f"device {device} is asked for, but {count} GPU{'s are' if count > 1 else ' is'} "
            f"there; pass --device cuda:0{last}, or auto"
        )


def _check_built_for(device: torch.device) -> None:
    """DeviceError for a GPU for which this torch has no kernels.

    A kernel for sm_XY runs on its own generation X, from Y on; compute_XY is compiled for any later
    one when it starts. (NVIDIA, CUDA Programming Guide, compute capabilities.)
    """
    if torch.version.cuda is None:
        return
    built = {arch.rstrip("af") for arch in torch.cuda.get_arch_list()}
    number = 10 * _capability(device)[0] + _capability(device)[1]
    for arch in built:
        kind, _, digits = arch.partition("_")
        own = int(digits)
        if own <= number and (kind == "compute" or own // 10 == number // 10):
            return
    if built:
        raise DeviceError(
            f"{_titled(device)} cannot run this torch {torch.__version__}, built for "
            f"{', '.join(sorted(built))}; install a torch that was built for it, or pass "
            "--device cpu"
        )


def _check_memory(device: torch.device) -> None:
    """DeviceError for a GPU that is too full to begin on, or that cannot be taken at all."""
    try:
        free, whole = torch.cuda.mem_get_info(device)
    except RuntimeError as error:
        reason = " ".join(str(error).split("\n")[0].split())
        raise DeviceError(
            f"{_titled(device)} cannot be used ({reason}); see by nvidia-smi who does, or pass "
            "--device cpu"
        ) from error
    if free < LEAST:
        raise DeviceError(
            f"{_titled(device)} has {free >> 20} of its {whole >> 20} MiB free, expected "
            f"{LEAST >> 20}; see by nvidia-smi who has the rest, or pass --device cpu"
        )
