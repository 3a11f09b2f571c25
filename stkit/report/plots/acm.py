"""ACM and the mean absolute gradient by epoch (Figure 2c of the ST paper)."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from math import inf, isfinite
from pathlib import Path
from typing import TYPE_CHECKING

from stkit.core.errors import ArtifactError, RecipeError
from stkit.recipes.acm import VARIANTS
from stkit.recipes.layers import MEASURED, PENULTIMATE
from stkit.report.plots.asked import Asked, Rows
from stkit.report.plots.runs import Run, runs

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

    from stkit.report.plots.style import End

ABOUT = "ACM by epoch with its threshold, and a layer's mean absolute gradient"
FILES = "checkpoints, or results of stkit bench"
TAKES = ("variant", "layer", "columns")
ACM, GRADIENT = "acm", "gradients"
"""What is recorded, by its name in `--record`."""


@dataclass(frozen=True)
class Point:
    """A value by epoch, a fraction within one. Of one that was judged also after which step, by
    which threshold it was, whether it was rolled back, and the stage tau after it."""

    epoch: float
    value: float
    step: int | None = None
    rolled_back: bool = False
    tau: int | None = None


@dataclass(frozen=True)
class Panel:
    """What is shown of a layer: ACM in a variant, or the gradient; a line for each training."""

    quantity: str
    layer: str
    variant: str | None
    lines: list[list[Point]]

    @property
    def name(self) -> str:
        """What stands at the axis."""
        layer = f"layer {self.layer}" if self.layer.isdecimal() else self.layer
        what = "mean absolute gradient" if self.variant is None else f"ACM ({self.variant})"
        return f"{what}\n{layer}"

    @property
    def option(self) -> str:
        """What `--record` takes for it."""
        usual = self.layer == MEASURED[self.quantity]
        return self.quantity if usual else f"{self.quantity}:{self.layer}"


@dataclass(frozen=True)
class Judge:
    """By what a phase was judged."""

    variant: str
    gamma: float
    layer: str


def draw(
    figure: "Figure", paths: Sequence[Path], asked: Asked, *, on_note: Callable[[str], None]
) -> Rows:
    """Draw ACM above and the gradient below it, each where it was recorded.

    A layer that is asked for is that of both, of two the first is that of ACM. By default ACM is
    the one that was judged, in the variant that was. ArtifactError where nothing was recorded.
    """
    from stkit.report.plots import style

    drawn = runs(paths, on_note=on_note)
    variant = asked.variant or _judged(drawn)
    both = _panels(drawn, variant, asked.layers)
    panels = [panel for panel in both if any(panel.lines)]
    if len(panels) < (1 if len(asked.layers) < 2 else 2):
        raise ArtifactError(_absent(drawn, both))
    epochs = [point.epoch for panel in panels for line in panel.lines for point in line]
    width = style.width(asked.columns)
    style.sized(figure, width, None if len(panels) == 1 else max(0.7 * width, 4))
    places = figure.subplots(len(panels), sharex=True, squeeze=False)[:, 0]
    rows: Rows = []
    for axes, panel in zip(places, panels, strict=True):
        name = "epoch" if panel is panels[-1] else ""
        style.by_number(axes, name, max(epochs), first=min(1, *epochs))
        axes.set(ylabel=panel.name, yscale="log")
        _draw(axes, drawn, panel)
        for run, line in zip(drawn, panel.lines, strict=True):
            rows += [_row(run, panel, point) for point in line]
        without = [run.name for run, line in zip(drawn, panel.lines, strict=True) if not line]
        if without:
            names = "; ".join(dict.fromkeys(without))
            what = f"{panel.quantity} of {panel.layer}"
            on_note(f"note: {names}: no {what}, which train --record {panel.option} takes")
    figure.align_ylabels()
    return rows


def _judged(drawn: Sequence[Run]) -> str:
    """The variant by which the trainings were judged; the paper's where none was."""
    variants = sorted({judge.variant for run in drawn for judge in _judges(run)})
    if len(variants) > 1:
        raise RecipeError(
            f"found trainings judged by {' and '.join(variants)}, expected one in a picture; "
            "pass --variant"
        )
    return variants[0] if variants else next(iter(VARIANTS))


def _judges(run: Run) -> Iterator[Judge]:
    """By what each phase was judged that was."""
    setup = run.result.setup
    for key, variant in setup.items():
        phase, _, last = key.rpartition(".")
        if last == "variant" and phase.endswith(".staged") and variant in VARIANTS:
            gamma, layer = (setup.get(f"{phase}.{name}") for name in ("gamma", "layer"))
            yield Judge(
                variant, VARIANTS[variant].gamma if gamma is None else float(gamma),
                PENULTIMATE if layer is None else str(layer),
            )  # fmt: skip


