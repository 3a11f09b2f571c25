"""EM, error-minimizing noise (Huang et al. 2021): a surrogate learns, the noise helps it, in turn.

A round is: `model_steps` SGD steps of the surrogate on images + noise (not clamped, gradient
clipped), then signed gradient steps of the noise that lower the loss of the frozen surrogate, then
the error on images + noise. It ends when the error is no larger than `stop_error`.

sample: one noise an image; both walk the whole set in its stored order, which must not be class by
class (folders are shuffled once when they are read). class: one noise a class, the mean over the
images of the class in a batch, updated after every batch of a fixed fifth of the set, stratified.

Differences from the authors' code: the best round is kept and `max_rounds` ends a run that never
reaches the error (theirs goes on for ever); class-wise, every class has an image in the fifth, and
the error is taken on all of it (theirs drops the ragged rest); draws come from `rng.stream`. Above
64 px the surrogate is timm's net (theirs: torchvision's) and epsilon is the ST paper's 8/255
(theirs: 16/255).
`sign="positive"` drops the negative half of the noise, as their loader does; that truncates sums in
float32, though, which noise a hair below a grey level does not always survive.
"""

from collections.abc import Iterator
from functools import partial
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from stkit.core.errors import RecipeError
from stkit.core.rng import stream
from stkit.data.images import Images, to_float
from stkit.data.sampling import stratified
from stkit.engine import pgd, step
from stkit.engine.feed import Feed
from stkit.engine.graphs import Captured
from stkit.engine.runtime import Runtime
from stkit.poisons import storage
from stkit.poisons.interface import Crafted
from stkit.poisons.rounds import Round, Rounds
from stkit.poisons.surrogate import Surrogate, check_answers
from stkit.recipes.poisons import EM, resolve

FIFTH = 0.2  # the share of the set that class-wise noise is made and judged on


