"""What a training will do, settled before the first step: its recipe and its sizes."""

from dataclasses import dataclass
from importlib.metadata import version
from typing import Any

import torch
from torch import Tensor, nn

from stkit import models
from stkit.core import artifact, header
from stkit.core.checks import as_dict
from stkit.core.errors import ArtifactError, DataError, RecipeError
from stkit.data.holdout import split
from stkit.data.images import Images, fits
from stkit.engine.pgd import evaluating
from stkit.engine.runtime import Runtime
from stkit.models.structure import check
from stkit.recipes import layers, purifiers
from stkit.recipes.frames import ResolvedPhase, described, resolve
from stkit.recipes.training import TrainingRecipe

NONE = ((0.0,) * 3, (1.0,) * 3)
"""No normalisation: mean and standard deviation."""


@dataclass(frozen=True)
class Plan:
    """A recipe's sizes for one data set: what `--dry-run` shows and the loop goes by."""

    phases: tuple[ResolvedPhase, ...]
    train_rows: Tensor
    holdout_rows: Tensor
    batch_size: int
    steps_per_epoch: int
    mean: tuple[float, ...]
    std: tuple[float, ...]

    @property
    def epochs(self) -> int:
        """Epochs of all phases."""
        return sum(phase.epochs for phase in self.phases)

    @property
    def steps(self) -> int:
        """Steps of all phases."""
        return self.epochs * self.steps_per_epoch

    def phase_at(self, epoch: int) -> tuple[int, int]:
        """The phase in which `epoch` (from 0) falls, and that phase's first epoch."""
        first = 0
        for which, phase in enumerate(self.phases):
            if epoch < first + phase.epochs:
                return which, first
            first += phase.epochs
        raise AssertionError(epoch)

    def check_place(self, step: int, since: int) -> None:
        """ArtifactError unless a run can have been stopped after this step, in an epoch whose sums
        begin after the other."""
        if not 0 <= step - since <= self.steps_per_epoch or step >= self.steps:
            raise ArtifactError(
                f"damaged, it is at step {step} of {self.steps}, its sums begin at {since}; "
                "pass --force to start again"
            )


def plan(images: Images, recipe: TrainingRecipe) -> Plan:
    """Fill in what the recipe leaves to the data set.

    RecipeError when nothing is left to train, and for a schedule that would never judge; DataError
    for one of a single class, in which there is nothing to judge.
    """
    fits(images, images.classes, images.size, f"model {recipe.model}")
    if recipe.holdout >= len(images):
        raise RecipeError(
            f"holdout is {recipe.holdout}, but the set has {len(images)} images; lower --holdout"
        )
    if recipe.purified:
        purifiers.check_holdout(recipe.holdout, len(images.classes))
    rows, held = split(images, recipe.holdout, recipe.seed)
    batch = min(recipe.batch_size, len(rows))
    steps = len(rows) // batch
    phases = tuple(
        resolve(phase, size=images.size, classes=len(images.classes), steps_per_epoch=steps)
        for phase in recipe.frame.phases
    )
    for phase in phases:
        _check_schedule(phase, phase.epochs * steps, images.labels[rows])
    mean, std = NONE if recipe.own_model else models.normalisation(recipe.model, images.size)
    mean = mean if recipe.mean is None else recipe.mean
    std = std if recipe.std is None else recipe.std
    return Plan(phases, rows, held, batch, steps, mean, std)


def _check_schedule(phase: ResolvedPhase, steps: int, labels: Tensor) -> None:
    """The errors of `plan` where a phase of so many steps is staged."""
    if phase.staged is None:
        return
    purified = phase.staged.purified
    if phase.staged.check_every > steps:
        raise RecipeError(
            f"check-every is {phase.staged.check_every}, but the phase has {steps} steps, so "
            f"{'held-out images' if purified else 'ACM'} would never be judged; "
            f"pass --check-every from 1 to {steps}, or more --epochs"
        )
    if len(labels.unique()) < 2:
        raise DataError(
            "found training images of one class only, expected two or more, "
            f"{'which a shortcut tells apart' if purified else 'whose clusters ACM compares'}; "
            "pass a set of more classes, or another --frame"
        )


def model_of(
    recipe: TrainingRecipe, todo: Plan, images: Images, *, own: nn.Module | None = None
) -> nn.Module:
    """The recipe's model with fresh weights, or the own one. RecipeError if it is not for these
    images, of their size, with an answer for each of their classes; or if no file can hold it."""
    if own is None:
        return models.create(
            recipe.model, classes=len(images.classes), size=images.size, seed=recipe.seed,
            mean=todo.mean, std=todo.std, pretrained=recipe.pretrained,
        )  # fmt: skip
    _check_state(own, recipe.model)
    models.normalise(own, todo.mean, todo.std)
    check(own, images.size, what=recipe.model)
    with evaluating(own), torch.no_grad():
        black = next(own.parameters()).new_zeros(1, 3, images.size, images.size)
        answers = own(black)
    shape = tuple(answers.shape) if isinstance(answers, Tensor) else type(answers).__name__
    if shape != (1, len(images.classes)):
        raise RecipeError(
            f"{recipe.model} answers an image with {shape}, expected (1, "
            f"{len(images.classes)}): one number for each class of the images"
        )
    return own


def _check_state(own: nn.Module, what: str) -> None:
    """RecipeError unless a checkpoint can hold the `state_dict`: seen now, not at the end."""
    for name, value in own.state_dict().items():
        if not isinstance(value, Tensor) or value.dtype not in artifact.DTYPES:
            kind = value.dtype if isinstance(value, Tensor) else type(value).__name__
            raise RecipeError(
                f"{what} has {name!r} of {kind} in its state_dict, expected tensors of real "
                "numbers, which a checkpoint holds; make it a buffer with persistent=False"
            )


def of_others(
    head: header.Header, model: nn.Module, recipe: TrainingRecipe, size: int
) -> header.Header:
    """A checkpoint's header with what a model that is not ours needs: an own module's shapes, the
    version of timm."""
    if recipe.own_model:
        state = model.state_dict()
        head["shapes"] = {name: list(value.shape) for name, value in state.items()}
    elif models.timm_name(recipe.model, size) is not None:
        head["versions"]["timm"] = version("timm")
    return head


def recorded(recipe: TrainingRecipe, todo: Plan, runtime: Runtime) -> dict[str, Any]:
    """The settings that two equal runs share, nothing left open: what a header records."""
    own: dict[str, Any] = {} if recipe.own_augment is None else {"augment": recipe.own_augment}
    if recipe.record is not None:
        own["record"] = layers.record(recipe.record).text
    if recipe.purified:
        own["purified"] = True
    if recipe.init is not None:
        own["init"] = as_dict(recipe.init)
    return {
        "frame": recipe.frame.name, "phases": [described(phase) for phase in todo.phases],
        "model": recipe.model, "pretrained": recipe.pretrained, "batch_size": todo.batch_size,
        "holdout": recipe.holdout, "mean": list(todo.mean), "std": list(todo.std),
        **own, **runtime.recipe,
    }  # fmt: skip