def _panels(
    drawn: Sequence[Run], variant: str, asked: Sequence[str | int | None]
) -> tuple[Panel, Panel]:
    """What may be shown, of the layers that are asked for or else of those that were recorded."""
    if len(asked) > 2:
        raise RecipeError(
            f"found {len(asked)} layers, expected one, or one for ACM and one for the gradient"
        )
    layers = [PENULTIMATE if layer is None else str(layer) for layer in asked]
    if not layers:
        judged = [judge.layer for run in drawn for judge in _judges(run)]
        layers = [
            next(iter([*first, *_recorded(drawn, quantity)]), MEASURED[quantity])
            for quantity, first in ((ACM, judged), (GRADIENT, []))
        ]
    return (
        Panel(ACM, layers[0], variant, [_acm(run, layers[0], variant) for run in drawn]),
        Panel(GRADIENT, layers[-1], None, [_gradient(run, layers[-1]) for run in drawn]),
    )


def _recorded(drawn: Sequence[Run], quantity: str) -> list[str]:
    """The layers of which a quantity was recorded: the usual one, numbers from the input, names."""
    layers = {
        layer
        for run in drawn
        for epoch in run.result.history
        for layer in epoch.recorded.get(quantity, {})
    }

    def place(name: str) -> tuple[bool, float, str]:
        return name != MEASURED[quantity], int(name) if name.isdecimal() else inf, name

    return sorted(layers, key=place)


def _acm(run: Run, layer: str, variant: str) -> list[Point]:
    """ACM of each check where this layer was judged, else of each epoch where it was recorded."""
    history, judged = run.result.history, {judge.layer for judge in _judges(run)}
    checked = [(epoch, check) for epoch in history for check in epoch.checks]
    # the last check of an epoch is at its end or not long before
    steps = max((check.step / epoch.number for epoch, check in checked), default=1.0)
    points = []
    for epoch in history:
        if epoch.checks and layer in judged:
            points += [
                Point(check.step / steps, value, check.step, not check.kept, check.tau)
                for check in epoch.checks
                if isfinite(value := check.scores.get(variant, 0)) and value > 0
            ]
        else:
            value = epoch.recorded.get(ACM, {}).get(layer, {}).get(variant, 0)
            if isfinite(value) and value > 0:
                points.append(Point(epoch.number, value))
    return points


def _gradient(run: Run, layer: str) -> list[Point]:
    values = [(e.number, e.recorded.get(GRADIENT, {}).get(layer, 0)) for e in run.result.history]
    return [Point(number, value) for number, value in values if isfinite(value) and value > 0]


def _absent(drawn: Sequence[Run], panels: Sequence[Panel]) -> str:
    """What to say where a layer that is to be shown was not recorded."""
    lacking = [panel for panel in panels if not any(panel.lines)]
    said = " and ".join(f"no {panel.quantity} of {panel.layer}" for panel in lacking)
    known = " and ".join(
        f"{panel.quantity} of {', '.join(layers)}"
        for panel in panels
        if (layers := _recorded(drawn, panel.quantity))
    )
    options = ",".join(panel.option for panel in lacking)
    return (
        f"found {said} in these files{f', which have {known}' if known else ''}; "
        f"train with --record {options}"
    )


def _draw(axes: "Axes", drawn: Sequence[Run], panel: Panel) -> None:
    """A line a training, dots where it was rolled back, and gamma."""
    from stkit.report.plots import style

    ends: dict[int, End] = {}
    marks = []
    for run, line in zip(drawn, panel.lines, strict=True):
        if not line:
            continue
        look = style.look(run.number)
        axes.plot(
            [point.epoch for point in line], [point.value for point in line], color=look.colour,
            linestyle=look.line, marker="o" if len(line) == 1 else "", clip_on=False,
        )  # fmt: skip
        marks += [
            style.Mark("" if run.number in ends else str(p.tau), p.epoch, p.value, look)
            for p in line
            if p.rolled_back
        ]
        ends[run.number] = style.End(run.name, line[-1].epoch, line[-1].value, look)
    beyond = axes.get_xlim()[1]
    for gamma in _gammas(drawn, panel.variant):
        look = style.Look("#404040", style.DOTS)
        axes.axhline(gamma, color=look.colour, linestyle=look.line, linewidth=style.THIN)
        ends[-len(ends) - 1] = style.End(f"gamma {gamma:g}", beyond, gamma, look)
    style.mark(axes, marks)
    if marks:
        style.key(axes, [style.rolled_back()])
    style.label_ends(axes, list(ends.values()))


def _gammas(drawn: Sequence[Run], variant: str | None) -> list[float]:
    """The thresholds of a variant: those by which was judged, else its own; none for None."""
    if variant is None:
        return []
    judges = [judge for run in drawn for judge in _judges(run)]
    judged = {judge.gamma for judge in judges if judge.variant == variant}
    return sorted(judged) or [VARIANTS[variant].gamma]


def _row(run: Run, panel: Panel, point: Point) -> dict[str, str | int | float | None]:
    return run.row() | {
        "quantity": panel.quantity, "variant": panel.variant, "layer": panel.layer,
        "epoch": point.epoch, "step": point.step, "value": point.value,
        "rolled_back": int(point.rolled_back), "tau": point.tau,
    }  # fmt: skip
