"""Every body that stkit records as a CUDA graph, and what it runs on a GPU beside them.

A case is a piece of work on the made-up device, small, by the doors that stkit itself goes
through. On the host all is as ever; so rows are drawn, labels counted and orders shuffled.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from itertools import islice
from typing import Any

import torch
from torch import Tensor, nn
from watch import Watch

from stkit import models
from stkit.data.images import Images, to_float
from stkit.engine import augment, pgd
from stkit.engine.runtime import Runtime
from stkit.engine.step import Step
from stkit.measure.accuracy import Evaluator
from stkit.measure.clusters import clusters
from stkit.measure.directions import Walk
from stkit.measure.survey import Loss, Subject
from stkit.models import dropout
from stkit.poisons import em, rem
from stkit.recipes.acm import VARIANTS
from stkit.recipes.frames import FRAMES, Adversary, Phase, pgd20
from stkit.recipes.options import frame_with
from stkit.recipes.poisons import EM, REM
from stkit.recipes.training import Init, TrainingRecipe
from stkit.training.loop import Training
from stkit.training.plan import plan
from stkit.training.transplant import Donor, plant

CLASSES, BATCH, PASSES = 10, 8, 2
"""Classes, images a batch, and steps of PGD: those to come would be the same."""
NETS = (
    ("resnet18", 32), ("resnet50", 32), ("vgg16-bn", 32), ("densenet121", 32), ("wrn-28-10", 32),
    ("resnet18", 72), ("timm:mobilenetv3_small_100", 64), ("timm:vit_tiny_patch16_224", 64),
    ("timm:convnext_atto", 64),
)  # fmt: skip
"""Nets and sides of images that `--nets` adds."""
WAITS = 8
"""How often ACM's distances may wait: their bounds decide which distances are computed."""


@dataclass(frozen=True)
class Case:
    """A piece of work, and its name for people."""

    name: str
    work: Callable[[], Any]


@dataclass(frozen=True)
class Setup:
    """Where cases run: a watch, and a runtime whose steps it records."""

    watch: Watch
    device: torch.device
    model: str
    size: int

    @property
    def runtime(self) -> Runtime:
        """bf16, as on a GPU that has it."""
        return Runtime(self.device, "bf16", record=self.watch.record)

    def images(self, count: int) -> Images:
        """A data set on the host."""
        pixels = torch.zeros(count, 3, self.size, self.size, dtype=torch.uint8)
        return Images.from_tensors(pixels, torch.arange(count) % CLASSES)

    def batch(self) -> tuple[Tensor, Tensor]:
        """Images and labels on the device."""
        images = self.images(BATCH)
        return images.pixels.to(self.device), images.labels.to(self.device)

    def net(self, **settings: Any) -> nn.Module:
        """The model on the device, as training has it."""
        model = models.create(self.model, classes=CLASSES, size=self.size, **settings)
        return model.to(memory_format=torch.channels_last).to(self.device)

    def step(self, phase: Phase, frozen: str | None = None) -> None:
        """A step of a phase, called as training calls it; frozen: the layers that do not learn."""
        model = models.create(self.model, classes=CLASSES, size=self.size)
        layers = models.layers(model, self.size)
        model.to(memory_format=torch.channels_last).to(self.device)
        dropout.put(model, phase.dropout)
        still = () if frozen is None else self.freeze(model, frozen)
        step = Step(model, model, layers, phase, self.runtime, seed=0, still=still)
        with self.watch.unwaited():
            step(*self.batch(), batch_size=BATCH, clock=0)

    def freeze(self, model: nn.Module, layers: str) -> tuple[str, ...]:
        """Plant the model's own weights into these layers of it, which then do not learn."""
        recipe = TrainingRecipe(FRAMES["nt"], self.model, init=Init(layers, freeze=True))
        images, state = self.images(BATCH), dict(model.state_dict())
        sizes = plan(images, recipe)
        head = {"model": self.model, "classes": images.classes, "size": self.size,
                "mean": sizes.mean, "std": sizes.std}  # fmt: skip
        return plant(model, Donor(state, head, "itself"), recipe, sizes, images).still

    def train(self, frame: str) -> None:
        """A training from its beginning to its end, roll-backs and accuracies included."""

        def measure(*_: Any) -> dict[str, float]:
            return dict.fromkeys(VARIANTS, 1e9)  # above any gamma

        recipe = TrainingRecipe(frame_with(frame, epochs=2), self.model, BATCH)
        run = Training(
            self.images(3 * BATCH), recipe, runtime=self.runtime, measure=measure,
            test=self.images(BATCH + CLASSES),
        )  # fmt: skip
        assert any(each is not None and each.rolled_back for each in run.steps())
        for _ in run.steps():
            pass
        run.head()
        run.tensors()

    def evaluate(self, adversary: Adversary | None) -> None:
        """A pass over a set."""
        judge = Evaluator(
            self.net(), self.images(2 * BATCH), runtime=self.runtime, adversary=adversary,
            batch_size=BATCH,
        )  # fmt: skip
        with self.watch.unwaited():
            judge.confusion()

    def landscape(self) -> None:
        """A place of a landscape: the weights moved, its loss measured."""
        model, (pixels, labels) = self.net().eval(), self.batch()
        walk = Walk(model, 0)
        loss = Loss(Subject(model, pixels, labels, CLASSES, []), self.runtime)
        with self.watch.unwaited():
            walk.to(0.5, -0.5)
            self.take(loss.batches(), 1)
            walk.back()
        self.computed("losses", loss.sum, torch.float64)

    def em(self, scope: str) -> None:
        """EM's turns: a step of the surrogate, a batch of noise, the error, and a round's end."""
        recipe = EM(model=self.model, batch_size=BATCH, model_steps=1, steps=PASSES, scope=scope)
        images = self.images(BATCH if scope == "sample" else 5 * BATCH)  # of which a fifth is taken
        crafting = em.Crafting(images, recipe, seed=0, runtime=self.runtime)
        crafting.noise, crafting.best = (  # where they lie when a GPU has room for them
            each.to(self.device) for each in (crafting.noise, crafting.best)
        )
        turns = crafting.steps()
        with self.watch.unwaited():
            self.take(turns, 1 + PASSES + 1)
        assert crafting.turn == "error"
        while crafting.turn == "error":
            self.take(turns, 1)

    def rem(self, draws: str) -> None:
        """A step of REM's surrogate with the noise that it takes, and the last pass."""
        recipe = REM(
            model=self.model, batch_size=BATCH, model_steps=2, steps=PASSES, eot=2,
            adversary_steps=PASSES, augment=draws,
        )  # fmt: skip
        crafting = rem.Crafting(self.images(BATCH), recipe, seed=0, runtime=self.runtime)
        with self.watch.unwaited():
            self.take(crafting.steps(), PASSES + 1)
        crafting.at = 2
        self.take(crafting.steps(), PASSES + 1)
        assert crafting.done

    @staticmethod
    def take(steps: Iterator[Any], count: int) -> None:
        """So many steps."""
        assert len(list(islice(steps, count))) == count

    def features(self) -> None:
        """ACM's features: not recorded, but nothing keeps them from it."""
        model = self.net(mean=(0.5,) * 3)
        pixels, _ = self.batch()
        with self.watch.body(), torch.no_grad(), pgd.evaluating(model):
            self.computed("features", models.features(model, to_float(pixels)), torch.float32)

    def distances(self) -> None:
        """ACM's distances, of more samples than one tile has."""
        features = torch.zeros(5000, 64).to(self.device)
        clusters(features, torch.arange(5000) % CLASSES, CLASSES)
        if self.watch.waits > WAITS:
            self.watch.notes.append(f"waits {self.watch.waits} times, expected at most {WAITS}")

    def draws(self) -> None:
        """The draws of all augmentations."""
        names = tuple(augment.KERNELS)
        with self.watch.unwaited():
            drawn = augment.draw(names, BATCH, self.size, seed=0, device=self.device)
        self.computed("draws", drawn.table, torch.float32)

    def computed(self, what: str, tensor: Tensor, dtype: torch.dtype) -> None:
        """Note unless the tensor is on the device, and of this type."""
        if (tensor.device, tensor.dtype) != (self.device, dtype):
            self.watch.notes.append(f"{what} are {tensor.dtype} on {tensor.device}")


