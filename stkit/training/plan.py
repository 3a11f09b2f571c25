"""What a training will do, settled before the first step: the job (a recipe) and its sizes."""

from dataclasses import dataclass, replace

from torch import Tensor

from stkit import models
from stkit.core.checks import as_dict
from stkit.core.errors import RecipeError
from stkit.data.holdout import split
from stkit.data.images import Images, fits
from stkit.engine.runtime import Runtime
from stkit.recipes.frames import Phase, default_epochs
from stkit.recipes.training import Job


@dataclass(frozen=True)
class Plan:
    """A job's sizes for one data set: what `--dry-run` shows and the loop goes by."""

    phases: tuple[Phase, ...]  # epochs filled in
    train_rows: Tensor
    holdout_rows: Tensor
    batch_size: int
    steps_per_epoch: int
    mean: tuple[float, ...]
    std: tuple[float, ...]

    @property
    def epochs(self) -> int:
        return sum(phase.epochs or 0 for phase in self.phases)

    @property
    def steps(self) -> int:
        return self.epochs * self.steps_per_epoch

    def phase_at(self, epoch: int) -> tuple[int, int]:
        """The phase in which `epoch` (from 0) falls, and that phase's first epoch."""
        first = 0
        for which, phase in enumerate(self.phases):
            if epoch < first + (phase.epochs or 0):
                return which, first
            first += phase.epochs or 0
        raise AssertionError(epoch)


def plan(images: Images, job: Job) -> Plan:
    """Fill in what the recipe leaves to the data set. RecipeError when nothing is left to train."""
    fits(images, images.classes, images.size, f"model {job.model}")
    if job.holdout >= len(images):
        raise RecipeError(
            f"holdout is {job.holdout}, but the set has {len(images)} images; lower --holdout"
        )
    rows, held = split(images, job.holdout, job.seed)
    batch = min(job.batch_size, len(rows))
    default = default_epochs(images.size, len(images.classes))
    phases = tuple(replace(p, epochs=p.epochs or default) for p in job.frame.phases)
    mean, std = models.normalisation(job.model, images.size)
    mean = mean if job.mean is None else job.mean
    std = std if job.std is None else job.std
    return Plan(phases, rows, held, batch, len(rows) // batch, mean, std)


def recipe(job: Job, todo: Plan, runtime: Runtime) -> dict:
    """The settings that two equal runs share, epochs filled in: what a header records."""
    return {
        "frame": job.name, "phases": [as_dict(phase) for phase in todo.phases],
        "model": job.model, "pretrained": job.pretrained, "batch_size": todo.batch_size,
        "holdout": job.holdout, "mean": list(todo.mean), "std": list(todo.std),
        **runtime.recipe,
    }  # fmt: skip
