"""EM, error-minimizing noise (Huang et al. 2021): a surrogate learns, the noise helps it, in turn.

A round is: `model_steps` SGD steps of the surrogate on images + noise (not clamped, gradient
clipped), then signed gradient steps of the noise that lower the loss of the frozen surrogate, then
the error on images + noise. It ends when the error is no larger than `stop_error`.

sample: one noise an image; both parts walk the whole set in its stored order, which must not be
class by class (folders are shuffled once when they are read). class: one noise a class, the mean
over the images of the class in a batch, updated after every batch of a fixed fifth of the set.

Differences from the authors' code: the best round is kept and `max_rounds` ends a run that never
reaches the error (theirs goes on for ever); class-wise, the error is taken on the whole fifth
(theirs drops the ragged rest); draws come from `rng.stream`. At 224 px the surrogate keeps the 3x3
stem of `stkit.models` (theirs: torchvision's) and epsilon is the ST paper's 8/255 (theirs: 16/255).
`sign="positive"` drops the negative half of the noise, as their loader does.
"""

from collections.abc import Callable, Iterator

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from stkit import header, models, pgd, step
from stkit.data import Images, to_float
from stkit.frames import Phase
from stkit.poisons import surrogate
from stkit.recipes import EM, as_dict, em_for
from stkit.rng import stream
from stkit.runtime import Runtime
from stkit.sources import balanced

FIFTH = 0.2  # the share of the set that class-wise noise is made and judged on


