"""The scale of each layer's learning rate in each stage (Figure 4 and Eq. 7 of the ST paper)."""

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from stkit.report.plots.asked import Asked, Rows

if TYPE_CHECKING:
    from matplotlib.figure import Figure

ABOUT = "the share of the learning rate that each layer gets in each stage"
FILES = ""
TAKES = ("model", "beta", "size", "columns")
MODEL, SIZE = "resnet18", 32


def draw(
    figure: "Figure", paths: Sequence[Path], asked: Asked, *, on_note: Callable[[str], None]
) -> Rows:
    """Draw a line a stage, from tau 0, where all layers learn alike, to the last."""
    import numpy as np

    from stkit.core.checks import given, whole
    from stkit.recipes.staged import Staged
    from stkit.report.plots import style
    from stkit.training import schedule

    beta = given(Staged(), beta=asked.beta).beta
    stages = schedule.last_stage(beta) + 1
    whole(f"beta is {beta:g}: the number of stages", stages, 1, style.MOST)
    count = layers(asked.model or MODEL, asked.size or SIZE)
    numbers = range(1, count + 1)
    axes = figure.subplots()
    rows: Rows = []
    for tau in range(stages):
        look, scales = style.look(tau), schedule.lr_scales(tau, count, beta)
        axes.plot(numbers, scales, color=look.colour, linestyle=look.line, clip_on=False)
        height = 1 - (tau + 0.5) / stages  # each name at another, so that none is over another
        across = float(np.interp(height, scales, numbers)) if tau else 1.0
        style.label(axes, f"τ = {tau}", across, height, look)
        rows += [
            {"layer": layer, "tau": tau, "scale": scale}
            for layer, scale in zip(numbers, scales, strict=True)
        ]
    width = style.width(asked.columns, 1 if stages <= 6 else 2)
    style.sized(figure, width, max(0.75 * style.COLUMN, 0.18 * stages))
    style.by_number(axes, f"layer, from the input, of {count}", count)
    axes.set(ylabel="share of the learning rate", ylim=(0, 1))
    return rows


def layers(model: str, size: int) -> int:
    """How many layers there are: of this model for images of this side, or that number itself."""
    from stkit.core.checks import whole
    from stkit.recipes.catalogue import MODELS, SMALL, model_name

    if model.isdecimal():
        whole("model", int(model), 1, 10_000)
        return int(model)
    if model_name(model) in MODELS and size <= SMALL:
        return MODELS[model].layers
    from stkit import models

    return len(models.layers(models.create(model, classes=10, size=size), size))
