"""One optimisation step, for training and for the surrogates of EM and REM.

Nothing in it waits for the host: draws are made beforehand, learning rates lie on the device, and
the sums it keeps stay there until somebody asks for them at the end of an epoch. So on a GPU the
whole of it, augmentation, forward, backward and update, is one CUDA graph (`capture`).
"""

import inspect
import math
from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from stkit.core import rng
from stkit.core.errors import RecipeError
from stkit.data.images import to_float
from stkit.engine import augment, mix, pgd, ranks
from stkit.engine.graphs import Captured
from stkit.engine.runtime import Runtime
from stkit.recipes.frames import Phase


class SGD(torch.optim.SGD):
    """PyTorch's, called without what `torch.compile` wraps around it.

    Those wrappers import all of torch._dynamo at the first call: 2.3 s of every process that
    trains, where the first step takes milliseconds.
    """

    add_param_group = inspect.unwrap(torch.optim.SGD.add_param_group)
    zero_grad = inspect.unwrap(torch.optim.SGD.zero_grad)
    step = torch.no_grad()(inspect.unwrap(torch.optim.SGD.step))


def optimizer(
    model: nn.Module, groups: Sequence[Sequence[str]], phase: Phase
) -> torch.optim.Optimizer:
    """SGD with one parameter group a layer; weight decay on every parameter, as PyTorch's does.

    Momentum starts as zeros, which gives PyTorch's first step and can be saved and restored. Each
    group's rate is a number on the device, so that a new one needs no new recording. RecipeError:
    every parameter is frozen.
    """
    named = dict(model.named_parameters())
    if not any(parameter.requires_grad for parameter in named.values()):
        raise RecipeError(
            f"no parameter of a {type(model).__name__} requires grad, expected one or more that "
            "can learn; call model.requires_grad_()"
        )
    device = next(iter(named.values())).device
    rates = torch.full((len(groups),), float(phase.lr), device=device)
    sgd = SGD(
        [
            {"params": [named[name] for name in group], "lr": rate}
            for group, rate in zip(groups, rates, strict=True)
        ],
        momentum=phase.momentum,
        weight_decay=phase.weight_decay,
        fused=True,
    )
    for parameter in named.values():
        sgd.state[parameter]["momentum_buffer"] = torch.zeros_like(parameter)
    return sgd


def momentum(model: nn.Module, sgd: torch.optim.Optimizer) -> dict[str, Tensor]:
    """The momentum of every parameter, by the parameter's name; the tensors themselves."""
    return {name: sgd.state[p]["momentum_buffer"] for name, p in model.named_parameters()}


def set_lr(optimizer: torch.optim.Optimizer, lr: float, scales: Sequence[float]) -> None:
    """Eq. 6: each layer's learning rate is lr times its scale; one on the device stays there."""
    for group, scale in zip(optimizer.param_groups, scales, strict=True):
        if isinstance(group["lr"], Tensor):
            group["lr"].fill_(lr * scale)
        else:
            group["lr"] = lr * scale


def at_least_float32(logits: Tensor) -> Tensor:
    """Losses are never computed in bf16."""
    return logits.to(torch.promote_types(logits.dtype, torch.float32))


def learning(network: nn.Module, still: Sequence[nn.Module] = ()) -> None:
    """Training mode, but for modules whose statistics stay what they are; what is within them has
    its own, and is named itself where those stay."""
    network.train()
    for module in still:
        module.training = False


def descend(
    network: nn.Module,
    sgd: torch.optim.Optimizer,
    images: Tensor,
    labels: Tensor,
    runtime: Runtime,
    *,
    total: int,
    clip: float | None = None,
    mixed: mix.Mixed | None = None,
    still: Sequence[nn.Module] = (),
) -> tuple[Tensor, Tensor]:
    """One SGD step on float images [B,3,H,W] as they are, in training mode.

    network: the model as `ranks.wrap` gives it. total: see `Runtime.total`. clip: the largest L2
    norm of the whole gradient. mixed: the labels, where an image has two. still: see `learning`.
    Returns this rank's share of the batch's mean loss and its number of right answers: scalars of
    type `runtime.sums`.
    """
    learning(network, still)
    with runtime.autocast():
        logits = network(images)
    answers = at_least_float32(logits)
    if mixed is None:
        loss = F.cross_entropy(answers, labels, reduction="sum") / total
        hits = (logits.detach().argmax(1) == labels).sum()
    else:
        loss = mix.losses(answers, mixed).sum() / total
        hits = mix.hits(logits.detach(), mixed)
    sgd.zero_grad(set_to_none=True)
    torch.autograd.backward(loss * runtime.world_size)  # ranks take the mean of their gradients
    if clip is not None:
        nn.utils.clip_grad_norm_(network.parameters(), clip)
    sgd.step()
    return loss.detach().to(runtime.sums), hits.to(runtime.sums)


