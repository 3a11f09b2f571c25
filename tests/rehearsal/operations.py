"""Operations by their names and by what they take: which copy, which wait, which launch nothing."""

from typing import Any

import torch
from device import NAME
from torch import Tensor
from torch._subclasses.fake_tensor import FakeTensor
from torch.utils._pytree import tree_leaves

SOME = 5
"""Rows that are not zero, elements that a mask takes: how many is made up."""
COPIES = ("_to_copy", "copy_")
INDEXING = ("index.", "index_put", "_index_put")
COUNTED = (*INDEXING, "nonzero.", "_unique2")
"""Operations whose answer has a shape that depends on numbers, by the beginnings of their names."""
WAITS = (
    "_local_scalar_dense", "_unique", "allclose", "bincount", "equal", "histc", "is_nonzero",
    "masked_select", "multinomial", "nonzero.", "randperm", "repeat_interleave.Tensor", "unique",
)  # fmt: skip
"""Operations in which the host waits for the device, by the beginnings of their names."""
VIEWS = (
    "_reshape_alias", "_unsafe_view", "alias", "as_strided", "detach", "diagonal", "empty",
    "expand", "lift_fresh", "permute", "prim", "profiler", "select", "slice", "split", "squeeze",
    "t.default", "transpose", "unbind", "unfold", "unsqueeze", "view",
)  # fmt: skip
"""Operations that launch nothing."""


def flat(args: Any, kwargs: Any) -> list[Any]:
    """What an operation takes, without the lists around it; `tree_leaves` takes its time."""
    leaves: list[Any] = []
    for each in (*args, *kwargs.values()):
        leaves += each if isinstance(each, list | tuple) else (each,)
    return leaves


def waited(name: str, args: Any, target: str | None) -> str | None:
    """For what the host waits in an operation, if it does."""
    ends = None
    if name.startswith("copy_"):
        ends = args[1].device.type, args[0].device.type
    elif name.startswith(COPIES):
        ends = args[0].device.type, target
    if ends == (NAME, "cpu"):
        return "a copy from the device to the host"
    if name.startswith("_local_scalar_dense"):
        return "a number is read on the host"
    if name.startswith(WAITS):
        return "waits for the device"
    return "a boolean mask" if name.startswith(INDEXING) and masks(args[1]) else None


def kind(tensor: Tensor) -> str:
    """Type, shape, strides and device; the stride of a dimension of one element does not count."""
    pairs = zip(tensor.stride(), tensor.shape, strict=True)
    strides = [1 if size == 1 else step for step, size in pairs]
    return f"{tensor.dtype} {list(tensor.shape)} by {strides} on {tensor.device}"


def masks(indices: Any) -> bool:
    """Whether an index picks by truth."""
    return any(
        isinstance(each, Tensor) and each.dtype in (torch.bool, torch.uint8)
        for each in tree_leaves(indices)
    )


def rows(indices: Any) -> list[Any]:
    """Indices without masks: each is the row numbers that it might stand for."""
    numbers: list[Any] = []
    for each in indices:
        if isinstance(each, Tensor) and masks(each):
            made = torch.empty(SOME, dtype=torch.int64, device=each.device)
            numbers += [made] * each.ndim
        else:
            numbers.append(each)
    return numbers


def fake(value: Any) -> Any:
    """The fake tensor of a real one."""
    if not isinstance(value, Tensor) or isinstance(value, FakeTensor):
        return value
    return torch.empty_strided(value.shape, value.stride(), dtype=value.dtype, device=value.device)
