"""One optimisation step, for training and for the surrogates of EM and REM.

Nothing in it waits for the host: draws are made beforehand, and the counts it keeps stay on the
device until somebody asks for them at the end of an epoch.
"""

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from stkit import augment, pgd
from stkit.data import to_float
from stkit.frames import Phase
from stkit.rng import stream
from stkit.runtime import Runtime


def optimizer(
    model: nn.Module, groups: Sequence[Sequence[str]], phase: Phase
) -> torch.optim.Optimizer:
    """SGD with one parameter group a layer; weight decay on every parameter, as PyTorch's does.

    Momentum starts as zeros, which gives PyTorch's first step and can be saved and restored.
    """
    named = dict(model.named_parameters())
    sgd = torch.optim.SGD(
        [{"params": [named[name] for name in group]} for group in groups],
        lr=phase.lr,
        momentum=phase.momentum,
        weight_decay=phase.weight_decay,
    )
    for parameter in named.values():
        sgd.state[parameter]["momentum_buffer"] = torch.zeros_like(parameter)
    return sgd


def momentum(model: nn.Module, sgd: torch.optim.Optimizer) -> dict[str, Tensor]:
    """The momentum of every parameter, by the parameter's name; the tensors themselves."""
    return {name: sgd.state[p]["momentum_buffer"] for name, p in model.named_parameters()}


def set_lr(sgd: torch.optim.Optimizer, lr: float, scales: Sequence[float]) -> None:
    """Eq. 6: each layer's learning rate is lr times its scale."""
    for group, scale in zip(sgd.param_groups, scales, strict=True):
        group["lr"] = lr * scale


def at_least_float32(logits: Tensor) -> Tensor:
    """Losses are never computed in bf16."""
    return logits.to(torch.promote_types(logits.dtype, torch.float32))


def descend(
    model: nn.Module,
    sgd: torch.optim.Optimizer,
    images: Tensor,
    labels: Tensor,
    runtime: Runtime,
    *,
    clip: float | None = None,
) -> tuple[Tensor, Tensor]:
    """One SGD step on float images [B,3,H,W] as they are, in training mode.

    clip: the largest L2 norm of the whole gradient. Returns the mean loss and the number of right
    answers, scalars of type `runtime.sums` on the device.
    """
    model.train()
    with runtime.autocast():
        logits = model(images)
    loss = F.cross_entropy(at_least_float32(logits), labels)
    sgd.zero_grad(set_to_none=True)
    loss.backward()
    if clip is not None:
        nn.utils.clip_grad_norm_(model.parameters(), clip)
    sgd.step()
    hits = (logits.detach().argmax(1) == labels).sum()
    return loss.detach().to(runtime.sums), hits.to(runtime.sums)


def step(
    model: nn.Module,
    sgd: torch.optim.Optimizer,
    pixels: Tensor,
    labels: Tensor,
    phase: Phase,
    runtime: Runtime,
    *,
    seed: int,
    clock: int,
) -> tuple[Tensor, Tensor]:
    """Augment, perturb where the phase has an adversary, and take one SGD step.

    pixels: uint8 [B,3,H,W] on the device. clock: steps executed in this run, which picks the draws.
    Returns what `descend` returns.
    """
    device = pixels.device
    generator = stream(seed, "augment", clock, device)
    x = augment.augment(to_float(pixels), phase.augment, generator)
    x = x.contiguous(memory_format=torch.channels_last)
    if phase.adversary is not None:
        generator = stream(seed, "adversary", clock, device)
        x = pgd.adversarial(model, x, labels, phase.adversary, generator, runtime.autocast)
    return descend(model, sgd, x, labels, runtime)
