"""A class-balanced part of a set, kept out of training."""

from dataclasses import replace

import torch
from torch import Tensor

from stkit.core import header
from stkit.core.checks import choose, number, whole
from stkit.core.rng import stream
from stkit.data.images import Images
from stkit.data.sampling import balanced

PARTS = ("rest", "held")


def split(images: Images, holdout: int, seed: int) -> tuple[Tensor, Tensor]:
    """The rows to train on and the `holdout` rows held out, class-balanced, by the seed.

    Both int64, ascending; together they are all rows.
    """
    shuffled = torch.randperm(len(images), generator=stream(seed, "holdout"))
    held = shuffled[balanced(images.labels[shuffled], holdout)].sort().values
    keep = torch.ones(len(images), dtype=torch.bool)
    keep[held] = False
    return keep.nonzero().flatten(), held


def part(images: Images, holdout: int, which: str, seed: int) -> Images:
    """The clean set without `holdout` images (`rest`), or these alone, as a test split (`held`).

    So that settings can be chosen on clean images that were in no training set, and on no test
    image: `--holdout` of a training keeps images out *as they are in the file*, poisoned ones too.
    RecipeError for another name or a count that leaves nothing.
    """
    choose("part", which, PARTS)
    number("holdout", holdout, 1, len(images) - 1)
    whole("seed", seed, 0, 2**32 - 1)
    keep, held = split(images, holdout, seed)
    chosen = images.rows(keep if which == "rest" else held)
    about = {k: v for k, v in images.header.items() if k in ("classes", "method", "statistics")}
    head = header.make(
        "dataset", {"source": "file", "holdout": holdout, "part": which}, seed=seed,
        inputs=[images.provenance],
        split=images.header["split"] if which == "rest" else "test", **about,
    )  # fmt: skip
    return replace(chosen, header=head)
