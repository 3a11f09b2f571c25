"""REM, robust error-minimizing noise (Fu et al. 2022): min-min-max with augmentation drawn anew.

For every batch the noise is made from a random start, by signed steps down the loss of a surrogate
that is under attack itself: at each step the gradient is summed over `eot` draws of the
augmentation, each with an adversary of its own. Then the surrogate takes one adversarial training
step on the noisy batch. Noise made on the way is thrown away: at the end the final surrogate makes
that of every image, once.

Same arithmetic as the authors' code, with its draws stacked into one batch (they are independent,
and BatchNorm is in evaluation mode, so no image sees another). Differences: at the end *all* images
get noise from the final surrogate (theirs drops the ragged rest, 80 of CIFAR's 50,000); images are
in [0,1] and the surrogate subtracts 0.5; noise is made for images as they are published, at 224 px
centre-cropped (theirs: a 256 px square), with a surrogate of timm's (theirs keeps the 3x3 stem).
`augment="cg"` puts colour jitter and grey among the draws (ST paper, Eq. 8, REM-T); gradients flow
through all of it.
"""

from collections.abc import Callable, Generator, Iterator

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from stkit import models
from stkit.core import arrays, header, rng
from stkit.core.checks import as_dict
from stkit.core.rng import stream
from stkit.data.images import Images, to_float
from stkit.engine import augment, pgd, ranks, step
from stkit.engine.feed import Feed
from stkit.engine.graphs import Captured
from stkit.engine.runtime import Runtime
from stkit.poisons import surrogate
from stkit.recipes.carried import AUGMENTS
from stkit.recipes.frames import Adversary, Phase
from stkit.recipes.poisons import REM, rem_for


