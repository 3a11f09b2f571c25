"""A net whose weights stand still while noise is made, computed in other ways than stkit does.

`Frozen` calls a twin of the net that shares its weights or holds what is made of them in tensors of
its own. Those are fixed and `refresh` writes into them in place, without waiting for the device, so
a CUDA graph that was recorded with the twin stays right whatever the net has learned since. Only
images get gradients. For stkit's nets of one conv or linear module and one norm after another.
"""

from collections.abc import Callable, Iterator
from copy import deepcopy
from dataclasses import dataclass
from itertools import pairwise
from types import MethodType
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from stkit.models.resnet import BasicBlock, ResNet


@dataclass(frozen=True)
class Ways:
    """How a pass is computed; the default is stkit's own. `candidates.py` says what each is."""

    net: str = ""  # shared, cast, fold, fused; empty: the net itself
    compiled: bool = False
    stem: int = 0  # channels that the images are padded to
    nchw: bool = False
    search: bool = True  # by cuDNN, for its fastest kernels
    streams: int = 1
    times: float = 1  # the batch
    fp8: bool = False

    @property
    def twin(self) -> bool:
        """Whether another than the net itself is called."""
        return bool(self.net or self.compiled or self.stem or self.nchw or self.fp8)


class Frozen(nn.Module):
    """What to call in the place of the net, in evaluation mode always.

    size, gradients: of compiled code, which is made for batches of one size, that either want
    gradients or do not; fewer images are filled up, and others go their usual way.
    """

    def __init__(
        self, net: nn.Module, ways: Ways, dtype: torch.dtype,
        size: int = 0, gradients: bool = True,
    ) -> None:  # fmt: skip
        super().__init__()
        self.size, self.gradients = size, gradients
        self.writes: list[Callable[[], Any]] = []
        twin = shared(net)
        fold = ways.net in ("fold", "fused")
        pairs = {id(conv): norm for conv, norm in norms(net)} if fold else {}
        if fold and not pairs:
            raise ValueError(f"a {type(net).__name__} has no norm right after a convolution")
        layout = torch.contiguous_format if ways.nchw else torch.channels_last
        made = ways.stem or ways.nchw or ways.fp8 or ways.net not in ("", "shared")
        first = next(m for m in net.modules() if isinstance(m, nn.Conv2d))
        for mine, theirs in zip(list(twin.modules()), list(net.modules()), strict=True):
            if made and isinstance(theirs, (nn.Conv2d, nn.Linear)):
                width = ways.stem if theirs is first else 0
                self._hold(mine, theirs, pairs.get(id(theirs)), dtype, layout, width, ways.fp8)
        if fold:
            drop(twin)
        if ways.stem or ways.nchw:
            stem = next(m for m in twin.modules() if isinstance(m, nn.Conv2d))
            stem.register_forward_pre_hook(lambda conv, args: (arranged(args[0], conv, layout),))
        if ways.fp8:
            for module in twin.modules():
                if isinstance(module, (nn.Conv2d, nn.Linear)):
                    module.register_forward_pre_hook(lambda _, args: (Eighth.apply(args[0]),))
        if ways.net == "fused":
            if not isinstance(twin, ResNet) or not isinstance(twin.layer1[0], BasicBlock):
                raise ValueError("only nets of basic blocks have a fused pass here")
            twin.forward = MethodType(fused, twin)
        twin.eval()
        self.refresh()
        self.twin = twin
        self.compiled = torch.compile(twin, dynamic=False) if ways.compiled else None
        self.eval()

    def forward(self, images: Tensor) -> Tensor:
        if self.compiled is None or images.requires_grad != self.gradients:
            return self.twin(images)
        count = len(images)
        if count < self.size:
            images = images.repeat(-(-self.size // count), 1, 1, 1)[: self.size]
        return self.compiled(images.contiguous(memory_format=torch.channels_last))[:count]

    @torch.no_grad()
    def refresh(self) -> None:
        """Take over what the net has learned."""
        for write in self.writes:
            write()

    def _hold(
        self, mine: nn.Module, theirs: nn.Conv2d | nn.Linear, norm: nn.BatchNorm2d | None,
        dtype: torch.dtype, layout: torch.memory_format, width: int, fp8: bool,
    ) -> None:  # fmt: skip
        """Give `mine` a weight, and with a norm a bias, made of `theirs`."""
        shape = list(theirs.weight.shape)
        shape[1] = max(shape[1], width)
        weight = torch.zeros(shape, dtype=dtype, device=theirs.weight.device)
        if weight.ndim == 4:
            weight = weight.contiguous(memory_format=layout)
        mine.weight = nn.Parameter(weight, requires_grad=False)
        inside = theirs.weight.shape[1]
        target = mine.weight.data[:, :inside]
        if norm is None:
            self.writes.append(
                lambda: target.copy_(eighth(theirs.weight) if fp8 else theirs.weight)
            )
            return
        assert isinstance(theirs, nn.Conv2d) and theirs.bias is None
        mine.bias = nn.Parameter(torch.zeros_like(norm.bias, dtype=dtype), requires_grad=False)
        offset = mine.bias.data

        def write() -> None:
            assert norm.running_mean is not None and norm.running_var is not None
            scale = norm.weight * torch.rsqrt(norm.running_var + norm.eps)
            target.copy_(theirs.weight * scale.view(-1, 1, 1, 1))
            offset.copy_(norm.bias - norm.running_mean * scale)

        self.writes.append(write)


def shared(net: nn.Module) -> nn.Module:
    """A copy with the same storage, whose parameters need no gradient."""
    twin = deepcopy(net)
    for mine, theirs in zip(twin.modules(), net.modules(), strict=True):
        for name, weight in theirs._parameters.items():
            if weight is not None:
                mine._parameters[name] = nn.Parameter(weight.detach(), requires_grad=False)
        mine._buffers.update(theirs._buffers)
    return twin


def places(net: nn.Module) -> Iterator[tuple[nn.Module, str, str]]:
    """Module, name of a convolution in it, name of the norm that takes its output."""
    for module in net.modules():
        children = list(module.named_children())
        if isinstance(module, nn.Sequential):
            for (a, conv), (b, norm) in pairwise(children):
                if isinstance(conv, nn.Conv2d) and isinstance(norm, nn.BatchNorm2d):
                    yield module, a, b
        elif isinstance(module, (ResNet, BasicBlock)):
            named = [name.removeprefix("conv") for name, _ in children if name.startswith("conv")]
            yield from ((module, f"conv{each}", f"bn{each}") for each in named)


def norms(net: nn.Module) -> list[tuple[nn.Conv2d, nn.BatchNorm2d]]:
    """Every convolution with the norm that takes its output."""
    return [(getattr(module, a), getattr(module, b)) for module, a, b in places(net)]


def drop(twin: nn.Module) -> None:
    """Leave out the norms that are folded."""
    for module, _, norm in list(places(twin)):
        setattr(module, norm, nn.Identity())


def arranged(images: Tensor, conv: nn.Module, layout: torch.memory_format) -> Tensor:
    """Images with as many channels as the stem has, those added black, in its layout."""
    more = conv.weight.shape[1] - images.shape[1]
    padded = F.pad(images, (0, 0, 0, 0, 0, more)) if more else images
    return padded.contiguous(memory_format=layout)


def fused(net: ResNet, images: Tensor) -> Tensor:
    """The pass of a folded ResNet of basic blocks, a convolution with what follows in one call."""

    def follow(x: Tensor, other: Tensor | None, conv: nn.Conv2d) -> Tensor:
        return ConvReLU.apply(x, other, conv.weight, conv.bias, conv.stride, conv.padding)

    x = F.relu(net.conv1(images), inplace=True)  # by itself, as three channels suit few kernels
    for group in (net.layer1, net.layer2, net.layer3, net.layer4):
        for block in group:
            x = follow(follow(x, None, block.conv1), block.downsample(x), block.conv2)
    return net.fc(F.adaptive_avg_pool2d(x, 1).flatten(1))


class ConvReLU(torch.autograd.Function):
    """relu(conv(x) + bias + other): by cuDNN one kernel. Gradients with respect to x and other."""

    @staticmethod
    def forward(
        context: Any, x: Tensor, other: Tensor | None, weight: Tensor, bias: Tensor,
        stride: tuple[int, int], padding: tuple[int, int],
    ) -> Tensor:  # fmt: skip
        context.stride, context.padding, context.summed = stride, padding, other is not None
        if x.is_cuda:
            how = (stride, padding, (1, 1), 1)
            if other is None:
                out = torch.cudnn_convolution_relu(x, weight, bias, *how)
            else:
                out = torch.cudnn_convolution_add_relu(x, weight, other, 1.0, bias, *how)
        else:
            out = F.conv2d(x, weight, bias, stride, padding)
            out = (out if other is None else out.add_(other)).relu_()
        context.save_for_backward(x, weight, out)
        return out

    @staticmethod
    def backward(context: Any, gradient: Tensor) -> tuple[Tensor | None, ...]:
        x, weight, out = context.saved_tensors
        through = torch.ops.aten.threshold_backward(gradient, out, 0)
        back, _, _ = torch.ops.aten.convolution_backward(
            through, x, weight, None, context.stride, context.padding, (1, 1), False, (0, 0), 1,
            (True, False, False),
        )  # fmt: skip
        return back, through if context.summed else None, None, None, None, None


class Eighth(torch.autograd.Function):
    """The values that fp8 would keep of an input, and of the gradient that comes back to it."""

    @staticmethod
    def forward(context: Any, x: Tensor) -> Tensor:
        return eighth(x)

    @staticmethod
    def backward(context: Any, gradient: Tensor) -> Tensor:
        return eighth(gradient, torch.float8_e5m2)


def eighth(x: Tensor, kind: torch.dtype = torch.float8_e4m3fn) -> Tensor:
    """Rounded to eight bits, the largest value of the tensor to the largest that there is."""
    most = torch.finfo(kind).max
    scale = x.detach().abs().amax().float().clamp(min=1e-30) / most
    return ((x / scale).clamp(-most, most).to(kind).float() * scale).to(x.dtype)
