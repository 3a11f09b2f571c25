"""Progressive staged training (ST paper, Algorithm 1, Eq. 6-7) around anyone's training loop.

    optimizer = torch.optim.SGD(layer_groups(net, size=32), lr=0.1, momentum=0.9)
    staged = StagedTraining(net, optimizer, probe=(images, labels))
    for epoch in range(1, epochs + 1):
        staged.set_lr(cosine(0.1, epoch, epochs))
        ...                                          # your own epoch over your own batches
        staged.check()                               # measures ACM; keeps, or rolls back

A *layer* is a parameter group of the optimizer, counted from the input; `layer_groups` makes one of
each conv or linear module with its norm, shortcuts included. It learns at alpha_i times the rate.
A check whose ACM is above gamma (strictly; what is not finite, a loss or weights too, counts as
larger) returns to the state at the last accepted check, at first to the initial one, and goes on
with a larger stage tau, with which shallow layers learn more slowly. Where the paper is silent or
ambiguous: tau = 0 is all ones; tau counts up to the integer 1/beta - 1 and never falls; when it is
reached, ACM is measured and no longer judged; frozen layers keep their BatchNorm statistics moving.
What is not finite in the last stage is an error, as nothing is left that would learn more slowly.

What rolls back: the model's `state_dict` (weights and buffers) and every tensor of the optimizer's
state. What does not: the clock and the history, so order, augmentation, rate and budget go on with
the steps executed. A retry sees new batches, and every run ends.

The probe is D^s, some images of the training set as they are (the paper takes 1000 for CIFAR-10):
perturbed where the set is, still trained on, never augmented, measured in eval mode on the float32
input of the last linear layer.

By `Staged(indicator="purified")` a check looks at images that were held out instead, as they were
published and as purifiers leave them (`recipes.purifiers`), and rolls back when too little of the
accuracy is left. The probe is these images then, and what is measured has to be given:

    def washed(model, images, labels):               # your own accuracy and your own purifiers
        held = accuracy(model, images, labels)
        purified = {name: accuracy(model, wash(images, name), labels) for name in PURIFIERS}
        share = retained_share(held, purified, PURIFIERS)
        return {"holdout_accuracy": held, "purified_accuracy": purified, "retained_share": share}

    StagedTraining(net, optimizer, held_out, Staged(indicator="purified"), measure=washed)
"""

import math
from collections.abc import Callable, Mapping
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn

from stkit import models
from stkit.core.errors import DivergenceError, RecipeError
from stkit.engine.runtime import Runtime
from stkit.engine.step import set_lr
from stkit.measure import acm
from stkit.models.weights import not_finite
from stkit.recipes.staged import Staged
from stkit.training import schedule
from stkit.training.probe import check_layers, check_probe
from stkit.training.schedule import Check, Scores, Verdict
from stkit.training.snapshot import MOMENTUM, copy, live, states

PAPER = Staged()

Measure = Callable[[nn.Module, Tensor, Tensor], Scores]
"""(model, probe's images, labels) -> ACM by the names of its variants, or what purified images are
judged by."""


def measured(
    model: nn.Module,
    images: Tensor,
    labels: Tensor,
    *,
    layer: str | int | None = None,
    classes: int | None = None,
    runtime: Runtime | None = None,
) -> dict[str, float]:
    """ACM of the model on these images in every variant, in eval mode and float32.

    layer: see `Staged`. classes: how many there are, those up to the largest label by default.
    runtime: the result is the same on all its ranks, where BatchNorm statistics may differ before.
    """
    if runtime is not None:
        runtime.broadcast_(*model.buffers())
    count = int(labels.max()) + 1 if classes is None else classes
    scores = acm.scores(acm.measure(model, images, labels, count, layer=layer, runtime=runtime))
    return scores if runtime is None else runtime.shared(scores)


def layer_groups(model: nn.Module, size: int) -> list[dict[str, Any]]:
    """Parameter groups for an optimizer, one a layer, counted from the input (`models.layers`).

    size: the side of the images that the model takes, which are [N,3,size,size].
    """
    named = dict(model.named_parameters())
    return [{"params": [named[name] for name in names]} for names in models.layers(model, size)]


