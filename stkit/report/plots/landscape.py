"""The loss around the weights of checkpoints (Figure 12): contours, and the surface below.

All have one scale of colours and the same levels. The scale is logarithmic, as a loss runs from a
thousandth in a trap to thousands at the rim; what lies above `HIGHEST` guesses is drawn as if it
were that, and so is what is not finite.
"""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from textwrap import fill
from typing import TYPE_CHECKING, Any

from stkit.core.errors import ArtifactError
from stkit.report import names
from stkit.report.plots.asked import Asked, Rows

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure
    from torch import Tensor

    from stkit.measure.landscape import Landscape
    from stkit.measure.subject import Checkpoint

ABOUT = "the loss around the weights of checkpoints, on SOURCE's images"
FILES = "checkpoints of one model"
TAKES = (
    "source", "split", "data_root", "size", "limit", "points", "span", "seed", "device", "threads",
    "resume",
)  # fmt: skip
HIGHEST = 10.0
"""What is drawn at most, in losses of a model that finds every class as likely."""
LEAST = 1e-6  # a loss of 0 has no place on the scale
MOST = 4  # columns on a page
CHARACTERS = 60  # of titles, beside each other on a page
NARROWEST = 0.5  # powers of ten that the scale has at least, so that a level is among them
STEPS = (1, 2, 5)
WIDEST = 4  # powers of ten that the scale has at most, so that every level's number has its place
COLOURS = "viridis"
MARK = "#D55E00"  # of the lowest place


def draw(
    figure: "Figure", paths: Sequence[Path], asked: Asked, *, on_note: Callable[[str], None]
) -> Rows:
    """Measure and draw checkpoints, a column each. See `measure.landscape`.

    ArtifactError: files of different models, or no checkpoints. RecipeError: no source, or settings
    out of range. DataError: images that are not for these.
    """
    from stkit.core.checks import given
    from stkit.engine.process import settings
    from stkit.measure.landscape import landscapes, subject
    from stkit.measure.survey import Survey
    from stkit.recipes.landscape import Plane
    from stkit.report.plots import shown
    from stkit.training.checkpoint import load_checkpoint

    plane = given(Plane(), points=asked.points, span=asked.span, limit=asked.limit, seed=asked.seed)
    runtime = shown.runtime(asked)
    trained = [load_checkpoint(path, device=runtime.device) for path in paths]
    _check_alike(trained)
    images = shown.images(replace(asked, limit=None), default_split="train", on_note=on_note)
    with settings(runtime):
        subjects = [subject(each, images, plane) for each in trained]
        survey = Survey(subjects, plane, runtime=runtime)
        if asked.carry is not None:
            asked.carry(survey)
        else:
            for _ in survey.steps():
                asked.on_progress(*survey.progress)
    surfaces = landscapes(survey)
    called = names.files(paths)
    titles = [name.removesuffix(path.suffix) for name, path in zip(called, paths, strict=True)]
    picture(figure, titles, surfaces)
    for name, each, surface in zip(titles, trained, surfaces, strict=True):
        own = each.header["inputs"][0]["digest"] == images.provenance["digest"]
        on_note(f"{name}: {said(surface)}{'' if own else '; trained on other images than these'}")
    on_note(
        f"loss of {surfaces[0].count} images in evaluation mode: BatchNorm's running statistics "
        "are the checkpoint's everywhere"
    )
    return numbers(called, trained, surfaces)


def numbers(
    called: Sequence[str], trained: "Sequence[Checkpoint]", surfaces: "Sequence[Landscape]"
) -> Rows:
    """A row a place."""
    return [
        {"file": name, "frame": each.header["frame"], "model": each.header["model"],
         "seed": each.seed, "alpha": alpha, "beta": beta, "loss": loss}
        for name, each, surface in zip(called, trained, surfaces, strict=True)
        for beta, line in zip(surface.plane.places, surface.losses.tolist(), strict=True)
        for alpha, loss in zip(surface.plane.places, line, strict=True)
    ]  # fmt: skip


def said(surface: "Landscape") -> str:
    """The numbers of a surface by which traps are compared, in a line."""
    lowest, alpha, beta = surface.lowest
    radius = surface.plane.span / 2
    return (
        f"loss {surface.centre:.4g} at the centre, lowest {lowest:.4g} at ({alpha:g}, {beta:g}), "
        f"median {surface.around(radius):.4g} at radius {radius:g}; below a guess "
        f"({surface.chance:.3g}) on {surface.below(surface.chance):.1%} of the plane"
    )


def _check_alike(trained: "Sequence[Checkpoint]") -> None:
    """ArtifactError unless all are of one model."""
    first = trained[0]
    for other in trained[1:]:
        if other.header["model"] != first.header["model"]:
            raise ArtifactError(
                f"{other.name} is a {other.header['model']}, {first.name} a "
                f"{first.header['model']}, expected one model, for which the directions are the "
                "same; draw one picture for each"
            )


