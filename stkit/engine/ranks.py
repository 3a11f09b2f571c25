"""What several ranks do together: train one model, and end.

`wrap` has gradients averaged by DistributedDataParallel and, where asked for, BatchNorm over the
batches of all ranks. PyTorch's SyncBatchNorm runs on GPUs only; `GlobalBatchNorm` is the same
arithmetic in plain tensor operations, for ranks on CPUs and for tests in float64.

A run that goes well ends by `leave`. What goes wrong is said once: `said_by_first` tells a rank in
trouble whether rank 0 speaks, `lost_rank` what an error means that comes of another rank's end.
"""

import time
from datetime import timedelta
from typing import Any, cast

import torch
import torch.distributed as dist
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm

from stkit.engine import pgd
from stkit.engine.runtime import Runtime


def wrap(model: nn.Module, runtime: Runtime, size: int) -> nn.Module:
    """What to call for a forward pass in training, in place of `model`, which keeps the weights.

    On one rank that is the model, compiled where the runtime says so. On several, gradients become
    their mean over the ranks and BatchNorm statistics are rank 0's; with `sync_bn` the model's
    BatchNorm layers are exchanged in place. Without it an adversary attacks each rank's own model,
    statistics included.
    """
    if runtime.alone:
        if runtime.how != "compile":
            return model
        return cast(nn.Module, torch.compile(model, dynamic=False))
    timms = any(type(m).__module__.startswith("timm.") for m in model.modules())
    if runtime.sync_bn and runtime.device.type != "cuda":
        _exchange(model, runtime)
    elif runtime.sync_bn and timms:  # whose BatchNorm may have an activation inside
        from timm.layers import norm_act

        norm_act.convert_sync_batchnorm(model)
    elif runtime.sync_bn:
        nn.SyncBatchNorm.convert_sync_batchnorm(model)
    devices = [runtime.device] if runtime.device.type == "cuda" else None
    return nn.parallel.DistributedDataParallel(
        model, device_ids=devices, find_unused_parameters=timms and _idle(model, size)
    )


def _idle(model: nn.Module, size: int) -> bool:
    """Whether the net holds parameters that a pass does not use, as nets of others may."""
    named = [p for p in model.parameters() if p.requires_grad]
    with pgd.evaluating(model):
        answers = model(named[0].new_zeros(1, 3, size, size))
    gradients = torch.autograd.grad(answers.sum(), named, allow_unused=True)
    return any(gradient is None for gradient in gradients)


def alone(model: nn.Module, network: nn.Module) -> nn.Module:
    """What to call for passes that no other rank takes part in: those of PGD, say."""
    return model if isinstance(network, nn.parallel.DistributedDataParallel) else network


class _Sum(torch.autograd.Function):
    """The sum over ranks, whose gradient is the sum over ranks too."""

    @staticmethod
    def forward(context: Any, runtime: Runtime, tensor: Tensor) -> Tensor:
        context.runtime = runtime
        return runtime.sum_(tensor.clone())

    @staticmethod
    def backward(context: Any, *gradients: Tensor) -> tuple[None, Tensor]:
        return None, context.runtime.sum_(gradients[0].clone())


class GlobalBatchNorm(_BatchNorm):
    """BatchNorm whose batch is that of all ranks; gradients flow through the sums over ranks.

    drop, act: what timm's norms do afterwards.
    """

    runtime: Runtime
    drop: nn.Module | None
    act: nn.Module | None

    def _check_input_dim(self, input: Tensor) -> None: ...

    def forward(self, input: Tensor) -> Tensor:
        """The output for a batch."""
        out = self._normalised(input) if self.training else super().forward(input)
        for after in (self.drop, self.act):
            out = out if after is None else after(out)
        return out

    def _normalised(self, input: Tensor) -> Tensor:
        assert self.running_mean is not None and self.running_var is not None
        dims = [d for d in range(input.ndim) if d != 1]
        shape = [1, -1] + [1] * (input.ndim - 2)
        x = input.to(torch.promote_types(input.dtype, torch.float32))
        count = self.runtime.sum_(torch.tensor(x.numel() / x.shape[1], dtype=x.dtype))
        mean = _Sum.apply(self.runtime, x.sum(dims)) / count
        centred = x - mean.view(shape)
        variance = _Sum.apply(self.runtime, centred.square().sum(dims)) / count
        out = centred * torch.rsqrt(variance + self.eps).view(shape)
        with torch.no_grad():
            share = self.momentum if self.momentum is not None else 0.1
            self.running_mean.lerp_(mean, share)
            self.running_var.lerp_(variance * (count / (count - 1)), share)
            if self.num_batches_tracked is not None:
                self.num_batches_tracked.add_(1)
        if self.affine:
            out = out * self.weight.view(shape) + self.bias.view(shape)
        result: Tensor = out.to(input.dtype)
        return result


def _exchange(model: nn.Module, runtime: Runtime) -> None:
    """A GlobalBatchNorm in the place of every BatchNorm, with its parameters and buffers."""
    for name, child in model.named_children():
        if isinstance(child, _BatchNorm) and child.track_running_stats:
            other = GlobalBatchNorm(child.num_features, child.eps, child.momentum, child.affine)
            other.load_state_dict(child.state_dict())
            for key, value in [*child._parameters.items(), *child._buffers.items()]:
                setattr(other, key, value)
            other.runtime = runtime
            other.drop, other.act = getattr(child, "drop", None), getattr(child, "act", None)
            other.train(child.training)
            setattr(model, name, other)
        else:
            _exchange(child, runtime)


def said_by_first(rank: int, patience: float = 3.0) -> bool:
    """Whether rank 0 says what went wrong; it says so when it is rank 0 that calls.

    A rank in trouble waits a little to learn that; rank 0 stays a moment, for the others to hear.
    """
    store = dist.distributed_c10d._get_default_store()
    try:
        if rank == 0:
            store.set("stkit/said", "1")
            time.sleep(0.5)
        else:
            store.wait(["stkit/said"], timedelta(seconds=patience))
    except (RuntimeError, dist.DistError):  # it kept the store, and is gone, or is not in trouble
        return False
    return True


def leave() -> None:
    """Part from the other ranks, at the end of a run that went well."""
    if dist.is_available() and dist.is_initialized():
        dist.barrier()
        dist.destroy_process_group()


def lost_rank(error: BaseException) -> bool:
    """Whether this is what a rank raises that waited for one which has ended."""
    if isinstance(error, dist.DistError):
        return True
    signs = ("Connection closed by peer", "Connection reset by peer", "Broken pipe", "gloo")
    return dist.is_initialized() and any(sign in str(error) for sign in signs)
