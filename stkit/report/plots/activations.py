"""Mean activations of channels at several depths, for several models (Figure 8)."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from stkit.recipes.layers import PENULTIMATE
from stkit.report.plots.asked import Asked, Rows
from stkit.report.plots.compared import Compared

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure
    from torch import Tensor

ABOUT = "mean activation of each channel at several depths, and how far models are apart"
FILES = "checkpoints"
TAKES = (
    "source", "split", "data_root", "layer", "per_class", "seed", "device", "threads",
)  # fmt: skip
ACROSS = 2  # panels in a row
HEIGHT, AROUND = 1.75, 0.6  # inches, of a panel without names in it, and of these not its axes


@dataclass(frozen=True)
class Layer:
    """A layer, and its channel means, float64 [D], of each file in their order."""

    name: str
    means: tuple["Tensor", ...]


def draw(
    figure: "Figure", paths: Sequence[Path], asked: Asked, *, on_note: Callable[[str], None]
) -> Rows:
    """Draw a panel a layer, in it a line a model: its channels in the order of its own means."""
    from stkit.measure.activations import correlation, distance
    from stkit.report.plots import compared

    files = compared.read(paths)
    layers = _measured(files, asked, on_note)
    _draw(figure, layers, _names(files))
    return [
        file.row()
        | {"layer": layer.name, "channel": channel, "mean": mean,
           "distance": distance(layer.means[0], means),
           "correlation": correlation(layer.means[0], means)}
        for layer in layers
        for file, means in zip(files, layer.means, strict=True)
        for channel, mean in enumerate(means.tolist())
    ]  # fmt: skip


def _names(files: Sequence[Compared]) -> list[str]:
    """What to call each file: its training, and the epoch where one training has several."""
    from stkit.report.plots import compared

    titles = compared.titles(files)
    several = len(titles) < len(files)
    return [titles[each.training] + (f", epoch {each.epoch}" if several else "") for each in files]


def _measured(
    files: Sequence[Compared], asked: Asked, on_note: Callable[[str], None]
) -> list[Layer]:
    """Every layer's means, of the same images, as they are, for all files."""
    from stkit.measure.activations import channel_means, depths
    from stkit.measure.embedding import drawn
    from stkit.measure.subject import asking, check_finite
    from stkit.report.plots import shown
    from stkit.training.checkpoint import load_checkpoint

    runtime = shown.runtime(asked)
    images = shown.images(asked, default_split="test", on_note=on_note)
    some = drawn(images, per_class=asked.per_class, seed=asked.seed)
    layers: tuple[str | int | None, ...] = asked.layers
    means: list[list[Tensor]] = []
    for number, each in enumerate(files):
        asked.on_progress(number, len(files))
        trained = load_checkpoint(each.path, device=runtime.device)
        trained.check(some)
        layers = layers or depths(trained.model, some.size)
        with asking(trained.model, some.pixels):
            means.append(channel_means(trained.model, some.pixels, layers))
        check_finite(trained, "activations", finite=all(m.isfinite().all() for m in means[-1]))
    asked.on_progress(len(files), len(files))
    return [
        Layer(PENULTIMATE if layer is None else str(layer), tuple(each))
        for layer, each in zip(layers, zip(*means, strict=True), strict=True)
    ]


def _draw(figure: "Figure", layers: Sequence[Layer], names: Sequence[str]) -> None:
    from stkit.report.plots import style

    down = -(-len(layers) // ACROSS)
    room = len(names) * style.FONT * style.LEADING / 72
    style.sized(figure, style.PAGE, (HEIGHT + room) * down)
    grid = figure.subplots(down, min(ACROSS, len(layers)), squeeze=False)
    for axes in grid.flat[len(layers) :]:
        axes.set_axis_off()
    for axes in grid[:, 0]:
        axes.set_ylabel("mean activation")
    for axes, layer in zip(grid.flat, layers, strict=False):
        _lines(axes, layer)
    for axes, layer in zip(grid.flat, layers, strict=False):
        low, high = axes.get_ylim()
        axes.set_ylim(low, high + (high - low) * room / (HEIGHT - AROUND))
        _label(axes, layer, names)


def _lines(axes: "Axes", layer: Layer) -> None:
    """A line a model: the channels from the largest mean to the smallest."""
    from matplotlib.ticker import MaxNLocator

    from stkit.report.plots import style

    for number, means in enumerate(layer.means):
        look = style.look(number)
        ordered = means.sort(descending=True).values.tolist()
        places = range(1, len(ordered) + 1)
        axes.plot(places, ordered, color=look.colour, linestyle=look.line)
    axes.set(
        title=f"{layer.name}: {len(layer.means[0])} channels",
        xlabel="channel, by its rank in its model",
    )
    axes.xaxis.set_major_locator(MaxNLocator(integer=True))


def _label(axes: "Axes", layer: Layer, names: Sequence[str]) -> None:
    """The models' names in their colours, each with its distance to the first, at the top."""
    from stkit.core.text import figure as harmless
    from stkit.measure.activations import distance
    from stkit.report.plots import style

    for number, (name, means) in enumerate(zip(names, layer.means, strict=True)):
        far = f", distance {distance(layer.means[0], means):.2f}" if number else ""
        axes.annotate(
            harmless(name) + far, (1, 1), (0, -style.FONT * style.LEADING * (number + 0.2)),
            xycoords="axes fraction", textcoords="offset points", ha="right", va="top",
            color=style.look(number).colour,
        )  # fmt: skip
