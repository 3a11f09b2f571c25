"""Short trainings that say on which rung of a ladder a training begins.

A pilot is natural training of a small net on some of the training images, prepared and augmented as
the rung says, by the same runtime and seed, but without crop and flip: a shortcut that is fixed to
its place, such as a pixel of a class, is learned within some hundred steps then, as in a long
training with them. (What moves pixels keeps its crop, see `ladder.MOVED`.) What it learned is
measured on the images that the training holds out, as they are and washed by the purifiers. No
random stream of the training is touched, as each draw has a stream of its own; what the training
is, it is with pilots or without.
"""

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Protocol, TypeVar

import torch
from torch import Tensor, nn

from stkit.core.errors import DivergenceError
from stkit.core.rng import stream
from stkit.data.images import Images
from stkit.data.prepare import prepare
from stkit.data.sampling import balanced
from stkit.engine.runtime import Runtime
from stkit.measure.separability import convolved
from stkit.recipes import purifiers
from stkit.recipes.carried import PLAIN, preparation, rung
from stkit.recipes.frames import NATURAL, Frame, Phase
from stkit.recipes.ladder import FITTED, MOVED, Ladder
from stkit.recipes.probe import PLAIN as AS_THEY_ARE
from stkit.recipes.probe import least
from stkit.recipes.training import TrainingRecipe
from stkit.training.ladder import (
    Chosen,
    Pilot,
    allowed,
    decided,
    knows_little,
    moves,
    spared,
    survives,
    to_try,
    with_pilot,
)
from stkit.training.plan import Plan
from stkit.training.purified import Purified
from stkit.training.schedule import Held

LOOKED_AT = 100
"""Held-out images that are prepared to see whether a rung changes any."""


P = TypeVar("P", bound=Phase)


class Nested(Protocol):
    """A training within another: `stkit.training.loop.Training`."""

    model: nn.Module

    @property
    def progress(self) -> tuple[int, int]:
        """Steps executed, and of how many."""
        ...

    def steps(self) -> Iterator[object]:
        """Train."""
        ...


class Train(Protocol):
    """What makes one."""

    def __call__(self, images: Images, recipe: TrainingRecipe, *, runtime: Runtime) -> Nested:
        """A training before its first step."""
        ...


@dataclass(frozen=True)
class Size:
    """What a pilot takes, how many of them there may be, and what so many are of the training, in
    images that pass through a net."""

    images: int
    batch_size: int
    epochs: int
    steps: int
    most: int
    share: float


def size(ladder: Ladder, todo: Plan) -> Size:
    """The pilots for a training."""
    images = min(ladder.images, len(todo.train_rows))
    batch = min(ladder.batch_size, todo.batch_size, images)
    epoch = images // batch
    epochs = math.ceil(min(ladder.steps, todo.steps) / epoch)
    passes = epochs * epoch * batch
    training = todo.steps * todo.batch_size
    most = min(allowed(ladder, training=training, pilot=passes), len(ladder.rungs))
    return Size(images, batch, epochs, epochs * epoch, most, most * passes / training)


