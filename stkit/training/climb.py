"""A training that climbs a ladder: the rung it is on, the last sound state there, and the way up.

At each epoch's end the washed accuracies are looked at; where they have fallen
(`training.ladder.fell`), the state of the last sound epoch on this rung comes back, weights,
BatchNorm statistics and momentum, and the next rung is taken. The clock goes on. So what the
paper's stages do by learning rates is done by strengths of preparation. On the last rung it is only
recorded; at the end of the budget the state comes back and no rung is taken.
"""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor

from stkit.core import header
from stkit.core.errors import ArtifactError, RecipeError
from stkit.data.images import Images
from stkit.engine.runtime import Runtime
from stkit.recipes.ladder import AUTO
from stkit.recipes.purifiers import least_holdout, least_share
from stkit.recipes.training import TrainingRecipe
from stkit.training.ladder import Chosen, Switch, after, fell, kept, last_sound
from stkit.training.pilots import Pilots, Train, on
from stkit.training.plan import Plan
from stkit.training.schedule import Epoch
from stkit.training.snapshot import copy

TENTH = 10
"""Of how many images one is held out."""
SOUND = "sound/"
"""Before the names of the state of the last sound epoch, in an unfinished checkpoint."""


class Climb:
    """Where on its ladder a training is; `sound` is the state to go back to.

    pilots: decide where it begins. classes: of the images.
    """

    def __init__(self, pilots: Pilots, *, classes: int, runtime: Runtime) -> None:
        self.pilots, self.ladder = pilots, pilots.ladder
        self.classes, self.runtime = classes, runtime
        self.sound: dict[str, Tensor] = {}

    @classmethod
    def of(
        cls, images: Images, recipe: TrainingRecipe, todo: Plan, runtime: Runtime, *, train: Train
    ) -> "Climb | None":
        """The climb of a training before its first step; None where it has no ladder.

        train: makes a nested training for a pilot.
        """
        ladder = recipe.frame.train.ladder
        if ladder is None:
            return None
        pilots = Pilots(ladder, images, recipe, todo, runtime=runtime, train=train)
        return cls(pilots, classes=len(images.classes), runtime=runtime)

    @property
    def chosen(self) -> Chosen:
        """What was decided so far."""
        return self.pilots.chosen

    @property
    def rung(self) -> str:
        """The rung at hand; while pilots run, the lowest."""
        return self.chosen.rung or self.ladder.rungs[0]

    def plan(self, todo: Plan) -> Plan:
        """A plan whose phases carry what this rung does."""
        return replace(todo, phases=tuple(on(phase, self.rung) for phase in todo.phases))

    @property
    def above(self) -> str | None:
        """The rung that would be next."""
        return after(self.ladder, self.rung, self.chosen.skipped or {})

    def watch(self, epochs: Sequence[Epoch], now: Mapping[str, Tensor]) -> bool:
        """Whether the last of these epochs fell, on any rung but the last; then `now`, the tensors
        of the training, have what they had at the last sound epoch on it, which is kept."""
        here = self._here(epochs)
        if self.above is None or not here or here[-1] is not epochs[-1]:
            return False
        left = self._left(here)
        if fell(self.ladder, left, [self._passed(each) for each in here]):
            copy(self.sound, now)
            return True
        if last_sound(self.ladder, left) == len(left) - 1:
            self._keep(now)
        return False

    def switch(self, epochs: Sequence[Epoch]) -> None:
        """Take the next rung after the last of these epochs, which fell."""
        here, above = self._here([*epochs[:-1]]), self.above
        assert above is not None, "nothing falls on the last rung"
        back = here[last_sound(self.ladder, self._left(here))].epoch
        step = Switch(epochs[-1].epoch, self.rung, above, back)
        switches = (*self.chosen.switches, step)
        self.pilots.chosen = replace(self.chosen, rung=above, switches=switches)
        self.sound = {}

    def _left(self, here: Sequence[Epoch]) -> list[float]:
        return kept([each.purified_accuracy or {} for each in here], classes=self.classes)

    def _passed(self, epoch: Epoch) -> bool:
        """Whether an epoch's retained share passes."""
        share, held = epoch.retained_share, epoch.holdout_accuracy
        assert share is not None and held is not None, "a ladder asks for both"
        return share >= least_share(held, self.classes)

    def _here(self, epochs: Sequence[Epoch]) -> list[Epoch]:
        """The epochs on this rung that were judged; what a check has taken back is not."""
        first = self.chosen.switches[-1].epoch if self.chosen.switches else 0
        return [
            each
            for each in epochs
            if each.epoch > first and not each.rolled_back and each.retained_share is not None
        ]

    @torch.no_grad()
    def _keep(self, now: Mapping[str, Tensor]) -> None:
        for name, value in now.items():
            if name in self.sound:
                self.sound[name].copy_(value)
            else:
                self.sound[name] = value.detach().clone()

    def tensors(self) -> dict[str, Tensor]:
        """What an unfinished checkpoint holds of it."""
        return {f"{SOUND}{name}": value for name, value in self.sound.items()}

    def resume(self, chosen: dict[str, Any], tensors: Mapping[str, Tensor]) -> None:
        """Take up what a header and an unfinished checkpoint hold. ArtifactError for a rung that is
        not on the ladder."""
        self.pilots.chosen = Chosen.from_json(header.numbers(chosen))
        if self.rung not in self.ladder.rungs:
            raise ArtifactError(
                f"damaged, it is on rung {self.rung!r}, expected one of "
                f"{', '.join(self.ladder.rungs)}; pass --force to start again"
            )
        self.sound = {
            name.removeprefix(SOUND): self.runtime.place(value)
            for name, value in tensors.items()
            if name.startswith(SOUND)
        }


def settled(recipe: TrainingRecipe, images: Images) -> TrainingRecipe:
    """The recipe with what a ladder is climbed by, where there is one: the retained share, on a
    tenth of the images where no number is given. RecipeError where that is too few to judge by."""
    ladder = recipe.frame.train.ladder
    if ladder is None:
        return recipe
    held, least = min(ladder.holdout, len(images) // TENTH), least_holdout(len(images.classes))
    if not recipe.holdout and held < least:
        raise RecipeError(
            f"{AUTO} judges by a tenth of the images, held out: found {held} of {len(images)}, "
            f"expected {least} or more; pass {TENTH * least} images or more, or --holdout {least}"
        )
    return replace(recipe, holdout=recipe.holdout or held, purified=True)