class Step:
    """A phase's step: augment, perturb where the phase has an adversary, mix, and descend.

    sums: on the device, over the steps since they were zeroed: this rank's loss, its right answers,
    and how many steps there were before the first whose loss was NaN or infinite. network: the
    model as `ranks.wrap` gives it; model: itself. still: the names of modules whose statistics stay
    what they are.
    """

    def __init__(
        self,
        model: nn.Module,
        network: nn.Module,
        layers: Sequence[Sequence[str]],
        phase: Phase,
        runtime: Runtime,
        *,
        seed: int,
        still: Sequence[str] = (),
    ) -> None:
        self.still = [model.get_submodule(name) for name in still]
        self.model, self.network, self.phase, self.runtime = model, network, phase, runtime
        self.attacked = ranks.alone(model, network)
        self.dtype = next(model.parameters()).dtype
        self.seed = seed
        self.sgd = optimizer(model, layers, phase)
        self.sums = torch.zeros(3, dtype=runtime.sums, device=runtime.device)
        self._sums = self.sums[0], self.sums[:2], self.sums[2]  # views, made once: that takes time
        self.size = self.batch_size = 0  # of the batch at hand
        self._run = Captured(self._body, runtime, self._state)

    def __call__(self, pixels: Tensor, labels: Tensor, *, batch_size: int, clock: int) -> None:
        """Take the step number `clock` (which picks the draws) on this rank's part of a batch.

        pixels: uint8 [b,3,H,W] on the device, or float in [0,1]. labels: int64 [b]. batch_size:
        of the whole batch.
        """
        part, device = self.runtime.part(batch_size), pixels.device
        self.size, self.batch_size = pixels.shape[-1], batch_size
        copies = self.phase.copies
        table = augment.draw(
            self.phase.augment, copies * batch_size, self.size,
            seed=self.seed, clock=clock, device=device, strength=self.phase.jitter,
        ).table  # fmt: skip
        table = table.view(copies, batch_size, table.shape[1])[:, part].transpose(0, 1)
        inputs = [pixels, labels, table]
        if self.phase.mix is not None:
            generator = rng.stream(self.seed, "mix", clock, device)
            inputs.append(mix.draw(self.phase.mix, batch_size, self.size, generator)[part])
        if self.phase.adversary is not None:
            generator = rng.stream(self.seed, "adversary", clock, device)
            shape = (batch_size, *pixels.shape[1:])
            start = pgd.random_start(shape, self.phase.adversary.epsilon, generator)
            inputs.append(start[part])
        rng.reseed(self.seed, f"inside, rank {self.runtime.rank}", clock, device)
        self._run(*inputs)

    def _body(self, pixels: Tensor, labels: Tensor, table: Tensor, *more: Tensor) -> None:
        """table: [b, copies, columns]. more: the table of the mix, the adversary's start."""
        drawn = list(more)
        blend = drawn.pop(0) if self.phase.mix is not None else None
        x = self._augmented(to_float(pixels, self.dtype), labels, table)
        if self.phase.adversary is not None:
            x = pgd.adversarial(
                self.attacked, x, labels, self.phase.adversary, drawn.pop(), self.runtime.autocast
            )
        mixed = None
        if self.phase.mix is not None and blend is not None:
            mixed = mix.apply(self.phase.mix, x, labels, blend)
            x = mixed.pixels.contiguous(memory_format=torch.channels_last)
        loss, hits = descend(
            self.network, self.sgd, x, labels, self.runtime,
            total=self.runtime.total(self.batch_size), mixed=mixed, still=self.still,
        )  # fmt: skip
        loss_sum, both, sound = self._sums
        both.add_(torch.stack((loss, hits)))
        sound.add_(loss_sum < math.inf)  # not so of NaN; a sum stays what it became

    def _augmented(self, x: Tensor, labels: Tensor, table: Tensor) -> Tensor:
        """Of each image's augmented copies that of the largest loss, as UEraser-Max has it.

        As with its authors the model judges in training mode, so that its BatchNorm statistics see
        the copies too.
        """
        count, copies = table.shape[:2]
        draws = augment.Draws(self.phase.augment, table.transpose(0, 1).flatten(0, 1))
        x = augment.apply(x.repeat(copies, 1, 1, 1) if copies > 1 else x, draws)
        x = x.contiguous(memory_format=torch.channels_last)
        if copies == 1:
            return x
        learning(self.attacked, self.still)
        with torch.no_grad(), self.runtime.autocast():
            answers = at_least_float32(self.attacked(x))
        losses = F.cross_entropy(answers, labels.repeat(copies), reduction="none")
        x = mix.choose(losses.view(copies, count), x.view(copies, count, *x.shape[1:]))
        return x.contiguous(memory_format=torch.channels_last)

    def _state(self) -> list[Tensor]:
        """What a step changes."""
        momenta = momentum(self.model, self.sgd).values()
        return [*self.model.state_dict().values(), *momenta, self.sums]
