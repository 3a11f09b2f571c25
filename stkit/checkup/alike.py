"""What makes two devices, or two precisions, comparable: the same draws, and no kinks.

`Smooth` and `HostDraws` change what PyTorch's functions do inside them, and nothing else.
"""

from collections.abc import Callable, Iterable
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.overrides import TorchFunctionMode


class Smooth(TorchFunctionMode):
    """Inside it a net has SiLU in the place of ReLU.

    Of the million numbers that a step clips at 0 one or two lie within rounding of it; on which
    side they fall moves a gradient in float32 by up to a tenth, which would hide what is wrong.
    ReLU itself `arithmetic` looks at.
    """

    def __torch_function__(
        self,
        func: Callable[..., Any],
        types: Iterable[type],
        args: tuple[Any, ...] = (),
        kwargs: dict[str, Any] | None = None,
    ) -> Any:
        """What PyTorch calls in the place of each of its functions."""
        if func is F.relu:
            return F.silu(args[0])
        return func(*args, **(kwargs or {}))


class HostDraws(TorchFunctionMode):
    """Inside it `torch.rand` and Dropout draw from a CPU's generator of the seed that was asked
    for, whatever the device: a GPU's generators give other numbers for the same seed.

    So all but the device's own generators is compared; at those `arithmetic` looks. What draws
    inside a recorded step cannot be recorded with this.
    """

    def __init__(self) -> None:
        super().__init__()
        self.twins: dict[torch.Generator, torch.Generator] = {}

    def __torch_function__(
        self,
        func: Callable[..., Any],
        types: Iterable[type],
        args: tuple[Any, ...] = (),
        kwargs: dict[str, Any] | None = None,
    ) -> Any:
        """What PyTorch calls in the place of each of its functions."""
        named = dict(kwargs or {})
        if func is torch.rand and named.get("generator") is not None:
            device, twin = named.pop("device", None), self._twin(named.pop("generator"))
            return torch.rand(*args, generator=twin, **named).to(device or twin.device)
        if func is F.dropout:
            return _dropped(*args, p=named["p"], training=named["training"])
        return func(*args, **named)

    def _twin(self, generator: torch.Generator) -> torch.Generator:
        """The CPU's generator that stands in for another, and goes on from draw to draw as it."""
        if generator not in self.twins:
            self.twins[generator] = torch.Generator().manual_seed(generator.initial_seed())
        return self.twins[generator]


def _dropped(x: Tensor, *, p: float, training: bool) -> Tensor:
    """Dropout by the seed of the device's own generator, which is set anew before every step."""
    if not training:
        return x
    twin = torch.Generator().manual_seed(generator_of(x.device).initial_seed())
    kept = torch.rand(x.shape, generator=twin) >= p
    return x * kept.to(x) / (1 - p)


def generator_of(device: torch.device) -> torch.Generator:
    """The generator from which a device draws where nobody passes one."""
    if device.type == "cuda":
        index = torch.cuda.current_device() if device.index is None else device.index
        return torch.cuda.default_generators[index]
    if device.type == "mps":
        return torch.mps._get_default_mps_generator()
    return torch.default_generator