class Crafting:
    """EM noise in the making, see `interface.Crafting`; its records are `Round`s.

    noise: at least float32 [N,3,H,W], class-wise [K,3,H,W], in [0,1] units; best: that of the best
    round. turn: whose it is, `model`, `noise` or `error`, and `at` how far it has come. share: of
    the set, for class-wise noise. memory: see `storage.zeros`.
    """

    def __init__(
        self, images: Images, recipe: EM, *, seed: int, runtime: Runtime,
        surrogate: nn.Module | None = None, share: float = FIFTH, memory: int | None = None,
    ) -> None:  # fmt: skip
        self.images, self.seed, self.runtime = images, seed, runtime
        height, width = images.pixels.shape[-2:]
        self.recipe = recipe = resolve(recipe, (height, width), len(images.classes))
        runtime.check_batch(min(recipe.batch_size, len(images)))
        self.surrogate = Surrogate(
            images, model=recipe.model, module=surrogate, seed=seed, runtime=runtime,
            lr=recipe.lr, momentum=recipe.momentum, weight_decay=recipe.weight_decay,
        )  # fmt: skip
        self.feed = Feed(images.pixels, images.labels, runtime)
        self.per_class = recipe.scope == "class"
        if not self.per_class and len(images) % recipe.batch_size == 1:
            self._check_last()
        self.noise, self.best = self._zeros(memory)
        self.mine = storage.owned(len(images), recipe.batch_size, runtime)
        self.rounds = Rounds(recipe.stop_error, recipe.max_rounds)
        self.turn, self.at = "model", 0
        # sum over this round's batches of the share of wrong answers
        self.wrong = torch.zeros((), dtype=runtime.sums, device=runtime.device)
        # of this round's batches, those with answers that are not finite
        self.bad = torch.zeros((), dtype=runtime.sums, device=runtime.device)
        self.all = torch.arange(len(images))
        self.some = self._fifth(share) if self.per_class else self.all  # what the noise walks
        self._step = Captured(self._stepped, runtime)

    def _check_last(self) -> None:
        """RecipeError where the surrogate cannot learn from a last batch of one image."""
        count, size = len(self.images), self.recipe.batch_size
        if self.surrogate.needs_two():
            others = (*range(size - 1, 1, -1), *range(size + 1, count + 1))
            other = next(other for other in others if count % other != 1)
            raise RecipeError(
                f"batch-size is {size}, which leaves one of {count} images for a last batch, from "
                f"which BatchNorm cannot learn at {self.images.size}x{self.images.size} pixels; "
                f"pass --batch-size {other}"
            )

    def _zeros(self, memory: int | None) -> tuple[Tensor, Tensor]:
        """The noise at first, and that of the best round."""
        shape = tuple(self.images.pixels.shape)
        dtype = torch.promote_types(self.surrogate.dtype, torch.float32)
        if not self.per_class:
            return storage.zeros(shape, self.runtime, dtype=dtype, memory=memory)
        shape = (len(self.images.classes), *shape[1:])  # small: always where the labels are
        noise = torch.zeros(shape, dtype=dtype, device=self.runtime.device)
        return noise, noise.clone()

    def _fifth(self, share: float) -> Tensor:
        """The rows, stratified and in random order, that class-wise noise is made on."""
        shuffled = torch.randperm(len(self.images), generator=stream(self.seed, "fifth"))
        count = int(share * len(self.images))
        return shuffled[stratified(self.images.labels[shuffled], max(1, count))]

    @property
    def done(self) -> bool:
        """Whether the last round has reached the error, or was the last allowed."""
        return self.rounds.done

    @property
    def place(self) -> str:
        """How far it has come, for people."""
        return f"round {len(self.rounds.all) + 1}, {self.turn} {self.at}"

    @property
    def progress(self) -> tuple[int, int]:
        """Rounds finished, rounds at most."""
        return len(self.rounds.all), self.recipe.max_rounds

    def steps(self) -> Iterator[Round | None]:
        """Go on to the end; yields after every step, and a round at its end."""
        while not self.done:
            if self.turn == "model":
                self._learn()
                yield None
            elif self.turn == "noise":
                yield from self._improve_noise()
            else:
                yield self._measure_error()

    def _next(self, count: int, turn: str) -> bool:
        """Count one more unit of this turn; whether it was the last of `count`."""
        self.at += 1
        if self.at < count:
            return False
        self.turn, self.at = turn, 0
        return True

    def _batches(self, rows: Tensor, *, drop_last: bool) -> int:
        """How many batches the rows make; a set smaller than a batch is one."""
        whole, rest = divmod(len(rows), self.recipe.batch_size)
        return max(1, whole) if drop_last else whole + (rest > 0)

    def _batch(self, rows: Tensor, number: int) -> tuple[Tensor, Tensor, Tensor, int]:
        """This rank's part of a batch: images in [0,1], labels, and the index of each one's noise;
        and how many images the whole batch has.

        Sample-wise a batch is the same rows in every round and turn, so a rank always meets the
        same images, and only it has their noise.
        """
        size = self.recipe.batch_size
        batch = rows[number * size : (number + 1) * size]
        mine = batch[self.runtime.part(len(batch))]
        pixels, labels = self.feed.take(mine)
        x = to_float(pixels, self.surrogate.dtype).contiguous(memory_format=torch.channels_last)
        return x, labels, labels if self.per_class else mine, len(batch)

    def _noise(self, which: Tensor) -> Tensor:
        """The noise of these indices, on the runtime's device, at least float32."""
        which = which.to(self.noise.device, non_blocking=True)
        return step.at_least_float32(self.runtime.place(self.noise[which]))

    def _learn(self) -> None:
        """One SGD step of the surrogate; its batches go on where the last round stopped."""
        clock = len(self.rounds.all) * self.recipe.model_steps + self.at
        epoch, number = divmod(clock, self._batches(self.all, drop_last=self.per_class))
        order = self.all
        if self.per_class:
            order = torch.randperm(len(order), generator=stream(self.seed, "order", epoch))
        x, labels, which, count = self._batch(order, number)
        self.surrogate.learn(
            x + self._noise(which), labels, batch_size=count, clock=clock,
            clip=self.recipe.clip,
        )  # fmt: skip
        if self._next(self.recipe.model_steps, "noise"):
            self.surrogate.share_buffers()

    def _improve_noise(self) -> Iterator[None]:
        """One batch of noise: `steps` signed steps down the loss of the frozen surrogate.

        The noise is written once, after the last step, so that a run stopped within a batch
        begins that batch again.
        """
        rows = self.some
        if self.per_class:
            generator = stream(self.seed, "noise", len(self.rounds.all))
            rows = rows[torch.randperm(len(rows), generator=generator)]
        x, labels, which, count = self._batch(rows, self.at)
        noise = self._noise(which)
        for _ in range(self.recipe.steps):
            noise = self._step(x, labels, noise)
            yield None
        if self.per_class:
            if self.runtime.owned(count) == slice(0, 0):  # another rank has all of it, too
                noise, labels = noise[:0], labels[:0]
            self.noise = storage.class_means(
                noise, labels, self.noise, self.recipe.epsilon, self.runtime
            )
        else:
            self.noise[which.to(self.noise.device, non_blocking=True)] = noise.to(self.noise)
        self._next(self._batches(rows, drop_last=self.per_class), "error")
        yield None

    def _stepped(self, x: Tensor, labels: Tensor, noise: Tensor) -> Tensor:
        """The noise after one signed step."""
        recipe, net = self.recipe, self.surrogate.frozen
        with pgd.attacking(net):
            return pgd.joined(
                [
                    pgd.pgd(
                        partial(self._loss, truth), images, before, epsilon=recipe.epsilon,
                        step_size=recipe.step_size, steps=1, ascend=False,
                    )
                    for images, truth, before in pgd.pieces(net, x, labels, noise)
                ]
            )  # fmt: skip

    def _loss(self, labels: Tensor, inputs: Tensor) -> Tensor:
        return self.surrogate.loss(inputs, labels)

    def _measure_error(self) -> Round | None:
        """The error on one batch; after the last one the round, whose noise is kept if the best."""
        x, labels, which, count = self._batch(self.some, self.at)
        with pgd.evaluating(self.surrogate.frozen), torch.no_grad():
            answers = self.surrogate.answers(x + self._noise(which))
        best = answers.max(1)
        self.bad += ~best.values.isfinite().all()
        if self.runtime.owned(count) != slice(0, 0):
            self.wrong += (best.indices != labels).sum() / count
        batches = self._batches(self.some, drop_last=False)
        if not self._next(batches, "model"):
            return None
        self._check()
        wrong = float(self.runtime.sum_(self.wrong.clone()))
        self.wrong.zero_()
        if self.rounds.add(wrong / batches):
            self.best.copy_(self.noise)
        return self.rounds.all[-1]

    def _check(self) -> None:
        """DivergenceError where the surrogate is not finite."""
        self.surrogate.check(self.place)
        check_answers(float(self.runtime.sum_(self.bad.clone())) == 0, self.place)

    def tensors(self) -> dict[str, Tensor]:
        """What unfinished noise needs to go on."""
        noise, best = self._whole(self.noise), self._whole(self.best)
        return {"noise": noise, "best": best, **self.surrogate.tensors()}

    def _whole(self, noise: Tensor) -> Tensor:
        """The noise of all ranks' images."""
        return noise if self.per_class else storage.gathered(noise, self.mine, self.runtime)

    def head(self) -> dict[str, Any]:
        """The header of the `state` file. DivergenceError: it would be of no use."""
        self._check()
        wrong = float(self.runtime.sum_(self.wrong.clone()))
        progress = {"stage": self.turn, "at": self.at, "wrong": wrong}
        return self.surrogate.head("em", self.recipe, progress, self.rounds.all)

    def resume(self, head: dict[str, Any], tensors: dict[str, Tensor]) -> None:
        """Take up a `state` file. ArtifactError if it is another run's."""
        self.surrogate.resume(head, tensors, self.head())
        self.noise.copy_(tensors["noise"])
        self.best.copy_(tensors["best"])
        self.rounds.all = [Round(**each) for each in head["records"]]
        self.turn, self.at = head["progress"]["stage"], head["progress"]["at"]
        if self.runtime.first:  # the others add to it from zero
            self.wrong.fill_(head["progress"]["wrong"])

    def result(self) -> Crafted:
        """The best round's noise."""
        array, labels = self._whole(self.best).cpu().numpy(), self.images.labels.numpy()
        low = 0.0 if self.recipe.sign == "positive" else -np.inf

        def noise(rows: slice) -> np.ndarray:
            chosen: np.ndarray = array[labels[rows] if self.per_class else rows]
            return chosen.clip(low, np.inf)

        return Crafted(noise, self.rounds.about())
