"""The surrogate: the net that learns while noise is made against it. What EM, REM and others share.

Noise asks it for two things: `learn`, one SGD step, by all ranks on their parts of a batch; and
`loss`, of the net as it is, in whichever mode the caller wants, by this rank alone.
"""

import math
from collections.abc import Iterable
from copy import deepcopy
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from stkit import models
from stkit.core import header, rng
from stkit.core.checks import as_dict
from stkit.core.errors import DivergenceError, RecipeError
from stkit.data.images import Images, to_float
from stkit.engine import pgd, ranks, step
from stkit.engine.memory import fitted
from stkit.engine.runtime import Runtime
from stkit.models.structure import learnable, unfit
from stkit.models.weights import fill, not_finite
from stkit.poisons.interface import Record
from stkit.recipes.frames import Phase
from stkit.recipes.settings import HasFields

WEIGHTS, MOMENTUM = "surrogate/", "optimizer/"  # before the names of tensors in a state file


class Surrogate:
    """A model with its optimizer, on the runtime's device, for images of one size and classes.

    module: a net of the caller's own, of which a copy learns; it takes float [N,3,H,W] in [0,1] and
    gives [N,K]. None: `model`, a name, with fresh weights from the seed, which subtracts `mean`
    first. frozen: what to call while noise is made. dtype: the parameters', in which images come.
    sums: on the device, of the steps from number `first` on: this rank's loss, and how many there
    were before the first that was not finite.
    Errors: RecipeError for a module that cannot learn, cannot take the images, or gives other than
    a number a class.
    """

    def __init__(
        self,
        images: Images,
        *,
        model: str,
        module: nn.Module | None,
        seed: int,
        runtime: Runtime,
        lr: float,
        momentum: float,
        weight_decay: float,
        mean: float = 0.0,
    ) -> None:
        self.runtime, self.seed, self.source = runtime, seed, images.provenance
        self.name = model if module is None else type(module).__name__
        self.size = size = images.size
        classes = len(images.classes)
        if module is None:
            net = models.create(model, classes=classes, size=size, seed=seed, mean=(mean,) * 3)
        else:
            net = _copied(module, self.name, images)
        net.to(memory_format=torch.channels_last)
        self.model = net.to(runtime.device)
        self.dtype = next(net.parameters()).dtype
        phase = Phase(lr=lr, momentum=momentum, weight_decay=weight_decay)
        self.sgd = step.optimizer(net, [list(dict(net.named_parameters()))], phase)
        self.network = ranks.wrap(net, runtime, size)
        self.frozen = ranks.alone(net, self.network)
        self.sums = torch.zeros(2, dtype=runtime.sums, device=runtime.device)
        self.first: int | None = None

    @torch.no_grad()
    def needs_two(self) -> bool:
        """Whether a BatchNorm of the net would see one value a channel of an image alone, of which
        it has no variance to learn with."""
        alone: list[bool] = []
        handles = [
            module.register_forward_pre_hook(
                lambda _, inputs: alone.append(inputs[0].numel() == inputs[0].shape[1])
            )
            for module in self.model.modules()
            if isinstance(module, nn.modules.batchnorm._BatchNorm)
        ]
        image = next(self.model.parameters()).new_zeros(1, 3, self.size, self.size)
        with pgd.evaluating(self.model):
            self.model(image)
        for handle in handles:
            handle.remove()
        return any(alone)

    def answers(self, inputs: Tensor) -> Tensor:
        """What the frozen net says of images [N,3,H,W]: at least float32 [N,K]."""
        with self.runtime.autocast():
            logits = self.frozen(inputs)
        return step.at_least_float32(logits)

    def loss(self, inputs: Tensor, labels: Tensor) -> Tensor:
        """The frozen net's cross entropy, a scalar of at least float32.

        A sum, so that an image's gradient does not depend on the batch.
        """
        return F.cross_entropy(self.answers(inputs), labels, reduction="sum")

    def learn(
        self, inputs: Tensor, labels: Tensor, *, batch_size: int, clock: int,
        clip: float | None = None,
    ) -> Tensor:  # fmt: skip
        """One SGD step on this rank's part of a batch of `batch_size` images, number `clock`.

        Returns this rank's share of the mean loss. clip: the largest L2 norm of the gradient.
        """
        rng.reseed(self.seed, f"inside, rank {self.runtime.rank}", clock, inputs.device)
        total = self.runtime.total(batch_size)

        def descend(inputs: Tensor, labels: Tensor) -> Tensor:
            loss, _ = step.descend(
                self.network, self.sgd, inputs, labels, self.runtime, total=total, clip=clip
            )
            return loss

        loss: Tensor = fitted(descend, (inputs, labels), self.runtime)
        self.first = clock if self.first is None else self.first
        self.sums[0].add_(loss)
        self.sums[1].add_(self.sums[0] < math.inf)  # not so of NaN; a sum stays what it became
        return loss

    def check(self, place: str) -> None:
        """DivergenceError where a loss so far or a weight is not finite: noise made against it
        would be none. place: how far the noise has come. Of several ranks all must ask."""
        loss = float(self.runtime.sum_(self.sums[0].clone()))
        name = self.runtime.shared(not_finite(self.model))
        if math.isfinite(loss) and name is None:
            return
        what = f"{name!r} holds NaN or infinity"
        if not math.isfinite(loss):
            sound = min(self.runtime.gathered(int(self.sums[1])))
            what = f"the loss of its step {(self.first or 0) + sound + 1} is NaN or infinite"
        raise DivergenceError(
            f"the surrogate diverged at {place}: {what}, expected finite numbers; lower --lr"
        )

    def set_lr(self, lr: float) -> None:
        """The learning rate of the steps to come."""
        step.set_lr(self.sgd, lr, [1.0])

    def share_buffers(self) -> None:
        """Give every rank the BatchNorm statistics of rank 0, which may differ after `learn`."""
        self.runtime.broadcast_(*self.model.buffers())

    def head(
        self, method: str, recipe: HasFields, progress: dict[str, Any], records: Iterable[Record]
    ) -> dict[str, Any]:
        """The header of a state file; its recipe is also that of the images in the end."""
        settings = as_dict(recipe) | {"method": method, "model": self.name} | self.runtime.recipe
        return header.make(
            "state", settings, seed=self.seed, inputs=[self.source], progress=progress,
            records=[record.to_json() for record in records],
        )  # fmt: skip

    def tensors(self) -> dict[str, Tensor]:
        """Weights, BatchNorm statistics and momentum, for a state file."""
        momentum = step.momentum(self.model, self.sgd)
        return {WEIGHTS + name: value for name, value in self.model.state_dict().items()} | {
            MOMENTUM + name: value for name, value in momentum.items()
        }

    @torch.no_grad()
    def resume(
        self, head: dict[str, Any], tensors: dict[str, Tensor], expected: dict[str, Any]
    ) -> None:
        """Put a state file's surrogate in place. ArtifactError where its settings are not these."""
        header.same(head, expected)
        weights = {k.removeprefix(WEIGHTS): v for k, v in tensors.items() if k.startswith(WEIGHTS)}
        fill(self.model, weights)
        for name, buffer in step.momentum(self.model, self.sgd).items():
            buffer.copy_(tensors[MOMENTUM + name])


def check_answers(finite: bool, place: str) -> None:
    """DivergenceError unless what the surrogate says of noise is `finite`: the sign of a gradient
    that is not is 0, so that the noise would stay where it was."""
    if not finite:
        raise DivergenceError(
            f"the surrogate diverged at {place}: its answers are NaN or infinite, expected finite "
            "numbers; lower --lr"
        )


def _copied(module: nn.Module, name: str, images: Images) -> nn.Module:
    """A copy of somebody's net, once it is seen to fit."""
    what = f"the surrogate {name}"
    learnable(module, what)
    weights = next(module.parameters())
    image = to_float(images.pixels[:1].to(weights.device), weights.dtype)
    try:
        with pgd.evaluating(module), torch.no_grad():
            answers = module(image)
    except Exception as error:  # a net may raise anything
        raise RecipeError(unfit(what, images.size, error)) from error
    shape = list(answers.shape) if isinstance(answers, Tensor) else f"a {type(answers).__name__}"
    if shape != [1, len(images.classes)]:
        raise RecipeError(
            f"{what} answers an image by {shape}, "
            f"expected [1, {len(images.classes)}]: a number a class"
        )
    return deepcopy(module)
