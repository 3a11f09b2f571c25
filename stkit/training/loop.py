"""Training by a frame: the only loop over epochs; where a phase is staged, `StagedTraining` judges.

D^s is a fixed balanced draw from the training set as published. The cosine is set once an epoch.
st-full is two runs in one: the second starts from the first's weights with a fresh optimizer and is
plain training. The result is the last state. On several ranks each takes its part of every batch;
what is judged was added up over all of them.

A loss or weights that are not finite end it; while a stage is left, they roll back instead, at the
next check or at the epoch's end. They are looked for where sums are read: at checks, at an epoch's
end, and before a save. Which step it was, the device has noted.
"""

import math
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from stkit import models
from stkit.core import artifact
from stkit.core.errors import DivergenceError
from stkit.data.images import Images, fits
from stkit.engine import ranks
from stkit.engine.feed import Batch
from stkit.engine.runtime import Runtime
from stkit.engine.step import Step, set_lr
from stkit.models import dropout
from stkit.models.weights import not_finite
from stkit.recipes.training import TrainingRecipe
from stkit.training import schedule, state
from stkit.training.climb import Climb, settled
from stkit.training.ladder import Chosen
from stkit.training.plan import Plan, model_of, plan
from stkit.training.recording import judged
from stkit.training.schedule import Check, Epoch, Held, Recorded, Verdict
from stkit.training.sets import Augment, Sets
from stkit.training.snapshot import copy, live
from stkit.training.staged import Measure, StagedTraining
from stkit.training.transplant import Donor, plant


