"""A training as a checkpoint holds it, finished or not, and how to take it up again."""

from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from stkit.core import header
from stkit.core.errors import ArtifactError
from stkit.engine import augment as augmentation
from stkit.models.weights import fill
from stkit.training.plan import of_others, recorded
from stkit.training.schedule import Check, Epoch
from stkit.training.snapshot import MOMENTUM, copy, live

if TYPE_CHECKING:
    from stkit.training.loop import Training

TRUSTED = "trusted/"  # before the names of the state at the last accepted check


def tensors(training: "Training") -> dict[str, Tensor]:
    """A checkpoint's tensors: the `state_dict`; unfinished, also momentum and snapshot."""
    if training.done:
        return dict(training.model.state_dict())
    trusted = {} if training.staged is None else training.staged.trusted
    now = live(training.model, training.step.sgd)
    if training.climb is not None:
        now |= training.climb.tensors()
    return now | {f"{TRUSTED}{k}": v for k, v in trusted.items()}


def head(training: "Training") -> dict[str, Any]:
    """A checkpoint's header: enough to use the model, and, unfinished, to go on.

    DivergenceError: unfinished, and what is at hand is not finite and will not be rolled back.
    """
    progress: dict[str, Any] = {"done": training.done, "step": training.executed}
    progress["steps"] = training.plan.steps
    if not training.done:
        if training.staged is None or not training.staged.judges:
            training.refuse()
        loss, hits = training.sums()
        checks = [check.to_json() for check in training.checks]
        tau = 0 if training.staged is None else training.staged.tau
        progress |= {"tau": tau, "checks": checks, "loss": loss, "hits": hits}
        progress["since"] = training.since
        progress["draws"] = augmentation.STREAMS
    recipe, images = training.recipe, training.images
    made = header.make(
        "checkpoint", recorded(recipe, training.plan, training.runtime), seed=recipe.seed,
        inputs=[*(i.provenance for i in (images, training.test) if i is not None),
                *training.transplant.parents],
        model=recipe.model, classes=list(images.classes), size=images.size,
        frame=recipe.frame.name, mean=training.plan.mean, std=training.plan.std, progress=progress,
        records=[record.to_json() for record in training.epochs],
    )  # fmt: skip
    if training.climb is not None:
        made["chosen"] = training.climb.chosen.to_json()
    purified = training.sets.purified
    if purified is not None and purified.left_out:
        made["left_out"] = purified.left_out
    return of_others(made, training.model, recipe, images.size)


def resume(training: "Training", head: dict[str, Any], tensors: dict[str, Tensor]) -> None:
    """Take up an unfinished checkpoint. ArtifactError if it is another run's."""
    header.same(head, training.head())
    progress = header.numbers(head["progress"])
    if progress["done"]:
        raise ArtifactError("found a finished training, expected an unfinished one; move it")
    augmentation.same_streams(progress)
    training.plan.check_place(progress["step"], progress["since"])
    epoch = max(0, progress["step"] - 1) // training.plan.steps_per_epoch  # of the last step
    if training.climb is not None:
        training.climb.resume(head["chosen"], tensors)
        training.read()
    training.enter(training.plan.phase_at(epoch)[0])
    fill(training.model, tensors)
    state = {k: v for k, v in tensors.items() if k.startswith(MOMENTUM)}
    copy(state, live(training.model, training.step.sgd))
    training.executed = progress["step"]
    training.checks = [Check.from_json(check) for check in progress["checks"]]
    training.epochs = [Epoch.from_json(record) for record in header.numbers(head["records"])]
    if training.staged is not None:
        trusted = {
            name.removeprefix(TRUSTED): training.runtime.place(value)
            for name, value in tensors.items()
            if name.startswith(TRUSTED)
        }
        now = {"tau": progress["tau"], "trusted": trusted}
        training.staged.load_state_dict(training.staged.state_dict() | now)
    training.since = progress["since"]
    sums = [progress["loss"], progress["hits"], training.executed - training.since]
    if not training.runtime.first:  # these add to the first's from zero
        sums[:2] = 0.0, 0.0
    training.step.sums.copy_(torch.tensor(sums, dtype=training.runtime.sums))
