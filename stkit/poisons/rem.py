"""REM, robust error-minimizing noise (Fu et al. 2022): min-min-max with augmentation drawn anew.

For every batch the noise is made from a random start, by signed steps down the loss of a surrogate
that is under attack itself: at each step the gradient is summed over `eot` draws of the
augmentation, each with an adversary of its own. Then the surrogate takes one adversarial training
step on the noisy batch. Noise made on the way is thrown away: at the end the final surrogate makes
that of every image, once.

Same arithmetic as the authors' code, with its draws stacked into one batch (they are independent,
and BatchNorm is in evaluation mode, so no image sees another). Differences: at the end *all* images
get noise from the final surrogate (theirs drops the ragged rest, 80 of CIFAR's 50,000); images are
in [0,1] and the surrogate subtracts 0.5; noise is made for images as they are trained on, at 224 px
centre-cropped (theirs: a 256 px square), with a surrogate of timm's (theirs keeps the 3x3 stem).
`augment="cg"` puts colour jitter and grey among the draws (ST paper, Eq. 8, REM-T); gradients flow
through all of it.
"""

from collections.abc import Generator, Iterator
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from stkit.core import arrays
from stkit.core.rng import stream
from stkit.data.images import Images, to_float
from stkit.engine import augment, pgd
from stkit.engine.feed import Feed
from stkit.engine.graphs import Captured
from stkit.engine.runtime import Runtime
from stkit.poisons import storage
from stkit.poisons.interface import Crafted
from stkit.poisons.surrogate import Surrogate, check_answers
from stkit.recipes.carried import AUGMENTS
from stkit.recipes.frames import Adversary
from stkit.recipes.poisons import REM, resolve

RECORD_EVERY = 100  # steps of the surrogate


@dataclass(frozen=True)
class SurrogateStep:
    """A step of the surrogate: its number, from 1, its learning rate, its batch's mean loss."""

    step: int
    lr: float
    loss: float

    def to_json(self) -> dict[str, Any]:
        """As it stands in headers."""
        return asdict(self)