class Making:
    """REM noise in the making: iterate `steps()`; between two yields it may be saved.

    `at` counts the surrogate's steps, then the batches of the last pass, which fills `noise`, int8
    grey levels [N,3,H,W] in host memory. A record is {step, lr, loss} every so many steps.
    """

    def __init__(self, images: Images, recipe: REM, *, seed: int, runtime: Runtime) -> None:
        self.images, self.seed, self.runtime = images, seed, runtime
        self.recipe = recipe = rem_for(recipe, images.size)
        self.model = models.create(
            recipe.model, classes=len(images.classes), size=images.size, seed=seed, mean=(0.5,) * 3
        )
        self.model.to(memory_format=torch.channels_last).to(runtime.device)
        phase = Phase(lr=recipe.lr, momentum=recipe.momentum, weight_decay=recipe.weight_decay)
        self.sgd = step.optimizer(self.model, [list(dict(self.model.named_parameters()))], phase)
        self.network = ranks.wrap(self.model, runtime, images.size)
        self.frozen = ranks.alone(self.model, self.network)  # while noise is made
        self.feed = Feed(images.pixels, images.labels, runtime)
        self.adversary = Adversary(
            recipe.adversary, recipe.adversary_step_size or 0.0, recipe.adversary_steps or 1
        )
        self.names = AUGMENTS[recipe.augment]
        self.noise = torch.from_numpy(arrays.zeros(tuple(images.pixels.shape), np.int8))
        self.at = 0
        self.model_steps = recipe.model_steps or 0
        self.batch = min(recipe.batch_size or 1, len(images))
        runtime.check_batch(self.batch)
        self.total = self.model_steps + -(-len(images) // self.batch)
        self.records: list[dict] = []
        self.mine = surrogate.mine(len(images), self.batch, runtime)
        self._improve = Captured(self._improved, runtime)

    @property
    def done(self) -> bool:
        return self.at == self.total

    @property
    def place(self) -> str:
        """How far it has come, for people."""
        return f"step {self.at} of {self.total}"

    @property
    def progress(self) -> tuple[int, int]:
        return self.at, self.total

    def steps(self) -> Iterator[dict | None]:
        """Go on to the end; yields after every step of the noise, and records now and then."""
        while not self.done:
            yield from self._learn() if self.at < self.model_steps else self._fill()

    def _batch(self, rows: Tensor) -> tuple[Tensor, Tensor]:
        """This rank's part of a batch: images in [0,1] and labels."""
        pixels, labels = self.feed.take(rows[self.runtime.part(len(rows))])
        return to_float(pixels), labels

    def _start(self, count: int, epsilon: float, generator: torch.Generator) -> Tensor:
        """This rank's part of random noise for a batch of `count` images."""
        shape = (count, *self.images.pixels.shape[1:])
        return pgd.random_start(shape, epsilon, generator)[self.runtime.part(count)]

    def _learn(self) -> Generator[dict | None]:
        """Noise for the next batch, then one adversarial SGD step of the surrogate on it."""
        recipe, clock = self.recipe, self.at
        size = self.batch
        epoch, number = divmod(clock, len(self.images) // size)
        order = torch.randperm(len(self.images), generator=stream(self.seed, "order", epoch))
        rows, device = order[number * size : (number + 1) * size], self.runtime.device
        x, labels = self._batch(rows)
        noise = yield from self._defend(x, labels, "noise", clock, size)
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
        lr = recipe.lr * 0.1 ** (clock // (recipe.lr_decay_every or 1))
        step.set_lr(self.sgd, lr, [1.0])
        rng.reseed(self.seed, f"inside, rank {self.runtime.rank}", clock, device)
        loss, _ = step.descend(
            self.network, self.sgd, attacked, labels, self.runtime,
            total=self.runtime.total(size),
        )  # fmt: skip
        self.runtime.broadcast_(*self.model.buffers())  # BatchNorm statistics may differ
        self.at += 1
        if self.at % 100 == 0 or self.at == self.model_steps:
            mean = float(self.runtime.sum_(loss))
            surrogate.check(mean, self.place)
            self.records.append({"step": self.at, "lr": lr, "loss": mean})
            yield self.records[-1]
        else:
            yield None

    def _fill(self) -> Generator[dict | None]:
        """The final noise of the next batch of the set in its stored order."""
        number = self.at - self.model_steps
        rows = torch.arange(len(self.images))[number * self.batch : (number + 1) * self.batch]
        x, labels = self._batch(rows)
        noise = yield from self._defend(x, labels, "final noise", number, len(rows))
        rows = rows[self.runtime.part(len(rows))]
        self.noise[rows] = (noise * 255).round().to("cpu", torch.int8)
        self.at += 1
        yield None

    def _defend(
        self, x: Tensor, labels: Tensor, purpose: str, clock: int, count: int
    ) -> Generator[None, None, Tensor]:
        """Returns the noise float [B,3,H,W] of this rank's part of a batch of `count` images.

        Yields after every step of it. Draws are made for the whole batch, `eot` times over.
        """
        recipe, device = self.recipe, x.device
        steps, eot = recipe.steps or 0, recipe.eot or 0
        part = self.runtime.part(count)
        noise = self._start(count, recipe.epsilon, stream(self.seed, purpose, clock, device))
        for number in range(steps):
            own, at = f"{purpose}, step", clock * steps + number
            table = augment.draw(
                self.names, eot * count, self.images.size,
                seed=self.seed, clock=at, purpose=own, device=device,
            ).table  # fmt: skip
            generator = stream(self.seed, own, at, device)
            starts = pgd.random_start(
                (eot * count, *x.shape[1:]), recipe.adversary, generator
            )  # fmt: skip
            table, starts = (
                t.unflatten(0, (eot, count))[:, part].flatten(0, 1) for t in (table, starts)
            )
            noise = self._improve(x, labels, noise, table, starts)
            yield None
        return noise

    def _improved(
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
        attacked = self._attack(fixed, truth, starts).requires_grad_()
        with pgd.evaluating(self.frozen), torch.enable_grad():
            (gradient,) = torch.autograd.grad(self._loss(attacked, truth), attacked)
        (gradient,) = torch.autograd.grad(u, leaf, gradient)
        moved = noise - (recipe.step_size or 0.0) * gradient.sign()
        return moved.clamp(-recipe.epsilon, recipe.epsilon)

    def _attack(self, u: Tensor, labels: Tensor, start: Tensor) -> Tensor:
        return pgd.adversarial(self.frozen, u, labels, self.adversary, start, self.runtime.autocast)

    def _loss(self, inputs: Tensor, labels: Tensor) -> Tensor:
        with self.runtime.autocast():
            logits = self.frozen(inputs)
        return F.cross_entropy(step.at_least_float32(logits), labels, reduction="sum")

    def tensors(self) -> dict[str, Tensor]:
        """What an unfinished noise needs to go on: until the last pass, no noise at all."""
        made = max(0, self.at - self.model_steps) * self.batch
        noise = surrogate.gathered(self.noise[:made], self.mine, self.runtime)
        return {"noise": noise, **surrogate.tensors(self.model, self.sgd)}

    def head(self) -> dict:
        """The header of the `state` file."""
        recipe = {"method": "rem", **as_dict(self.recipe), **self.runtime.recipe}
        return header.make(
            "state", recipe, seed=self.seed, inputs=[self.images.provenance],
            progress={"at": self.at}, records=self.records,
        )  # fmt: skip

    def resume(self, head: dict, tensors: dict[str, Tensor]) -> None:
        """Take up a `state` file. ArtifactError if it is another run's."""
        surrogate.resume(self.model, self.sgd, head, tensors, self.head())
        self.noise[: len(tensors["noise"])] = tensors["noise"]
        self.at, self.records = head["progress"]["at"], head["records"]

    def result(self) -> tuple[Callable[[slice], np.ndarray], dict]:
        """The noise of a slice of rows, grey levels / 255, and what the header says of it."""
        levels = surrogate.gathered(self.noise, self.mine, self.runtime).numpy()
        return (lambda rows: levels[rows] / np.float64(255)), {"steps": self.model_steps}