class Training:
    """A training run: iterate `steps()` until it ends; between two steps it may be saved.

    What is random is drawn for the step executed, so the state is what `tensors()` and `head()`
    write, and `resume()` takes it up with the same result, on the CPU to the last bit.

    model: an own module, trained in place, in place of the recipe's. augment: see `Augment`; runs
    outside what is recorded as a CUDA graph. measure: stands in for what checks measure. donor: see
    `plant`. on_chosen: called with what pilots have come to, where a ladder is climbed.
    """

    def __init__(
        self,
        images: Images,
        recipe: TrainingRecipe,
        *,
        runtime: Runtime,
        test: Images | None = None,
        model: nn.Module | None = None,
        augment: Augment | None = None,
        measure: Measure | None = None,
        donor: Donor | None = None,
        on_chosen: Callable[[Chosen], object] | None = None,
    ) -> None:
        if test is not None:
            fits(test, images.classes, images.size, "the training set")
        recipe = settled(recipe, images)
        self.images, self.recipe, self.runtime, self.test = images, recipe, runtime, test
        self.plan, self.measure = plan(images, recipe), measure
        runtime.check_batch(self.plan.batch_size)
        self.model = model_of(recipe, self.plan, images, own=model)
        self.transplant = plant(self.model, donor, recipe, self.plan, images)
        self.model.to(memory_format=torch.channels_last).to(runtime.device)
        self.layers = models.layers(self.model, images.size)
        self.network = ranks.wrap(self.model, runtime, images.size)
        self.augment, self.on_chosen = augment, on_chosen
        self.climb = Climb.of(images, recipe, self.plan, runtime, train=Training)
        self.read()
        self.enter(0)
        self.executed = 0  # steps
        self.since = 0  # the step after which the sums of this epoch begin
        self.stopped = False  # by the schedule
        self.checks: list[Check] = []  # of this epoch
        self.epochs: list[Epoch] = []
        self.epoch = -1
        self.batches: Iterator[Batch] = iter(())  # this rank's parts of this epoch's

    @property
    def done(self) -> bool:
        """Whether the budget is spent, or the indicator has ended the run."""
        return self.stopped or self.executed == self.plan.steps

    @property
    def place(self) -> str:
        """How far it has come, for people."""
        before = "" if self.climb is None else self.climb.pilots.place
        return before or f"step {self.executed} of {self.plan.steps}"

    @property
    def progress(self) -> tuple[int, int]:
        """Steps executed, and of how many; of a pilot, while one runs."""
        now = self.executed, self.plan.steps
        return now if self.climb is None else self.climb.pilots.progress or now

    @property
    def planned(self) -> Plan:
        """The plan, with what the rung at hand carries where a ladder is climbed."""
        return self.plan if self.climb is None else self.climb.plan(self.plan)

    def steps(self) -> Iterator[Epoch | None]:
        """Train until the budget is spent; yields an epoch's record at its end, else None."""
        if self.climb is not None and self.climb.chosen.rung is None:
            yield from self.climb.pilots.steps()
            if self.on_chosen is not None:
                self.on_chosen(self.climb.chosen)
            self.move(0)
        while not self.done:
            yield self._advance()

    def read(self) -> None:
        """Prepare the images as on the rung at hand; memory of others is free before."""
        self.batches = iter(())
        vars(self).pop("sets", None)
        self.sets = Sets(
            self.images, self.recipe, self.planned, model=self.model, runtime=self.runtime,
            test=self.test, augment=self.augment,
        )  # fmt: skip

    def move(self, which: int) -> None:
        """Go on in this phase on the rung at hand; weights, momentum and stage stay."""
        now = {k: v.detach().clone() for k, v in live(self.model, self.step.sgd).items()}
        before = None if self.staged is None else self.staged.state_dict()
        self.read()
        self.enter(which)
        copy(now, live(self.model, self.step.sgd))
        if self.staged is not None and before is not None:
            self.staged.load_state_dict({**before, "trusted": now})

    def _advance(self) -> Epoch | None:
        """One step, the check that may be due after it, and the epoch's record at its end."""
        epoch, offset = divmod(self.executed, self.plan.steps_per_epoch)
        if epoch != self.epoch:
            self._open(epoch, offset)
        self.step(*next(self.batches), batch_size=self.plan.batch_size, clock=self.executed)
        self.executed += 1
        ends = self.executed % self.plan.steps_per_epoch == 0
        held = self.sets.accuracies() if ends else Held()
        recorded = self.sets.recording() if ends else None
        if self.staged is not None and self._check_due(self.staged, ends):
            self._check(self.staged, recorded, held)
        return self._close(held, recorded) if ends or self.stopped else None

    def enter(self, which: int) -> None:
        """Make the step of a phase, with a fresh optimizer, and its schedule."""
        phase, seed, still = self.planned.phases[which], self.recipe.seed, self.transplant.still
        dropout.put(self.model, phase.dropout)
        self.model.zero_grad(set_to_none=True)
        for name in ("step", "staged"):  # so that their memory is free before the next is recorded
            vars(self).pop(name, None)
        self.step = Step(
            self.model, self.network, self.layers, phase, self.runtime, seed=seed, still=still
        )
        self.staged: StagedTraining | None = None
        if phase.staged is not None:
            probe, measure = self.sets.judged(phase.staged)
            self.staged = StagedTraining(
                self.model, self.step.sgd, probe, phase.staged, measure=self.measure or measure
            )

    def _open(self, epoch: int, offset: int) -> None:
        """Enter an epoch (at its first step, or resumed within it): order, phase, rates."""
        which, first = self.plan.phase_at(epoch)
        self.phase, self.first, self.epoch = self.plan.phases[which], first, epoch
        if offset == 0 and epoch == first and which:
            self.enter(which)
        self.batches = self.sets.batches(epoch, offset)
        self.lr = schedule.cosine(self.phase.lr, epoch - first + 1, self.phase.epochs)
        if self.staged is not None:
            self.staged.set_lr(self.lr)
        else:
            set_lr(self.step.sgd, self.lr, (1.0,) * len(self.layers))

    def _check_due(self, staged: StagedTraining, ends: bool) -> bool:
        """After so many steps of the phase, and at an epoch's end where something is not finite;
        when nothing is judged any more, once an epoch."""
        settings = self.phase.staged
        assert settings is not None
        if staged.tau >= schedule.last_stage(settings.beta):
            return ends
        steps = self.executed - self.first * self.plan.steps_per_epoch
        return steps % settings.check_every == 0 or (ends and self._fault() is not None)

    def _check(self, staged: StagedTraining, recorded: Recorded | None, held: Held) -> None:
        """Keep or roll back, by what the epoch's end has measured where that is now. After a bad
        loss, which rolls back, the epoch's sums begin anew."""
        if not staged.judges:
            self.refuse()
        loss, _ = self.sums()
        known = held if staged.settings.purified else judged(recorded, staged.settings.layer)
        scores = known if known and not self.measure else None
        self.checks.append(staged.check(self.executed, loss=loss, scores=scores))
        self.stopped = staged.stopped
        ends = self.executed % self.plan.steps_per_epoch == 0
        if not (math.isfinite(loss) or ends or self.stopped):
            self.step.sums.zero_()
            self.since = self.executed

    def _fault(self) -> tuple[int, str] | None:
        """What is not finite and since which step, from 1; the same on all ranks."""
        loss, _ = self.sums()
        name = self.runtime.shared(not_finite(self.model))
        if not math.isfinite(loss):
            sound = min(self.runtime.gathered(int(self.step.sums[2])))
            return self.since + sound + 1, "the loss is NaN or infinite"
        return None if name is None else (self.executed, f"{name!r} holds NaN or infinity")

    def refuse(self) -> None:
        """DivergenceError where there is a fault."""
        fault = self._fault()
        if fault is None:
            return
        step, what = fault
        remedy = "" if self.runtime.precision == "fp32" else ", or pass --precision fp32"
        raise DivergenceError(
            f"training diverged at step {step} of {self.plan.steps}, epoch "
            f"{(step - 1) // self.plan.steps_per_epoch + 1}: {what}, expected finite numbers; "
            f"lower --lr{remedy}"
        )

    def sums(self) -> tuple[float, float]:
        """Loss and right answers over this epoch's steps so far, of all ranks.

        After a bad loss that was rolled back, over the steps since then."""
        loss, hits, _ = self.runtime.sum_(self.step.sums.clone()).tolist()
        return loss, hits

    def _close(self, held: Held, recorded: Recorded | None) -> Epoch:
        """The epoch's record. What was measured is of the weights before a roll-back."""
        steps = self.executed - self.since
        loss, hits = self.sums()
        last = self.checks[-1] if self.checks else None
        rolled_back = (
            last is not None and last.verdict is not Verdict.KEEP and last.step == self.executed
        )
        if not rolled_back:
            self.refuse()
        final = self.sets.accuracies() if rolled_back and self.done else None
        held = {**(final or Held()), **held}
        record = Epoch(
            epoch=self.epoch + 1, phase=self.plan.phase_at(self.epoch)[0] + 1, lr=self.lr,
            loss=loss / steps, train_accuracy=hits / (steps * self.plan.batch_size),
            checks=tuple(self.checks), rolled_back=rolled_back, final=final, recorded=recorded,
            **held,
        )  # fmt: skip
        self.epochs.append(record)
        self.checks = []
        self.step.sums.zero_()
        self.since = self.executed
        if self.climb is not None:
            self._watch(self.climb)
        return self.epochs[-1]

    def _watch(self, climb: Climb) -> None:
        """Where an epoch fell, whose weights are gone then: the next rung, if there is budget."""
        if not climb.watch(self.epochs, live(self.model, self.step.sgd)):
            return
        final = self.sets.accuracies() if self.done else None
        self.epochs[-1] = replace(self.epochs[-1], rolled_back=True, final=final)
        if not self.done:
            climb.switch(self.epochs)
            self.move(self.plan.phase_at(self.epoch)[0])

    def tensors(self) -> dict[str, Tensor]:
        """A checkpoint's tensors: the `state_dict`; unfinished, also momentum and snapshot."""
        return state.tensors(self)

    def head(self) -> dict[str, Any]:
        """A checkpoint's header: enough to use the model, and, unfinished, to go on.

        DivergenceError: unfinished, and what is at hand is not finite and will not be rolled back.
        """
        return state.head(self)

    def save(self, path: str | Path, *, replace: bool = True) -> dict[str, Any]:
        """Write a checkpoint, finished or not, by rank 0 only; returns its header. Taken where a
        file is, unless it may `replace`."""
        head = self.head()
        if not self.runtime.first:
            return head
        return artifact.write(Path(path), self.tensors(), head, replace=replace)

    def resume(self, head: dict[str, Any], tensors: dict[str, Tensor]) -> None:
        """Take up an unfinished checkpoint. ArtifactError if it is another run's."""
        state.resume(self, head, tensors)
