"""What a training will do, settled before the first step: the job (a recipe) and its sizes."""

from dataclasses import dataclass, replace

import torch
from torch import Tensor

from stkit import header, models
from stkit.data import Images, fits
from stkit.errors import RecipeError
from stkit.frames import Phase, default_epochs
from stkit.job import Job
from stkit.recipes import as_dict, choose, number
from stkit.rng import stream
from stkit.runtime import Runtime
from stkit.sources import balanced

PARTS = ("rest", "held")


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


def split(images: Images, holdout: int, seed: int) -> tuple[Tensor, Tensor]:
    """The rows to train on and the rows held out, class-balanced, by the seed; both ascending."""
    shuffled = torch.randperm(len(images), generator=stream(seed, "holdout"))
    held = shuffled[balanced(images.labels[shuffled], holdout)].sort().values
    keep = torch.ones(len(images), dtype=torch.bool)
    keep[held] = False
    return keep.nonzero().flatten(), held


def part(images: Images, holdout: int, which: str, seed: int) -> Images:
    """The clean set without `holdout` images (`rest`), or these alone, as a test split (`held`).

    So that settings can be chosen on clean images that were in no training set, and on no test
    image: `--holdout` of a training keeps images out *as published*, poisoned ones too.
    RecipeError for another name or a count that leaves nothing.
    """
    choose("part", which, PARTS)
    number("holdout", holdout, 1, len(images) - 1)
    keep, held = split(images, holdout, seed)
    chosen = images.rows(keep if which == "rest" else held)
    about = {k: v for k, v in images.header.items() if k in ("classes", "method", "statistics")}
    head = header.make(
        "dataset", {"source": "file", "holdout": holdout, "part": which}, seed=seed,
        inputs=[images.provenance],
        split=images.header["split"] if which == "rest" else "test", **about,
    )  # fmt: skip
    return replace(chosen, header=head)


def recipe(job: Job, todo: Plan, runtime: Runtime) -> dict:
    """The settings that two equal runs share, epochs filled in: what a header records."""
    return {
        "frame": job.name, "phases": [as_dict(phase) for phase in todo.phases],
        "model": job.model, "pretrained": job.pretrained, "batch_size": todo.batch_size,
        "holdout": job.holdout, "mean": list(todo.mean), "std": list(todo.std),
        **runtime.recipe,
    }  # fmt: skip
