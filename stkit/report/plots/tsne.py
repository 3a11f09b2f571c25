"""Activations laid out by t-SNE: a row a training, a column an epoch (Figures 3, 10, 11)."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

from stkit.core.errors import DataError, RecipeError
from stkit.recipes.layers import PENULTIMATE
from stkit.report.plots.asked import Asked, Rows
from stkit.report.plots.compared import Compared

if TYPE_CHECKING:
    from collections.abc import Mapping

    from matplotlib.axes import Axes
    from matplotlib.figure import Figure
    from torch import Tensor

    from stkit.data.images import Images

ABOUT = "activations of a layer laid out by t-SNE, a row a training, a column an epoch"
FILES = "checkpoints; stkit train --keep EPOCHS writes those of epochs on the way"
TAKES = (
    "source", "split", "data_root", "layer", "per_class", "seed", "device", "threads",
)  # fmt: skip
CLASSES = 20
"""More cannot be told apart."""
MANY = 5000  # images, of which a layout takes minutes
MORE = ("#882255", "#999933")
"""Colours beside those of lines, so that ten classes need one marker (of Tol's "muted")."""
MARKERS = ("o", "^")
SIDE = 2.1  # inches, the most of a panel's


@dataclass(frozen=True)
class Panel:
    """The layout of one checkpoint. images: those shown; points float32 [N,2]; acm: of these."""

    file: Compared
    images: "Images"
    points: "Tensor"
    acm: float


@dataclass(frozen=True)
class Look:
    """A class's colour and marker."""

    colour: str
    marker: str


def draw(
    figure: "Figure", paths: Sequence[Path], asked: Asked, *, on_note: Callable[[str], None]
) -> Rows:
    """Draw a panel a checkpoint, all on the same axes, each class in one look."""
    from stkit.report.plots import compared

    layers = asked.layers or (None,)
    if len(layers) > 1:
        raise RecipeError(f"layer is {asked.layer!r}, tsne draws one; draw a picture of each layer")
    files = compared.read(paths)
    _check(files)
    panels = _panels(files, layers[0], asked, on_note)
    _draw(figure, panels, compared.titles(files))
    _say_missing(panels, compared.titles(files), on_note)
    layer = PENULTIMATE if layers[0] is None else layers[0]
    return [
        panel.file.row()
        | {"layer": layer, "index": index, "label": label, "x": x, "y": y}
        for panel in panels
        for index, label, (x, y) in zip(
            panel.images.index.tolist(), panel.images.labels.tolist(), panel.points.tolist(),
            strict=True,
        )
    ]  # fmt: skip


def _check(files: Sequence[Compared]) -> None:
    """DataError where two files are one epoch of one training."""
    places: dict[tuple[str, int], Compared] = {}
    for each in files:
        other = places.setdefault((each.training, each.epoch), each)
        if other is not each:
            raise DataError(
                f"{each.path} and {other.path} are both epoch {each.epoch} of one training; "
                "leave one out"
            )


def _panels(
    files: Sequence[Compared], layer: str | int | None, asked: Asked, on_note: Callable[[str], None]
) -> list[Panel]:
    """Each checkpoint's layout of D^s as its training saw it, in the order of the files."""
    from stkit.measure.acm import score
    from stkit.measure.clusters import clusters
    from stkit.measure.embedding import drawn, embed
    from stkit.report.plots import shown
    from stkit.training.checkpoint import load_checkpoint

    runtime, sources = shown.runtime(asked), _sources(asked, on_note)
    images: dict[str, Images] = {}  # of each training
    panels = []
    for number, each in enumerate(files):
        asked.on_progress(number, len(files))
        trained = load_checkpoint(each.path, device=runtime.device)
        if each.training not in images:
            images[each.training] = drawn(
                _its(each, sources), trained, per_class=asked.per_class, classes=CLASSES,
                seed=asked.seed,
            )  # fmt: skip
        some = images[each.training]
        if number == 0 and len(some.classes) > CLASSES:
            on_note(f"note: shows the first {CLASSES} of {len(some.classes)} classes")
        if number == 0 and len(some) > MANY:
            on_note(f"note: t-SNE of {len(some):,} images takes minutes; --per-class N takes fewer")
        laid = embed(trained, some, layer=layer, seed=asked.seed or 0, runtime=runtime)
        measured = score(clusters(laid.features, some.labels, len(some.classes)))
        panels.append(Panel(each, some, laid.points, measured))
    asked.on_progress(len(files), len(files))
    return panels


def _sources(asked: Asked, on_note: Callable[[str], None]) -> "Mapping[str, Images]":
    """Every source that is named, by its digest; the name of one file may have commas."""
    from stkit.report.plots import shown

    text = asked.source
    names = text.split(",") if text is not None and not Path(text).exists() else [text]
    opened = (
        shown.images(replace(asked, source=name), default_split="train", on_note=on_note)
        for name in names
    )
    return {images.provenance["digest"]: images for images in opened}


def _its(file: Compared, sources: "Mapping[str, Images]") -> "Images":
    """The only source, or of several that which the checkpoint was trained on."""
    if len(sources) == 1:
        return next(iter(sources.values()))
    own = file.head["inputs"][0]["digest"]
    if own not in sources:
        raise DataError(
            f"{file.path}: was trained on none of the {len(sources)} sources; add to --source what "
            "it was trained on, or pass one source for all"
        )
    return sources[own]


def _say_missing(
    panels: Sequence[Panel], titles: "Mapping[str, str]", on_note: Callable[[str], None]
) -> None:
    """A note of the epochs that one training has and another lacks."""
    epochs = {panel.file.epoch for panel in panels}
    for training, title in titles.items():
        lacks = epochs - {p.file.epoch for p in panels if p.file.training == training}
        if lacks:
            some = ",".join(map(str, sorted(lacks)))
            on_note(
                f"note: of {title} there is no file of epoch {some}; `stkit train --keep {some}` "
                "writes one"
            )


def _draw(figure: "Figure", panels: Sequence[Panel], titles: "Mapping[str, str]") -> None:
    from math import ceil

    from stkit.core.text import figure as harmless
    from stkit.report.plots import style

    trainings = list(dict.fromkeys(panel.file.training for panel in panels))
    epochs = sorted({panel.file.epoch for panel in panels})
    side = min(SIDE, (style.PAGE - 0.6) / len(epochs))
    width = max(style.COLUMN, side * len(epochs) + 0.6)
    style.sized(figure, width, (side + 0.05) * len(trainings) + 0.5)
    grid = figure.subplots(len(trainings), len(epochs), squeeze=False)
    looks = _looks(panels)
    limit = 10 * max(1, ceil(max(float(panel.points.abs().max()) for panel in panels) / 10))
    for axes in grid.flat:
        axes.set_axis_off()
    for panel in panels:
        row, column = trainings.index(panel.file.training), epochs.index(panel.file.epoch)
        axes = grid[row, column]
        axes.set_axis_on()
        _scatter(axes, panel, looks, side)
        axes.set(xlim=(-limit, limit), ylim=(-limit, limit), aspect="equal",
                 xticks=(-limit, 0, limit), yticks=(-limit, 0, limit))  # fmt: skip
        axes.tick_params(labelleft=False, labelbottom=False)
    for places, training in zip(grid, trainings, strict=True):
        first = next(axes for axes in places if axes.axison)
        first.set_ylabel(harmless(titles[training]))
        first.tick_params(labelleft=True)
    for places, epoch in zip(grid.T, epochs, strict=True):
        places[0].set_title(f"epoch {epoch}")  # shown over an empty place, too
        [axes for axes in places if axes.axison][-1].tick_params(labelbottom=True)
    _name_classes(figure, panels[0].images.classes, looks)


def _scatter(axes: "Axes", panel: Panel, looks: "Mapping[int, Look]", side: float) -> None:
    """A panel's points in the order of the images, so that no class lies above another."""
    axes.grid(visible=False)
    for spine in axes.spines.values():
        spine.set_visible(True)
    each = [looks[label] for label in panel.images.labels.tolist()]
    for marker in dict.fromkeys(look.marker for look in looks.values()):
        rows = [row for row, look in enumerate(each) if look.marker == marker]
        x, y = panel.points[rows].T.numpy()
        axes.scatter(
            x, y, s=2.5 * side, c=[each[row].colour for row in rows],
            marker=marker, linewidths=0, alpha=0.8,
        )  # fmt: skip
    axes.text(0.03, 0.97, f"ACM {panel.acm:.2g}", transform=axes.transAxes, va="top")


def _looks(panels: Sequence[Panel]) -> "Mapping[int, Look]":
    """The colour and the marker of each label that is shown."""
    from stkit.report.plots import style

    labels = sorted({label for p in panels for label in p.images.labels.unique().tolist()})
    colours = (*style.COLOURS, *MORE)
    places = [divmod(number, len(colours)) for number in range(len(labels))]
    return {
        label: Look(colours[colour], MARKERS[again % len(MARKERS)])
        for label, (again, colour) in zip(labels, places, strict=True)
    }


def _name_classes(figure: "Figure", classes: Sequence[str], looks: "Mapping[int, Look]") -> None:
    """The classes' looks, once, below all panels."""
    from matplotlib.lines import Line2D

    from stkit.core.text import figure as harmless

    handles = [
        Line2D([], [], color=look.colour, marker=look.marker, linestyle="",
               label=harmless(classes[label]))
        for label, look in looks.items()
    ]  # fmt: skip
    widest = max(len(str(handle.get_label())) for handle in handles)
    columns = max(1, int(figure.get_figwidth() * 72 / (4.5 * widest + 26)))
    figure.legend(
        handles=handles, loc="outside lower center", ncols=min(len(handles), columns),
        handletextpad=0.1, columnspacing=1.0,
    )  # fmt: skip