class Pilots:
    """The pilots of a training, in turn; `chosen` is what they have come to so far.

    images: all of the training. train: makes a nested training.
    """

    def __init__(
        self,
        ladder: Ladder,
        images: Images,
        recipe: TrainingRecipe,
        todo: Plan,
        *,
        runtime: Runtime,
        train: Train,
    ) -> None:
        self.ladder, self.images, self.recipe, self.plan = ladder, images, recipe, todo
        self.runtime, self.train = runtime, train
        self.size = size(ladder, todo)
        self.chosen = Chosen()
        self.running: Nested | None = None

    def steps(self) -> Iterator[None]:
        """Run those that are left, until it is decided; yields between two steps."""
        while self.chosen.rung is None:
            name = self._next()
            if name is not None:
                yield from self._run(name)
                continue
            self.chosen = decided(self.ladder, self.chosen)

    def _next(self) -> str | None:
        """The rung of the next pilot. What can be skipped is asked once the lowest has failed."""
        pilots = self.chosen.pilots
        if pilots and not pilots[-1].passed and self.chosen.skipped is None:
            self._look()
        return to_try(self.ladder, pilots, self.chosen.skipped or {}, most=self.size.most)

    def _run(self, name: str) -> Iterator[None]:
        """The pilot on a rung. One that diverges has learned nothing that lasts."""
        phase = on(Phase(epochs=self.size.epochs), name)
        still = ("flip",) if moves(name) else PLAIN
        phase = replace(phase, augment=tuple(e for e in phase.augment if e not in still))
        recipe = TrainingRecipe(
            Frame(phase, name=f"{NATURAL}+{name}"), self.ladder.model, self.size.batch_size,
            self.recipe.seed,
        )  # fmt: skip
        self.running = self.train(self.images.rows(self._rows()), recipe, runtime=self.runtime)
        try:
            for _ in self.running.steps():
                yield
            pilot = self._judged(self.running.model, name)
        except DivergenceError:
            pilot = Pilot(name, 0.0, {}, 0.0, 1.0, passed=False)
        self.running = None
        self.chosen = with_pilot(self.ladder, self.chosen, pilot)

    @property
    def place(self) -> str:
        """Which pilot is at work and how far it has come, for people; nothing when it is decided.

        Of a pilot nothing is saved but what it came to.
        """
        if self.chosen.rung is not None:
            return ""
        pilot = f"pilot {len(self.chosen.pilots) + 1}"
        if self.progress is None:
            return pilot
        step, steps = self.progress
        return f"step {step} of {steps} of {pilot}, which will begin again"

    @property
    def progress(self) -> tuple[int, int] | None:
        """Of the pilot at work: its steps executed, and of how many."""
        return None if self.running is None else self.running.progress

    def _judged(self, model: nn.Module, name: str) -> Pilot:
        """What a model has learned on a rung, by the held-out images.

        On the lowest nobody has asked yet whether a mirror makes another class: it is, where all
        else passes and mirrored images do not.
        """
        held = self.images.rows(self.plan.holdout_rows)
        prepared = rung(name).prepare
        self.runtime.broadcast_(*model.buffers())
        wash = (*purifiers.PURIFIERS, purifiers.MIRROR)
        measure = Purified(model, held, prepared=prepared, runtime=self.runtime, wash=wash)
        seen = measure()
        if self.chosen.skipped is not None:
            return self._pilot(name, seen, measure.judges, self.chosen.mirrored)
        strict = self._pilot(name, seen, measure.judges, 1.0)
        mild = self._pilot(name, seen, measure.judges, None)
        if strict.passed or not mild.passed:
            return strict if strict.passed else mild
        self._look()
        return self._pilot(name, seen, measure.judges, self.chosen.mirrored)

    def _pilot(self, name: str, seen: Held, judges: Sequence[str], mirrored: float | None) -> Pilot:
        """What was measured, judged. mirrored: see `ladder.survives`; a mirror takes the rest."""
        washed, classes = dict(seen["purified_accuracy"]), len(self.images.classes)
        toll = purifiers.TOLL
        if mirrored is None or mirrored < purifiers.MIRRORED:
            judges = [each for each in judges if each != purifiers.MIRROR]
            washed.pop(purifiers.MIRROR)
        else:
            toll = {**toll, purifiers.MIRROR: 1 - mirrored}
        # A shortcut may be told best off images prepared as on this rung.
        most = max(seen["holdout_accuracy"], *washed.values())
        share = purifiers.retained_share(most, washed, judges, toll)
        read = self.chosen.probe.get(name)
        return Pilot(
            name, most, washed, 1.0 if share is None else share,
            purifiers.least_share(most, classes) if most else 1.0,
            purifiers.passes(share, most, classes, len(self.plan.holdout_rows)),
            knows_little(self.ladder, name, most, read, classes=classes),
        )  # fmt: skip

    def _rows(self) -> Tensor:
        """The images of the pilots, class-balanced, of those that are trained on."""
        rows = self.plan.train_rows
        generator = stream(self.recipe.seed, "pilots")
        rows = rows[torch.randperm(len(rows), generator=generator)]
        return rows[balanced(self.images.labels[rows], self.size.images)].sort().values

    def _look(self) -> None:
        """Which rungs need no pilot: those that do what a lower one does, and those that a probe by
        random convolutions says leave the shortcut where it was. And how much of what is read
        survives a mirror: if much, then it is of things, and mirrored images judge too."""
        held = self.images.rows(self.plan.holdout_rows[:LOOKED_AT])
        skipped = same(self.ladder, held)
        read = self._probed([name for name in self.ladder.rungs if name not in skipped])
        classes = len(self.images.classes)
        mirrored = survives(read, classes=classes)
        mirror = mirrored if (mirrored or 0) >= purifiers.MIRRORED else None
        skipped |= spared(self.ladder, read, classes=classes, mirror=mirror)
        known = {name: direct for name, (direct, _) in read.items()}
        self.chosen = replace(self.chosen, skipped=skipped, probe=known, mirrored=mirrored)

    def _probed(self, names: Sequence[str]) -> dict[str, tuple[float, float]]:
        """What random convolutions read off the images of these rungs, of the lowest and of those
        that prepare or move them, and off the same mirrored; of too few images nothing."""
        images = self.images.rows(self._rows())
        if len(images) < least(len(images.classes)):
            return {}
        asked = {}
        for name in names:
            carried = rung(name)
            does = ",".join((*carried.prepare, *(a for a in carried.augment if a in MOVED)))
            if does or name == self.ladder.rungs[0]:
                asked[name] = does or AS_THEY_ARE
        read = convolved(images, [*dict.fromkeys(asked.values())], seed=self.recipe.seed)
        known = {name: read[text] for name, text in asked.items()}
        shared: dict[str, tuple[float, float]] = self.runtime.shared(known)
        return shared


def on(phase: P, name: str) -> P:
    """A phase with what a rung carries in the place of its ladder; mix and dropout stay."""
    carried = rung(name)
    return replace(
        phase, prepare=carried.prepare, augment=carried.augment, copies=carried.copies, ladder=None
    )


def same(ladder: Ladder, images: Images) -> dict[str, str]:
    """Rungs that come to the same as a lower one on these images, and why: as `gray` does on grey
    images. What is fitted to a whole set, and what comes after it, is not looked at."""
    why: dict[str, str] = {}
    seen: dict[tuple[tuple[str, ...], tuple[str, ...], int], str] = {}
    for name in ladder.rungs:
        carried = rung(name)
        does = _effective(images, carried.prepare), carried.augment, carried.copies
        if does in seen:
            why[name] = f"on these images the same as {seen[does]}"
        else:
            seen[does] = name
    return why


def _effective(images: Images, names: tuple[str, ...]) -> tuple[str, ...]:
    """Those of the preparations that change any of the images, made in turn."""
    kept: list[str] = []
    for place, name in enumerate(names):
        if preparation(name)[0] in FITTED:
            return (*kept, *names[place:])
        made = prepare(images, (name,))
        if not torch.equal(made.pixels, images.pixels):
            kept.append(name)
        images = made
    return tuple(kept)
