"""GPUs that are not there, for what is decided before anything is computed on one."""

import pytest
import torch


def pretend(
    patch: pytest.MonkeyPatch, count: int = 2, *, capability: tuple[int, int] = (9, 0),
    free: float = 80e9, built: tuple[str, ...] = ("sm_75", "sm_80", "sm_90"),
) -> None:  # fmt: skip
    """Have torch say that there are so many, each of this compute capability and free memory."""
    patch.setattr(torch.cuda, "is_available", lambda: count > 0)
    patch.setattr(torch.cuda, "device_count", lambda: count)
    patch.setattr(torch.cuda, "get_device_capability", lambda device: capability)
    patch.setattr(torch.cuda, "get_device_name", lambda device: "X100")
    patch.setattr(torch.cuda, "mem_get_info", lambda device: (int(free), int(80e9)))
    patch.setattr(torch.cuda, "get_arch_list", lambda: list(built))
    patch.setattr(torch.version, "cuda", "13.0")