class Crafting:
    """REM noise in the making, see `interface.Crafting`; its records are `SurrogateStep`s.

    `at` counts the surrogate's steps, then the batches of the last pass, which fills `noise`, int8
    grey levels [N,3,H,W] in host memory.
    """

    def __init__(
        self, images: Images, recipe: REM, *, seed: int, runtime: Runtime,
        surrogate: nn.Module | None = None,
    ) -> None:  # fmt: skip
        self.images, self.seed, self.runtime = images, seed, runtime
        height, width = images.pixels.shape[-2:]
        self.recipe = recipe = resolve(recipe, (height, width), len(images.classes))
        self.batch = min(recipe.batch_size, len(images))
        runtime.check_batch(self.batch)
        self.surrogate = Surrogate(
            images, model=recipe.model, module=surrogate, seed=seed, runtime=runtime,
            lr=recipe.lr, momentum=recipe.momentum, weight_decay=recipe.weight_decay, mean=0.5,
        )  # fmt: skip
        self.feed = Feed(images.pixels, images.labels, runtime)
        self.adversary = Adversary(
            recipe.adversary, recipe.adversary_step_size, recipe.adversary_steps
        )
        self.names = AUGMENTS[recipe.augment]
        self.noise = torch.from_numpy(arrays.zeros(tuple(images.pixels.shape), np.int8))
        self.at = 0
        self.total = recipe.model_steps + -(-len(images) // self.batch)
        self.records: list[SurrogateStep] = []
        self.mine = storage.owned(len(images), self.batch, runtime)
        self._step = Captured(self._stepped, runtime)

    @property
    def done(self) -> bool:
        """Whether every image has its final noise."""
        return self.at == self.total

    @property
    def place(self) -> str:
        """How far it has come, for people."""
        return f"step {self.at} of {self.total}"

    @property
    def progress(self) -> tuple[int, int]:
        """Steps of the surrogate and batches of the last pass: finished, in all."""
        return self.at, self.total

    def steps(self) -> Iterator[SurrogateStep | None]:
        """Go on to the end; yields after every step of the noise, and records now and then."""
        while not self.done:
            learning = self.at < self.recipe.model_steps
            yield from self._learn() if learning else self._make_final_noise()

    def _batch(self, rows: Tensor) -> tuple[Tensor, Tensor]:
        """This rank's part of a batch: images in [0,1] and labels."""
        pixels, labels = self.feed.take(rows[self.runtime.part(len(rows))])
        return to_float(pixels, self.surrogate.dtype), labels

    def _start(self, count: int, epsilon: float, generator: torch.Generator) -> Tensor:
        """This rank's part of random noise for a batch of `count` images."""
        shape = (count, *self.images.pixels.shape[1:])
        return pgd.random_start(shape, epsilon, generator)[self.runtime.part(count)]

    def _learn(self) -> Generator[SurrogateStep | None]:
        """Noise for the next batch, then one adversarial SGD step of the surrogate on it."""
        recipe, clock = self.recipe, self.at
        size = self.batch
        epoch, number = divmod(clock, len(self.images) // size)
        order = torch.randperm(len(self.images), generator=stream(self.seed, "order", epoch))
        rows, device = order[number * size : (number + 1) * size], self.runtime.device
        x, labels = self._batch(rows)
        noise = yield from self._make_noise(x, labels, "noise", clock, size)
        noise = (noise * 255).round() / 255
        names = self.names
        table = augment.draw(
            names, size, self.images.size, seed=self.seed, clock=clock, device=device
        ).table[self.runtime.part(size)]
        draws = augment.Draws(names, table)
        u = augment.apply((x + noise).clamp(0, 1), draws)
        u = u.contiguous(memory_format=torch.channels_last)
        start = self._start(size, recipe.adversary, stream(self.seed, "adversary", clock, device))
        attacked = self._attack(u, labels, start)
        lr = recipe.lr * 0.1 ** (clock // recipe.lr_decay_every)
        self.surrogate.set_lr(lr)
        loss = self.surrogate.learn(attacked, labels, batch_size=size, clock=clock)
        self.surrogate.share_buffers()
        self.at += 1
        yield self._record(loss, lr)

    def _record(self, loss: Tensor, lr: float) -> SurrogateStep | None:
        """The step just taken, if it is one that is recorded; loss: this rank's share."""
        if self.at % RECORD_EVERY and self.at != self.recipe.model_steps:
            return None
        mean = float(self.runtime.sum_(loss))
        self.surrogate.check(self.place)
        self.records.append(SurrogateStep(self.at, lr, mean))
        return self.records[-1]

    def _make_final_noise(self) -> Generator[None]:
        """The final noise of the next batch of the set in its stored order."""
        number = self.at - self.recipe.model_steps
        rows = torch.arange(len(self.images))[number * self.batch : (number + 1) * self.batch]
        x, labels = self._batch(rows)
        noise = yield from self._make_noise(x, labels, "final noise", number, len(rows))
        with pgd.evaluating(self.surrogate.frozen), torch.no_grad():
            best = self.surrogate.answers((x + noise).clamp(0, 1)).amax(1)
        check_answers(bool(best.isfinite().all()), self.place)
        rows = rows[self.runtime.part(len(rows))]
        self.noise[rows] = (noise * 255).round().to("cpu", torch.int8)
        self.at += 1
        yield None

    def _make_noise(
        self, x: Tensor, labels: Tensor, purpose: str, clock: int, count: int
    ) -> Generator[None, None, Tensor]:
        """Returns the noise float [B,3,H,W] of this rank's part of a batch of `count` images.

        Yields after every step of it. Draws are made for the whole batch, `eot` times over.
        """
        recipe, device = self.recipe, x.device
        steps, eot = recipe.steps, recipe.eot
        part = self.runtime.part(count)
        noise = self._start(count, recipe.epsilon, stream(self.seed, purpose, clock, device))
        for number in range(steps):
            own, at = f"{purpose}, step", clock * steps + number
            table = augment.draw(
                self.names, eot * count, self.images.size,
                seed=self.seed, clock=at, purpose=own, device=device,
            ).table  # fmt: skip
            generator = stream(self.seed, own, at, device)
            starts = pgd.random_start((eot * count, *x.shape[1:]), recipe.adversary, generator)
            table, starts = (
                t.view(eot, count, *t.shape[1:])[:, part].flatten(0, 1) for t in (table, starts)
            )
            noise = self._step(x, labels, noise, table, starts)
            yield None
        return noise

    def _stepped(
        self, x: Tensor, labels: Tensor, noise: Tensor, table: Tensor, starts: Tensor
    ) -> Tensor:
        """The noise after one signed step down the loss, summed over draws under attack.

        The gradient with respect to the attacked images goes back through augmentation and
        clamping to the noise, as if the attack had moved nothing.
        """
        recipe, eot = self.recipe, len(table) // len(x)
        truth = labels.repeat(eot)
        leaf = noise.detach().requires_grad_()
        with torch.enable_grad():
            seen = (x + leaf).clamp(0, 1).repeat(eot, 1, 1, 1)
            u = augment.apply(seen, augment.Draws(self.names, table))
        fixed = u.detach().contiguous(memory_format=torch.channels_last)
        attacked, net = self._attack(fixed, truth, starts), self.surrogate.frozen
        with pgd.attacking(net), torch.enable_grad():
            gradient = pgd.joined([self._slope(*some) for some in pgd.pieces(net, attacked, truth)])
        (gradient,) = torch.autograd.grad(u, leaf, gradient)
        moved = noise - recipe.step_size * gradient.sign()
        return moved.clamp(-recipe.epsilon, recipe.epsilon)

    def _slope(self, images: Tensor, labels: Tensor) -> Tensor:
        """The gradient of the frozen net's loss with respect to the images."""
        leaf = images.detach().requires_grad_()
        return torch.autograd.grad(self.surrogate.loss(leaf, labels), leaf)[0]

    def _attack(self, u: Tensor, labels: Tensor, start: Tensor) -> Tensor:
        """The images under the inner attack, from noise `start`."""
        return pgd.adversarial(
            self.surrogate.frozen, u, labels, self.adversary, start, self.runtime.autocast
        )

    def tensors(self) -> dict[str, Tensor]:
        """What an unfinished noise needs to go on: until the last pass, no noise at all."""
        made = max(0, self.at - self.recipe.model_steps) * self.batch
        noise = storage.gathered(self.noise[:made], self.mine, self.runtime)
        return {"noise": noise, **self.surrogate.tensors()}

    def head(self) -> dict[str, Any]:
        """The header of the `state` file. DivergenceError: it would be of no use."""
        self.surrogate.check(self.place)
        return self.surrogate.head(
            "rem", self.recipe, {"at": self.at, "draws": augment.STREAMS}, self.records
        )

    def resume(self, head: dict[str, Any], tensors: dict[str, Tensor]) -> None:
        """Take up a `state` file. ArtifactError if it is another run's."""
        self.surrogate.resume(head, tensors, self.head())
        augment.same_streams(head["progress"])
        self.noise[: len(tensors["noise"])] = tensors["noise"]
        self.at = head["progress"]["at"]
        self.records = [SurrogateStep(**each) for each in head["records"]]

    def result(self) -> Crafted:
        """The noise, grey levels / 255."""
        levels = storage.gathered(self.noise, self.mine, self.runtime).numpy()

        def noise(rows: slice) -> np.ndarray:
            scaled: np.ndarray = levels[rows] / np.float64(255)
            return scaled

        return Crafted(noise, {"steps": self.recipe.model_steps})
