"""Training by a frame: the only loop over epochs, and progressive staged training (ST, Alg. 1).

Where the paper (Algorithm 1, Eq. 6-7, sec. 4.1) is silent or ambiguous we do the following.
A layer is a conv or linear module with its norm, counted from 1 in forward order, shortcuts
included; all of it gets the rate alpha_i times the cosine rate. tau = 0 is all ones; tau counts up
to the integer 1/beta - 1 and never falls; when it is reached ACM is logged and no longer judged.
A check rolls back weights, BatchNorm statistics and momentum to the last accepted check (at first
the initial weights), not the clock: data order, augmentation, learning rate and budget go on with
the steps executed. Frozen layers keep their BatchNorm statistics moving. D^s is a fixed balanced
draw from the training set as published (perturbed), still trained on, never augmented, measured in
eval mode on the float32 input of the last linear layer. The test is the strict ACM > gamma, and a
NaN counts as larger. st-full is two runs in one: the second starts from the first's weights with a
fresh optimizer and is plain training. The result is the last state.

On several ranks each takes its part of every batch; what is judged was added up over all of them.
"""

from collections.abc import Iterator
from importlib.metadata import version
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from stkit import models
from stkit.core import artifact, header
from stkit.core.errors import ArtifactError
from stkit.core.rng import stream
from stkit.data import prepare
from stkit.data.images import Images, fits
from stkit.engine import ranks
from stkit.engine.feed import Batch, Feed
from stkit.engine.runtime import Runtime, pick
from stkit.engine.step import Step, copy, set_lr
from stkit.measure import acm
from stkit.measure.accuracy import Evaluator, accuracy
from stkit.models import dropout
from stkit.models.weights import fill
from stkit.recipes.frames import frame_with
from stkit.recipes.training import Job
from stkit.training import schedule
from stkit.training.plan import plan, recipe