@dataclass(frozen=True)
class Scale:
    """The scale of all surfaces of a picture: powers of ten from low to high, and the levels."""

    low: float
    high: float
    levels: tuple[float, ...]

    @property
    def named(self) -> tuple[float, ...]:
        """The levels that bear their numbers in contours, which may lie close together."""
        wide = self.high - self.low > WIDEST
        return tuple(level for level in self.levels if not wide or level == round(level))


def scale(surfaces: "Sequence[Landscape]") -> Scale:
    """That which has room for all of them, up to `HIGHEST`."""
    most = HIGHEST * surfaces[0].chance
    counted = [surface.losses.nan_to_num(math.inf) for surface in surfaces]
    lowest = min(float(losses.min()) for losses in counted)
    highest = max(float(losses.max()) for losses in counted)
    high = math.log10(max(min(highest, most), 10 * LEAST))
    low = min(math.log10(max(lowest, LEAST)), high - NARROWEST)
    levels = [
        math.log10(step) + decade
        for decade in range(math.floor(low), math.ceil(high) + 1)
        for step in STEPS
    ]
    return Scale(low, high, tuple(level for level in levels if low < level < high))


def heights(losses: "Tensor", within: Scale) -> "Tensor":
    """The powers of ten of losses on a scale; what is not finite is as high as can be."""
    return losses.nan_to_num(math.inf).log10().clamp(within.low, within.high)


def picture(figure: "Figure", names: Sequence[str], surfaces: "Sequence[Landscape]") -> None:
    """Fill the figure: a column a surface, contours above, in three dimensions below."""
    from matplotlib.cm import ScalarMappable
    from matplotlib.colors import Normalize

    from stkit.core.text import figure as harmless
    from stkit.report.plots import style

    columns, within = len(surfaces), scale(surfaces)
    width = style.PAGE * max(1, columns / MOST) if columns > 1 else style.COLUMN
    style.sized(figure, width, 0.5 + 1.8 * (width - 0.6) / columns)
    grid = figure.add_gridspec(2, columns)
    for number, (name, surface) in enumerate(zip(names, surfaces, strict=True)):
        flat = figure.add_subplot(grid[0, number])
        contours(flat, surface, within, named=number == 0)
        named = fill(harmless(name), max(12, CHARACTERS // columns))
        flat.set_title(f"{named}\ncentre {surface.centre:.3g}, \u00d7 {surface.lowest[0]:.3g}")
        relief(figure.add_subplot(grid[1, number], projection="3d"), surface, within)
    colours = ScalarMappable(Normalize(within.low, within.high), COLOURS)
    bar = figure.colorbar(colours, ax=figure.axes, shrink=0.6, aspect=30, pad=0.04)
    bar.set_ticks(list(within.levels), labels=[f"{10**level:.3g}" for level in within.levels])
    bar.set_label("loss")


def contours(axes: "Axes", surface: "Landscape", within: Scale, *, named: bool) -> None:
    """Draw a surface from above; named: whether the axis at its left has a name."""
    places, z = surface.plane.places, heights(surface.losses, within).numpy()
    bands = [within.low, *within.levels, within.high]
    axes.contourf(places, places, z, bands, cmap=COLOURS, vmin=within.low, vmax=within.high)
    crossed = [level for level in within.levels if z.min() < level < z.max()]
    if crossed:
        middle = (within.low + within.high) / 2
        inks = ["white" if level < middle else "black" for level in crossed]
        lines = axes.contour(
            places, places, z, crossed, colors=inks, linewidths=0.5, linestyles="solid"
        )
        told = [level for level in within.named if level in crossed]
        axes.clabel(lines, told, fmt=lambda level: f"{10**level:.3g}", fontsize=7)
    _, alpha, beta = surface.lowest
    axes.plot(alpha, beta, "x", color=MARK, markersize=5, markeredgewidth=1.5, clip_on=False)
    axes.grid(visible=False)
    ends = [places[0], 0, places[-1]]
    axes.set(aspect="equal", xticks=ends, yticks=ends, xlabel=r"$\alpha$")
    axes.set_ylabel(r"$\beta$" if named else "", labelpad=-4)
    axes.tick_params(labelleft=named)


def relief(axes: Any, surface: "Landscape", within: Scale) -> None:
    """Draw a surface in three dimensions, on axes that have as many, of which no types are told."""
    import numpy as np

    x, y = np.meshgrid(surface.plane.places, surface.plane.places)
    z = heights(surface.losses, within).numpy()
    axes.plot_surface(
        x, y, z, cmap=COLOURS, vmin=within.low, vmax=within.high, rcount=101, ccount=101,
        linewidth=0.1, edgecolor="#00000030",
    )  # fmt: skip
    ticks = [level for level in within.levels if len(within.levels) < 6 or level == round(level)]
    axes.set_zlim(within.low, within.high)
    axes.set_zticks(ticks, labels=[f"{10**level:.3g}" for level in ticks])
    ends = [surface.plane.places[0], 0, surface.plane.places[-1]]
    axes.set(xticks=ends, yticks=ends)
    axes.set_box_aspect((1, 1, 0.75), zoom=1.1)
    axes.set_xlabel(r"$\alpha$", labelpad=-6)
    axes.set_ylabel(r"$\beta$", labelpad=-6)
    axes.tick_params(pad=-2)