class Making:
    """EM noise in the making: iterate `steps()`; between two yields it may be saved.

    noise: float32 [N,3,H,W], class-wise [K,3,H,W], on the device, in [0,1] units. A round's record
    is {round, error}. `stage` and `at` say how far the round has come.
    """

    def __init__(self, images: Images, recipe: EM, *, seed: int, runtime: Runtime) -> None:
        self.images, self.seed, self.runtime = images, seed, runtime
        self.recipe = recipe = em_for(recipe, images.size, len(images.classes))
        self.model = models.create(
            recipe.model, classes=len(images.classes), size=images.size, seed=seed
        )
        self.model.to(memory_format=torch.channels_last).to(runtime.device)
        phase = Phase(
            lr=recipe.lr, momentum=recipe.momentum, weight_decay=recipe.weight_decay or 0.0
        )
        self.sgd = step.optimizer(self.model, [list(dict(self.model.named_parameters()))], phase)
        self.pixels, self.labels = surrogate.place(images, runtime)
        self.per_class = recipe.scope == "class"
        count = len(images.classes) if self.per_class else len(images)
        shape = (count, *images.images.shape[1:])
        if self.per_class:  # small: always where the labels are
            self.noise, self.best = (torch.zeros(shape, device=runtime.device) for _ in range(2))
        else:
            self.noise, self.best = surrogate.noise(shape, runtime)
        self.loss = torch.zeros(())  # of the surrogate's last step
        self.records: list[dict] = []
        self.stage, self.at = "model", 0
        self.wrong = 0.0  # sum over this round's batches of the share of wrong answers
        self.all = torch.arange(len(images))
        shuffled = torch.randperm(len(images), generator=stream(seed, "fifth"))
        fifth = balanced(images.labels[shuffled], max(1, round(FIFTH * len(images))))
        self.fifth = shuffled[fifth] if self.per_class else self.all

    @property
    def done(self) -> bool:
        """Whether the last round reached the error, or was the last allowed."""
        if not self.records:
            return False
        reached = self.records[-1]["error"] <= (self.recipe.stop_error or 0.0)
        return reached or len(self.records) >= self.recipe.max_rounds

    @property
    def converged(self) -> bool:
        return min(r["error"] for r in self.records) <= (self.recipe.stop_error or 0.0)

    @property
    def place(self) -> str:
        """How far it has come, for people."""
        return f"round {len(self.records) + 1}, {self.stage} {self.at}"

    @property
    def progress(self) -> tuple[int, int]:
        """Rounds finished, rounds at most."""
        return len(self.records), self.recipe.max_rounds

    def steps(self) -> Iterator[dict | None]:
        """Go on to the end; yields often, and a round's record at its end."""
        while not self.done:
            if self.stage == "model":
                self._learn()
                yield None
            elif self.stage == "noise":
                yield from self._help()
            else:
                yield self._judge()

    def _next(self, count: int, stage: str) -> bool:
        """Count one more unit of this stage; whether it was the last of `count`."""
        self.at += 1
        if self.at < count:
            return False
        self.stage, self.at = stage, 0
        return True

    def _batches(self, rows: Tensor, *, drop_last: bool) -> int:
        """How many batches the rows make; a set smaller than a batch is one."""
        size = self.recipe.batch_size or 1
        return max(1, len(rows) // size) if drop_last else -(-len(rows) // size)

    def _rows(self, rows: Tensor, number: int) -> Tensor:
        size = self.recipe.batch_size or 1
        return rows[number * size : (number + 1) * size]

    def _batch(self, rows: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Images in [0,1], labels, and the index of the noise of each, on the device."""
        place = self.runtime.place
        pixels = place(self.pixels[rows.to(self.pixels.device)])
        labels = place(self.labels[rows.to(self.labels.device)])
        x = to_float(pixels).contiguous(memory_format=torch.channels_last)
        return x, labels, labels if self.per_class else rows

    def _noise(self, which: Tensor) -> Tensor:
        """The noise of these indices, on the runtime's device, at least float32."""
        return step.at_least_float32(self.runtime.place(self.noise[which.to(self.noise.device)]))

    def _learn(self) -> None:
        """One SGD step of the surrogate; its batches go on where the last round stopped."""
        clock = len(self.records) * (self.recipe.model_steps or 1) + self.at
        epoch, number = divmod(clock, self._batches(self.all, drop_last=self.per_class))
        order = self.all
        if self.per_class:
            order = torch.randperm(len(order), generator=stream(self.seed, "order", epoch))
        x, labels, which = self._batch(self._rows(order, number))
        self.loss, _ = step.descend(
            self.model, self.sgd, x + self._noise(which), labels, self.runtime,
            clip=self.recipe.clip,
        )  # fmt: skip
        self._next(self.recipe.model_steps or 1, "noise")

    def _help(self) -> Iterator[None]:
        """One batch of noise: `steps` signed steps down the loss of the frozen surrogate.

        The noise is written once, after the last step, so that a run stopped within a batch
        begins that batch again.
        """
        rows = self.fifth
        if self.per_class:
            generator = stream(self.seed, "noise", len(self.records))
            rows = rows[torch.randperm(len(rows), generator=generator)]
        x, labels, which = self._batch(self._rows(rows, self.at))
        noise = self._noise(which)
        recipe = self.recipe
        with pgd.evaluating(self.model):
            for _ in range(recipe.steps or 1):
                noise = pgd.pgd(
                    lambda inputs: self._loss(inputs, labels), x, noise, epsilon=recipe.epsilon,
                    step_size=recipe.step_size or 0.0, steps=1, ascend=False,
                )  # fmt: skip
                yield None
        if self.per_class:
            self._average(noise, labels)
        else:
            self.noise[which.to(self.noise.device)] = noise.to(self.noise)
        self._next(self._batches(rows, drop_last=self.per_class), "error")
        yield None

    def _loss(self, inputs: Tensor, labels: Tensor) -> Tensor:
        """A sum, so that an image's gradient does not depend on the batch."""
        with self.runtime.autocast():
            logits = self.model(inputs)
        return F.cross_entropy(step.at_least_float32(logits), labels, reduction="sum")

    def _average(self, noise: Tensor, labels: Tensor) -> None:
        """The noise of each class in the batch becomes the mean over its images."""
        sums = torch.zeros_like(self.noise).index_add_(0, labels, noise)
        counts = torch.zeros(len(self.noise), device=labels.device)
        counts = counts.index_add_(0, labels, counts.new_ones(len(labels))).view(-1, 1, 1, 1)
        mean = (sums / counts.clamp_min(1)).clamp(-self.recipe.epsilon, self.recipe.epsilon)
        self.noise = torch.where(counts > 0, mean, self.noise)

    def _judge(self) -> dict | None:
        """The error on one batch; after the last one the round's record."""
        x, labels, which = self._batch(self._rows(self.fifth, self.at))
        with pgd.evaluating(self.model), torch.no_grad(), self.runtime.autocast():
            guess = self.model(x + self._noise(which)).argmax(1)
        self.wrong += int((guess != labels).sum()) / len(labels)
        count = self._batches(self.fifth, drop_last=False)
        if not self._next(count, "model"):
            return None
        surrogate.check(float(self.loss), self.place)
        record = {"round": len(self.records) + 1, "error": self.wrong / count}
        self.wrong = 0.0
        self._keep(record)
        return record

    def _keep(self, record: dict) -> None:
        """Log a round, and keep its noise if it is the best so far."""
        if record["error"] < min((r["error"] for r in self.records), default=2.0):
            self.best.copy_(self.noise)
        self.records.append(record)

    def tensors(self) -> dict[str, Tensor]:
        """What an unfinished noise needs to go on."""
        return {
            "noise": self.noise, "best": self.best,
            **surrogate.tensors(self.model, self.sgd),
        }  # fmt: skip

    def head(self) -> dict:
        """The header of the `state` file."""
        progress = {"stage": self.stage, "at": self.at, "wrong": self.wrong}
        recipe = {"method": "em", **as_dict(self.recipe), "precision": self.runtime.precision}
        return header.make(
            "state", recipe, seed=self.seed, inputs=[self.images.provenance],
            progress=progress, records=self.records,
        )  # fmt: skip

    def resume(self, head: dict, tensors: dict[str, Tensor]) -> None:
        """Take up a `state` file. ArtifactError if it is another run's."""
        surrogate.resume(self.model, self.sgd, head, tensors, self.head())
        self.noise.copy_(tensors["noise"])
        self.best.copy_(tensors["best"])
        self.records = head["records"]
        self.stage, self.at = head["progress"]["stage"], head["progress"]["at"]
        self.wrong = head["progress"]["wrong"]

    def result(self) -> tuple[Callable[[slice], np.ndarray], dict]:
        """The best round's noise for a slice of rows, [n,3,H,W], and what the header says of it."""
        array, labels = self.best.cpu().numpy(), self.images.labels.numpy()
        low = 0.0 if self.recipe.sign == "positive" else -np.inf
        best = min(self.records, key=lambda record: record["error"])
        about = {"rounds": len(self.records), "best": best, "converged": self.converged}
        return (
            lambda rows: array[labels[rows] if self.per_class else rows].clip(low, np.inf)
        ), about