class Training:
    """A training run: iterate `steps()` until it ends; between two steps it may be saved.

    What is random is drawn for the step executed, so the state is what `tensors()` and `head()`
    write, and `resume()` takes it up with the same result, on the CPU to the last bit.
    """

    def __init__(
        self, images: Images, job: Job, *, runtime: Runtime, test: Images | None = None
    ) -> None:
        if test is not None:
            fits(test, images.classes, images.size, "the training set")
        self.images, self.job, self.runtime, self.test = images, job, runtime, test
        self.plan = plan(images, job)
        runtime.check_batch(self.plan.batch_size)
        self.model: nn.Module = models.create(
            job.model, classes=len(images.classes), size=images.size, seed=job.seed,
            mean=self.plan.mean, std=self.plan.std, pretrained=job.pretrained,
        )  # fmt: skip
        self.model.to(memory_format=torch.channels_last).to(runtime.device)
        self.layers = models.layers(self.model, images.size)
        self.network = ranks.wrap(self.model, runtime, images.size)
        self._enter(0)
        self.executed = 0  # steps
        self.stopped = False  # by the indicator
        self.tau = 0
        self.trusted: dict[str, Tensor] = {}  # the state at the last accepted check
        self.checks: list[dict] = []  # of this epoch
        self.records: list[dict] = []  # one an epoch
        self.epoch = -1
        self.batches: Iterator[Batch] = iter(())  # this rank's parts of this epoch's
        self._place()

    def _place(self) -> None:
        """What the loop reads: the set, D^s, and the sets whose accuracy is measured."""
        rows, runtime = self.plan.train_rows, self.runtime
        images = prepare.prepare(self.images, self.plan.phases[0].prepare, seed=self.job.seed)
        self.feed = Feed(images.pixels, images.labels, runtime)
        self.indicator = acm.Indicator(
            self.model, self.feed, rows, len(images.classes), seed=self.job.seed, runtime=runtime
        )
        held: dict[str, Images] = {}
        if self.job.holdout:
            held["holdout_accuracy"] = self.images.rows(self.plan.holdout_rows)
        if self.test is not None:
            held["accuracy"] = self.test
        self.evaluators = {
            key: Evaluator(self.model, which, runtime=runtime) for key, which in held.items()
        }

    @property
    def done(self) -> bool:
        return self.stopped or self.executed == self.plan.steps

    @property
    def place(self) -> str:
        """How far it has come, for people."""
        return f"step {self.executed} of {self.plan.steps}"

    @property
    def progress(self) -> tuple[int, int]:
        return self.executed, self.plan.steps

    def steps(self) -> Iterator[dict | None]:
        """Train until the budget is spent; yields an epoch's record at its end, else None."""
        while not self.done:
            yield self._advance()

    def _advance(self) -> dict | None:
        """One step, the check that may be due after it, and the epoch's record at its end."""
        epoch, offset = divmod(self.executed, self.plan.steps_per_epoch)
        if epoch != self.epoch:
            self._open(epoch, offset)
        self.step(*next(self.batches), batch_size=self.plan.batch_size, clock=self.executed)
        self.executed += 1
        ends = self.executed % self.plan.steps_per_epoch == 0
        measured = self._accuracies() if ends else {}
        if self._check_due(ends):
            self._check()
        return self._close(measured) if ends or self.stopped else None

    def _enter(self, which: int) -> None:
        """Make the step of a phase, with a fresh optimizer."""
        dropout.put(self.model, self.plan.phases[which].dropout)
        self.model.zero_grad(set_to_none=True)
        vars(self).pop("step", None)  # so that its memory is free before the next is recorded
        self.step = Step(
            self.model, self.network, self.layers, self.plan.phases[which], self.runtime,
            seed=self.job.seed,
        )  # fmt: skip

    def _open(self, epoch: int, offset: int) -> None:
        """Enter an epoch (at its first step, or resumed within it): order, phase, rates."""
        which, self.first = self.plan.phase_at(epoch)
        self.phase, self.epoch = self.plan.phases[which], epoch
        if offset == 0 and epoch == self.first:
            self.tau = 0
            if which:
                self._enter(which)
            self.trusted = {}
            if self.phase.staged:
                self.trusted = {k: v.detach().clone() for k, v in self.step.live().items()}
        generator = stream(self.job.seed, "order", epoch)
        order = torch.randperm(len(self.plan.train_rows), generator=generator)
        rows = self.feed.rows(self.plan.train_rows[order])
        size = self.plan.batch_size
        part = self.runtime.part(size)
        self.batches = self.feed.batches(
            rows[start * size : (start + 1) * size][part]
            for start in range(offset, self.plan.steps_per_epoch)
        )
        self._set_lr()

    def _set_lr(self) -> None:
        self.lr = schedule.cosine(
            self.phase.lr, self.epoch - self.first + 1, self.phase.epochs or 0
        )
        beta = self.phase.staged.beta if self.phase.staged else 1.0
        self.scales = schedule.lr_scales(self.tau, len(self.layers), beta)
        set_lr(self.step.sgd, self.lr, self.scales)

    def _check_due(self, ends: bool) -> bool:
        staged = self.phase.staged
        if staged is None:
            return False
        if staged.check_every is None or self.tau >= schedule.last_stage(staged.beta):
            return ends
        return (self.executed - self.first * self.plan.steps_per_epoch) % staged.check_every == 0

    def _check(self) -> None:
        """Measure ACM, judge, and keep or roll back (Alg. 1); all of it is logged."""
        staged = self.phase.staged
        assert staged is not None
        scores = self.indicator.scores()
        judged = staged.stop or self.tau < schedule.last_stage(staged.beta)
        verdict = schedule.judge(
            self.tau, scores[staged.variant], staged.threshold, staged.beta, stop=staged.stop
        )
        if verdict != schedule.KEEP:
            self.step.restore(self.trusted, staged.restore)
            self.stopped = verdict == schedule.STOP
            self.tau += not self.stopped
            self._set_lr()
        elif judged:
            copy(self.step.live(), self.trusted)
        self.checks.append(
            {"step": self.executed, "acm": scores, "tau": self.tau, "verdict": verdict,
             "lr_scales": list(self.scales)}
        )  # fmt: skip

    def _accuracies(self) -> dict[str, float]:
        self.runtime.broadcast_(*self.model.buffers())
        return {key: accuracy(e.confusion()) for key, e in self.evaluators.items()}

    def _sums(self) -> tuple[float, float]:
        """Loss and right answers over this epoch's steps so far, of all ranks."""
        return tuple(self.runtime.sum_(self.step.sums.clone()).tolist())

    def _close(self, measured: dict[str, float]) -> dict:
        """The epoch's record. Its accuracies are those of the weights before a roll-back."""
        steps = self.executed - self.epoch * self.plan.steps_per_epoch
        loss, hits = self._sums()
        record: dict[str, Any] = {
            "epoch": self.epoch + 1, "phase": self.plan.phase_at(self.epoch)[0] + 1,
            "lr": self.lr, "loss": loss / steps,
            "train_accuracy": hits / (steps * self.plan.batch_size),
            **measured,
        }  # fmt: skip
        if self.checks:
            record["checks"] = self.checks
            last = self.checks[-1]
            if last["verdict"] != schedule.KEEP and last["step"] == self.executed:
                record["rolled_back"] = True
                if self.done:
                    final = self._accuracies()
                    record = {**final, **record, "final": final}
        self.records.append(record)
        self.checks = []
        self.step.sums.zero_()
        return record

    def tensors(self) -> dict[str, Tensor]:
        """A checkpoint's tensors: the `state_dict`; unfinished, also momentum and snapshot."""
        if self.done:
            return dict(self.model.state_dict())
        return self.step.live() | {f"trusted/{name}": value for name, value in self.trusted.items()}

    def head(self) -> dict:
        """A checkpoint's header: enough to use the model, and, unfinished, to go on."""
        progress: dict[str, Any] = {"done": self.done, "step": self.executed}
        progress["steps"] = self.plan.steps
        if not self.done:
            loss, hits = self._sums()
            progress |= {"tau": self.tau, "checks": self.checks, "loss": loss, "hits": hits}
        job, images = self.job, self.images
        head = header.make(
            "checkpoint", recipe(job, self.plan, self.runtime), seed=job.seed,
            inputs=[i.provenance for i in (images, self.test) if i is not None],
            model=job.model, classes=list(images.classes), size=images.size, frame=job.name,
            mean=self.plan.mean, std=self.plan.std, progress=progress, records=self.records,
        )  # fmt: skip
        if models.timm_name(job.model, images.size) is not None:
            head["versions"]["timm"] = version("timm")
        return head

    def save(self, path: str | Path) -> dict:
        """Write a checkpoint, finished or not, by rank 0 only; returns its header."""
        head = self.head()
        return artifact.write(Path(path), self.tensors(), head) if self.runtime.first else head

    def resume(self, head: dict, tensors: dict[str, Tensor]) -> None:
        """Take up an unfinished checkpoint. ArtifactError if it is another run's."""
        header.same(head, self.head())
        progress = header.numbers(head["progress"])
        if progress["done"]:
            raise ArtifactError("found a finished training, expected an unfinished one; move it")
        epoch = max(0, progress["step"] - 1) // self.plan.steps_per_epoch  # of the last step
        self._enter(self.plan.phase_at(epoch)[0])
        fill(self.model, tensors)
        self.trusted = {
            name.removeprefix("trusted/"): self.runtime.place(value).clone()
            for name, value in tensors.items()
            if name.startswith("trusted/")
        }
        copy({k: v for k, v in tensors.items() if k.startswith("optimizer/")}, self.step.live())
        self.executed, self.tau = progress["step"], progress["tau"]
        self.checks, self.records = progress["checks"], header.numbers(head["records"])
        if self.runtime.first:  # the others add to it from zero
            sums = [progress["loss"], progress["hits"]]
            self.step.sums.copy_(torch.tensor(sums, dtype=self.runtime.sums))


def train(
    images: Images,
    frame: str = "nt",
    *,
    test: Images | None = None,
    model: str = "resnet18",
    batch_size: int = 128,
    seed: int = 0,
    holdout: int = 0,
    pretrained: bool = False,
    device: str = "auto",
    precision: str = "auto",
    **options: Any,
) -> Training:
    """Train a model by a frame to the end; the result has `model`, `records`, `tensors`, `head`.

    options: epochs, lr, fine_tune_epochs, fine_tune_lr, adversary, beta, gamma, variant,
    check_every; RecipeError for one that the frame does not have.
    """
    job = Job(frame, frame_with(frame, **options), model, batch_size, seed, holdout, pretrained)
    training = Training(images, job, runtime=pick(device, precision), test=test)
    for _ in training.steps():
        pass
    return training
