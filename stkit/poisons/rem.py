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
centre-cropped (theirs: a 256 px square). `augment="cg"` puts colour jitter and grey among the draws
(ST paper, Eq. 8, REM-T); gradients flow through all of it.
"""

from collections.abc import Callable, Generator, Iterator

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from stkit import augment, header, models, pgd, step, storage
from stkit.data import Images, to_float
from stkit.frames import Adversary, Phase
from stkit.poisons import surrogate
from stkit.recipes import AUGMENTS, REM, as_dict, rem_for
from stkit.rng import stream
from stkit.runtime import Runtime


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
        self.pixels, self.labels = surrogate.place(images, runtime)
        self.adversary = Adversary(
            recipe.adversary, recipe.adversary_step_size or 0.0, recipe.adversary_steps or 1
        )
        self.names = AUGMENTS[recipe.augment]
        self.noise = torch.from_numpy(storage.zeros(tuple(images.images.shape), np.int8))
        self.at = 0
        self.model_steps = recipe.model_steps or 0
        self.batch = min(recipe.batch_size or 1, len(images))
        self.total = self.model_steps + -(-len(images) // self.batch)
        self.records: list[dict] = []

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
        place = self.runtime.place
        pixels = place(self.pixels[rows.to(self.pixels.device)])
        return to_float(pixels), place(self.labels[rows.to(self.labels.device)])

    def _learn(self) -> Generator[dict | None]:
        """Noise for the next batch, then one adversarial SGD step of the surrogate on it."""
        recipe, clock = self.recipe, self.at
        size = self.batch
        epoch, number = divmod(clock, len(self.images) // size)
        order = torch.randperm(len(self.images), generator=stream(self.seed, "order", epoch))
        x, labels = self._batch(order[number * size : (number + 1) * size])
        noise = yield from self._defend(x, labels, "noise", clock)
        noise = (noise * 255).round() / 255
        generator = stream(self.seed, "augment", clock, x.device)
        u = augment.augment((x + noise).clamp(0, 1), self.names, generator)
        u = u.contiguous(memory_format=torch.channels_last)
        start = pgd.random_start(
            u, recipe.adversary, stream(self.seed, "adversary", clock, x.device)
        )
        attacked = self._attack(u, labels, start)
        lr = recipe.lr * 0.1 ** (clock // (recipe.lr_decay_every or 1))
        step.set_lr(self.sgd, lr, [1.0])
        loss, _ = step.descend(self.model, self.sgd, attacked, labels, self.runtime)
        self.at += 1
        if self.at % 100 == 0 or self.at == self.model_steps:
            surrogate.check(float(loss), self.place)
            self.records.append({"step": self.at, "lr": lr, "loss": float(loss)})
            yield self.records[-1]
        else:
            yield None

    def _fill(self) -> Generator[dict | None]:
        """The final noise of the next batch of the set in its stored order."""
        number = self.at - self.model_steps
        rows = torch.arange(len(self.images))[number * self.batch : (number + 1) * self.batch]
        x, labels = self._batch(rows)
        noise = yield from self._defend(x, labels, "final noise", number)
        self.noise[rows] = (noise * 255).round().to("cpu", torch.int8)
        self.at += 1
        yield None

    def _defend(
        self, x: Tensor, labels: Tensor, purpose: str, clock: int
    ) -> Generator[None, None, Tensor]:
        """Returns the noise float [B,3,H,W] of a batch; yields after every step of it.

        The gradient with respect to the attacked images goes back through augmentation and
        clamping to the noise, as if the attack had moved nothing.
        """
        recipe, device = self.recipe, x.device
        steps, eot = recipe.steps or 0, recipe.eot or 0
        noise = pgd.random_start(x, recipe.epsilon, stream(self.seed, purpose, clock, device))
        truth = labels.repeat(eot)
        for number in range(steps):
            generator = stream(self.seed, f"{purpose}, step", clock * steps + number, device)
            leaf = noise.detach().requires_grad_()
            with torch.enable_grad():
                seen = (x + leaf).clamp(0, 1).repeat(eot, 1, 1, 1)
                u = augment.augment(seen, self.names, generator)
            start = pgd.random_start(u, recipe.adversary, generator)
            fixed = u.detach().contiguous(memory_format=torch.channels_last)
            attacked = self._attack(fixed, truth, start).requires_grad_()
            with pgd.evaluating(self.model), torch.enable_grad():
                (gradient,) = torch.autograd.grad(self._loss(attacked, truth), attacked)
            (gradient,) = torch.autograd.grad(u, leaf, gradient)
            noise = noise - (recipe.step_size or 0.0) * gradient.sign()
            noise = noise.clamp(-recipe.epsilon, recipe.epsilon)
            yield None
        return noise

    def _attack(self, u: Tensor, labels: Tensor, start: Tensor) -> Tensor:
        return pgd.adversarial(
            self.model, u, labels, self.adversary, None, self.runtime.autocast, start=start
        )

    def _loss(self, inputs: Tensor, labels: Tensor) -> Tensor:
        with self.runtime.autocast():
            logits = self.model(inputs)
        return F.cross_entropy(step.at_least_float32(logits), labels, reduction="sum")

    def tensors(self) -> dict[str, Tensor]:
        """What an unfinished noise needs to go on: until the last pass, no noise at all."""
        made = max(0, self.at - self.model_steps) * self.batch
        return {"noise": self.noise[:made], **surrogate.tensors(self.model, self.sgd)}

    def head(self) -> dict:
        """The header of the `state` file."""
        recipe = {"method": "rem", **as_dict(self.recipe), "precision": self.runtime.precision}
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
        levels = self.noise.numpy()
        return (lambda rows: levels[rows] / np.float64(255)), {"steps": self.model_steps}