def steps() -> dict[Phase, list[str]]:
    """Every phase of every frame, what differs in numbers alone as one, with the names of both.

    Prepared images are images, a staged phase is one between its checks, on a ladder on its lowest
    rung.
    """
    named: dict[Phase, list[str]] = {}
    for frame in FRAMES.values():
        for number, phase in enumerate(frame.phases, 1):
            name = frame.name + (f" (phase {number})" if len(frame.phases) > 1 else "")
            one = replace(phase, lr=0.1, weight_decay=1e-4, staged=None, prepare=(), ladder=None)
            named.setdefault(one, []).append(name)
    return named


def fewer(adversary: Adversary) -> Adversary:
    """The same, of fewer steps."""
    return replace(adversary, steps=PASSES)


def cases(setup: Setup, *, nets: bool = False) -> Iterator[Case]:
    """All of them. nets: also steps of other nets than the setup's."""
    for phase, names in steps().items():
        if phase.adversary is not None:
            phase = replace(phase, adversary=fewer(phase.adversary))
        yield Case("step, " + ", ".join(names), lambda phase=phase: setup.step(phase))
    for name, layers in (("nt", "first:2"), ("at", "last:2")):
        one = replace(
            FRAMES[name].train, adversary=FRAMES[name].train.adversary and Adversary(steps=PASSES)
        )
        yield Case(
            f"step, {name}, {layers} frozen", lambda one=one, layers=layers: setup.step(one, layers)
        )
    large = replace(setup, size=72)
    yield Case("step, nt-cg, 72 px", lambda: large.step(FRAMES["nt-cg"].train))
    yield Case("evaluate, clean", lambda: setup.evaluate(None))
    yield Case("evaluate, PGD", lambda: setup.evaluate(fewer(pgd20(4 / 255))))
    yield Case("landscape", setup.landscape)
    for scope in ("sample", "class"):
        yield Case(f"em, {scope}-wise", lambda scope=scope: setup.em(scope))
    for draws in ("plain", "cg"):
        yield Case(f"rem, {draws}", lambda draws=draws: setup.rem(draws))
    yield Case("acm, features", setup.features)
    yield Case("acm, distances", setup.distances)
    yield Case("draws, all augmentations", setup.draws)
    if nets:
        yield Case("training, st-full", lambda: setup.train("st-full"))
    for name, size in NETS if nets else ():
        other = replace(setup, model=name, size=size)
        yield Case(f"step, nt, {name}, {size} px", lambda on=other: on.step(FRAMES["nt"].train))
        yield Case(f"acm, features, {name}, {size} px", other.features)