class StagedTraining:
    """Algorithm 1 for a model and an optimizer with a parameter group a layer (`layer_groups`).

    probe: images [N,3,H,W], float in [0,1] or uint8, and labels int64 [N]. settings: the schedule,
    by default the paper's. measure: what stands in for `measured` of its layer, see above. Rates
    that are tensors are filled in place, so that a recorded CUDA graph sees them.

    Errors: RecipeError for an optimizer whose parameters are not grouped by layer or that lacks
    some, for a layer to judge by that is not there or puts out no numbers, and for purified images
    without a `measure`, DataError for a probe that is not of that form, or of one class only,
    DivergenceError for weights that are not finite.
    """

    def __init__(
        self,
        model: nn.Module,
        optimizer: torch.optim.Optimizer,
        probe: tuple[Tensor, Tensor],
        settings: Staged = PAPER,
        *,
        measure: Measure | None = None,
    ) -> None:
        if settings.purified and measure is None:
            raise RecipeError(
                "indicator 'purified' is given without measure, expected what returns the accuracy "
                "on held-out images and on the same purified; pass measure=FUNCTION"
            )
        check_probe(*probe)
        check_layers(model, probe[0], () if settings.layer is None else (settings.layer,))
        self.model, self.optimizer, self.probe = model, optimizer, probe
        self.settings, self.measure = settings, measure or partial(measured, layer=settings.layer)
        layers = len(optimizer.param_groups)
        if layers == 1 and len(models.layers(model, probe[0].shape[-1])) > 1:
            raise RecipeError(
                "the optimizer has one parameter group, expected one a layer; "
                "make it of stkit.layer_groups(model, size)"
            )
        _check_parameters(model, optimizer)
        self.classes = int(probe[1].max()) + 1
        self.tau = 0
        self.lr = float(optimizer.param_groups[0]["lr"])
        self.stopped = False  # by a schedule that stops instead of rolling back
        self.checks = 0
        name = not_finite(model)
        if name is not None:
            raise DivergenceError(
                f"{name!r} holds NaN or infinity before the first step, expected finite weights; "
                "make the model anew"
            )
        self.trusted: dict[str, Tensor] = {}  # the state at the last accepted check
        self._keep()

    def __repr__(self) -> str:
        last = schedule.last_stage(self.settings.beta)
        return (
            f"StagedTraining({type(self.model).__name__}, {len(self.scales)} layers, "
            f"tau {self.tau} of {last}, {self.checks} checks)"
        )

    @property
    def scales(self) -> tuple[float, ...]:
        """Eq. 7: each layer's share of the learning rate."""
        return schedule.lr_scales(self.tau, len(self.optimizer.param_groups), self.settings.beta)

    @property
    def judges(self) -> bool:
        """Whether a check decides anything: not when tau has reached its maximum."""
        return self.settings.stop or self.tau < schedule.last_stage(self.settings.beta)

    def set_lr(self, lr: float) -> None:
        """Eq. 6: give each layer its share of this learning rate."""
        self.lr = lr
        set_lr(self.optimizer, lr, self.scales)

    def check(
        self,
        step: int | None = None,
        *,
        loss: float = 0.0,
        scores: Scores | None = None,
    ) -> Check:
        """Measure on the probe and keep the weights or roll back; the rates follow at once.

        step: what the record says of the time; by default the number of this check, from 1. loss:
        of the steps since the last check, their sum or mean; what is not finite rolls back. scores:
        what `measure` gives, where that is known already. DivergenceError: something is not finite,
        and nothing is judged any more.
        """
        scores = self.measure(self.model, *self.probe) if scores is None else scores
        score, limit = schedule.judged(
            self.settings, scores, classes=self.classes, count=len(self.probe[1])
        )
        fault = self._fault(loss, score)
        if fault is not None and not self.judges:
            raise DivergenceError(
                f"training diverged before check {step or self.checks + 1}: {fault}, and no stage "
                "is left to roll back to; lower the learning rate"
            )
        verdict = schedule.judge(
            self.tau, score if fault is None else math.nan, limit, self.settings.beta,
            falls=self.settings.purified, stop=self.settings.stop,
        )  # fmt: skip
        if verdict is not Verdict.KEEP:
            self._roll_back(fault is not None)
            self.stopped = verdict is Verdict.STOP
            self.tau += not self.stopped
            self.set_lr(self.lr)
        elif self.judges:
            self._keep()
        self.checks += 1
        return Check.of(
            scores, purified=self.settings.purified, tau=self.tau, verdict=verdict,
            step=self.checks if step is None else step, lr_scales=self.scales,
        )  # fmt: skip

    def _fault(self, loss: float, score: float | None) -> str | None:
        """What is not finite, for people."""
        if not math.isfinite(loss):
            return f"the loss is {loss}"
        name = not_finite(self.model)
        if name is not None:
            return f"{name!r} holds NaN or infinity"
        what = "the retained share" if self.settings.purified else "ACM"
        return None if score is None or math.isfinite(score) else f"{what} is {score}"

    def state_dict(self) -> dict[str, Any]:
        """Stage, rate and the state at the last accepted check; not the model's, the optimizer's.

        The tensors are the ones in use, as in PyTorch's `state_dict`.
        """
        return {
            "tau": self.tau, "lr": self.lr, "stopped": self.stopped, "checks": self.checks,
            "trusted": dict(self.trusted),
        }  # fmt: skip

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Go on from what `state_dict` gave, after the model and the optimizer have theirs."""
        self.tau, self.stopped = int(state["tau"]), bool(state["stopped"])
        self.checks = int(state["checks"])
        self.trusted = {name: value.clone() for name, value in state["trusted"].items()}
        self.set_lr(float(state["lr"]))

    @torch.no_grad()
    def _keep(self) -> None:
        for name, value in live(self.model, self.optimizer).items():
            if name in self.trusted:
                self.trusted[name].copy_(value)
            else:
                self.trusted[name] = value.detach().clone()

    @torch.no_grad()
    def _roll_back(self, diverged: bool) -> None:
        """Back to the last accepted state; of the optimizer's as `RESTORES` says, but momentum that
        has diverged does not go on."""
        now = live(self.model, self.optimizer)
        copy({k: v for k, v in self.trusted.items() if not k.startswith(MOMENTUM)}, now)
        if self.settings.restore == "weights" and not diverged:
            return
        for parameter, named in list(states(self.model, self.optimizer)):
            for name, tensor in named:
                if self.settings.restore == "zero":
                    tensor.zero_()
                elif name in self.trusted:
                    tensor.copy_(self.trusted[name])
                else:  # there was none then: it begins anew
                    self.optimizer.state.pop(parameter, None)


def _check_parameters(model: nn.Module, optimizer: torch.optim.Optimizer) -> None:
    """RecipeError when a parameter would never learn."""
    held = {id(each) for group in optimizer.param_groups for each in group["params"]}
    for name, parameter in model.named_parameters():
        if parameter.requires_grad and id(parameter) not in held:
            raise RecipeError(
                f"the optimizer has no group with parameter {name!r}, expected each in one; "
                "make it of stkit.layer_groups(model, size)"
            )
