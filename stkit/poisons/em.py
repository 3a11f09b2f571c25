"""EM, error-minimizing noise (Huang et al. 2021): a surrogate learns, the noise helps it, in turn.

A round is: `model_steps` SGD steps of the surrogate on images + noise (not clamped, gradient
clipped), then signed gradient steps of the noise that lower the loss of the frozen surrogate, then
the error on images + noise. It ends when the error is no larger than `stop_error`.

sample: one noise an image; both parts walk the whole set in its stored order, which must not be
class by class (folders are shuffled once when they are read). class: one noise a class, the mean
over the images of the class in a batch, updated after every batch of a fixed fifth of the set.

Differences from the authors' code: the best round is kept and `max_rounds` ends a run that never
reaches the error (theirs goes on for ever); class-wise, the error is taken on the whole fifth
(theirs drops the ragged rest); draws come from `rng.stream`. Above 64 px the surrogate
is timm's net (theirs: torchvision's) and epsilon is the ST paper's 8/255 (theirs: 16/255).
`sign="positive"` drops the negative half of the noise, as their loader does.
"""

from collections.abc import Callable, Iterator

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from stkit import models
from stkit.core import header, rng
from stkit.core.checks import as_dict
from stkit.core.rng import stream
from stkit.data.images import Images, to_float
from stkit.data.sampling import balanced
from stkit.engine import pgd, ranks, step
from stkit.engine.feed import Feed
from stkit.engine.graphs import Captured
from stkit.engine.memory import fitted
from stkit.engine.runtime import Runtime
from stkit.poisons import surrogate
from stkit.recipes.frames import Phase
from stkit.recipes.poisons import EM, em_for

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
        runtime.check_batch(min(recipe.batch_size or 1, len(images)))
        self.network = ranks.wrap(self.model, runtime, images.size)
        self.frozen = ranks.alone(self.model, self.network)  # while noise is made
        self.feed = Feed(images.pixels, images.labels, runtime)
        self.per_class = recipe.scope == "class"
        count = len(images.classes) if self.per_class else len(images)
        shape = (count, *images.pixels.shape[1:])
        if self.per_class:  # small: always where the labels are
            self.noise, self.best = (torch.zeros(shape, device=runtime.device) for _ in range(2))
        else:
            self.noise, self.best = surrogate.noise(shape, runtime)
        self.loss = torch.zeros((), device=runtime.device)  # of the surrogate's last step
        self.records: list[dict] = []
        self.stage, self.at = "model", 0
        # sum over this round's batches of the share of wrong answers
        self.wrong = torch.zeros((), dtype=runtime.sums, device=runtime.device)
        self.all = torch.arange(len(images))
        shuffled = torch.randperm(len(images), generator=stream(seed, "fifth"))
        fifth = balanced(images.labels[shuffled], max(1, round(FIFTH * len(images))))
        self.fifth = shuffled[fifth] if self.per_class else self.all
        self.mine = surrogate.mine(len(images), recipe.batch_size or 1, runtime)
        self._improve = Captured(self._improved, runtime)

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
        """This rank's part of a batch: images in [0,1], labels, and the index of each one's noise.

        Sample-wise a batch is the same rows in every round and stage, so a rank always meets the
        same images, and only it has their noise.
        """
        rows = rows[self.runtime.part(len(rows))]
        pixels, labels = self.feed.take(rows)
        x = to_float(pixels).contiguous(memory_format=torch.channels_last)
        return x, labels, labels if self.per_class else rows

    def _noise(self, which: Tensor) -> Tensor:
        """The noise of these indices, on the runtime's device, at least float32."""
        which = which.to(self.noise.device, non_blocking=True)
        return step.at_least_float32(self.runtime.place(self.noise[which]))

    def _learn(self) -> None:
        """One SGD step of the surrogate; its batches go on where the last round stopped."""
        clock = len(self.records) * (self.recipe.model_steps or 1) + self.at
        epoch, number = divmod(clock, self._batches(self.all, drop_last=self.per_class))
        order = self.all
        if self.per_class:
            order = torch.randperm(len(order), generator=stream(self.seed, "order", epoch))
        rows = self._rows(order, number)
        x, labels, which = self._batch(rows)
        rng.reseed(self.seed, f"inside, rank {self.runtime.rank}", clock, x.device)
        total = self.runtime.total(len(rows))

        def descend(inputs: Tensor, labels: Tensor) -> Tensor:
            return step.descend(
                self.network, self.sgd, inputs, labels, self.runtime, total=total,
                clip=self.recipe.clip,
            )[0]  # fmt: skip

        self.loss = fitted(descend, (x + self._noise(which), labels), self.runtime)
        if self._next(self.recipe.model_steps or 1, "noise"):
            self.runtime.broadcast_(*self.model.buffers())  # BatchNorm statistics may differ

    def _help(self) -> Iterator[None]:
        """One batch of noise: `steps` signed steps down the loss of the frozen surrogate.

        The noise is written once, after the last step, so that a run stopped within a batch
        begins that batch again.
        """
        rows = self.fifth
        if self.per_class:
            generator = stream(self.seed, "noise", len(self.records))
            rows = rows[torch.randperm(len(rows), generator=generator)]
        batch = self._rows(rows, self.at)
        x, labels, which = self._batch(batch)
        noise = self._noise(which)
        for _ in range(self.recipe.steps or 1):
            noise = self._improve(x, labels, noise)
            yield None
        if self.per_class:
            self._average(noise, labels, self.runtime.owned(len(batch)))
        else:
            self.noise[which.to(self.noise.device, non_blocking=True)] = noise.to(self.noise)
        self._next(self._batches(rows, drop_last=self.per_class), "error")
        yield None

    def _improved(self, x: Tensor, labels: Tensor, noise: Tensor) -> Tensor:
        """The noise after one signed step."""
        recipe = self.recipe
        with pgd.evaluating(self.frozen):
            return pgd.pgd(
                lambda inputs: self._loss(inputs, labels), x, noise, epsilon=recipe.epsilon,
                step_size=recipe.step_size or 0.0, steps=1, ascend=False,
            )  # fmt: skip

    def _loss(self, inputs: Tensor, labels: Tensor) -> Tensor:
        """A sum, so that an image's gradient does not depend on the batch."""
        with self.runtime.autocast():
            logits = self.frozen(inputs)
        return F.cross_entropy(step.at_least_float32(logits), labels, reduction="sum")

    def _average(self, noise: Tensor, labels: Tensor, owned: slice) -> None:
        """The noise of each class in the batch becomes the mean over its images, of all ranks."""
        if owned == slice(0, 0):  # another rank has all of this batch, too
            noise, labels = noise[:0], labels[:0]
        sums = torch.zeros_like(self.noise).index_add_(0, labels, noise)
        counts = torch.zeros(len(self.noise), device=labels.device, dtype=sums.dtype)
        counts = counts.index_add_(0, labels, counts.new_ones(len(labels)))
        sums, counts = self.runtime.sum_(sums), self.runtime.sum_(counts).view(-1, 1, 1, 1)
        mean = (sums / counts.clamp_min(1)).clamp(-self.recipe.epsilon, self.recipe.epsilon)
        self.noise = torch.where(counts > 0, mean, self.noise)

    def _judge(self) -> dict | None:
        """The error on one batch; after the last one the round's record."""
        rows = self._rows(self.fifth, self.at)
        x, labels, which = self._batch(rows)
        with pgd.evaluating(self.frozen), torch.no_grad(), self.runtime.autocast():
            guess = self.frozen(x + self._noise(which)).argmax(1)
        if self.runtime.owned(len(rows)) != slice(0, 0):
            self.wrong += (guess != labels).sum() / len(rows)
        count = self._batches(self.fifth, drop_last=False)
        if not self._next(count, "model"):
            return None
        both = torch.stack((self.loss.to(self.wrong), self.wrong))
        loss, wrong = self.runtime.sum_(both).tolist()
        surrogate.check(loss, self.place)
        record = {"round": len(self.records) + 1, "error": wrong / count}
        self.wrong.zero_()
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
            "noise": self._whole(self.noise), "best": self._whole(self.best),
            **surrogate.tensors(self.model, self.sgd),
        }  # fmt: skip

    def _whole(self, noise: Tensor) -> Tensor:
        """The noise of all ranks' images."""
        return noise if self.per_class else surrogate.gathered(noise, self.mine, self.runtime)

    def head(self) -> dict:
        """The header of the `state` file."""
        wrong = float(self.runtime.sum_(self.wrong.clone()))
        progress = {"stage": self.stage, "at": self.at, "wrong": wrong}
        recipe = {"method": "em", **as_dict(self.recipe), **self.runtime.recipe}
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
        if self.runtime.first:  # the others add to it from zero
            self.wrong.fill_(head["progress"]["wrong"])

    def result(self) -> tuple[Callable[[slice], np.ndarray], dict]:
        """The best round's noise for a slice of rows, [n,3,H,W], and what the header says of it."""
        array, labels = self._whole(self.best).cpu().numpy(), self.images.labels.numpy()
        low = 0.0 if self.recipe.sign == "positive" else -np.inf
        best = min(self.records, key=lambda record: record["error"])
        about = {"rounds": len(self.records), "best": best, "converged": self.converged}
        return (
            lambda rows: array[labels[rows] if self.per_class else rows].clip(low, np.inf)
        ), about
