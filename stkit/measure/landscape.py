"""The loss around a model's weights: on a plane through them, along two random directions.

Li et al., "Visualizing the Loss Landscape of Neural Nets", NeurIPS 2018; Figure 12 of the ST paper,
which says no more of its own than that. The directions: see `directions`. The loss is the mean
cross entropy of the same class-balanced images at every place, in evaluation mode.

BatchNorm keeps its running statistics at every place, as in the authors' code. So the loss is a
function of the weights alone, does not depend on the batches, and is at the centre the loss of the
checkpoint that `stkit eval` measures. Statistics computed anew at each place would undo much of a
step along a filter, which scales its output, and would move the centre as well.
"""

import math
from collections.abc import Callable
from contextlib import closing
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from stkit.core.rng import stream
from stkit.data.images import Images
from stkit.data.sampling import balanced
from stkit.engine.process import settings
from stkit.engine.runtime import Runtime
from stkit.measure.subject import (
    Batches,
    Checkpoint,
    check_finite,
    collected,
    module_of,
    parent,
    place,
)
from stkit.measure.survey import Subject, Survey
from stkit.models.structure import learnable
from stkit.recipes.landscape import Plane


@dataclass(frozen=True, repr=False)
class Landscape:
    """Losses on a plane: float64 [points,points], a row for each beta, a column for each alpha.

    chance: the loss of a model that finds every class as likely, ln K. count: of the images.
    A loss may be inf or NaN far from the centre.
    """

    losses: Tensor
    plane: Plane
    chance: float
    count: int

    def __repr__(self) -> str:
        return f"Landscape({self.plane.points} x {self.plane.points}, {self.centre:.4g} at centre)"

    @property
    def centre(self) -> float:
        """The loss at the weights themselves."""
        middle = self.plane.middle
        return float(self.losses[middle, middle])

    @property
    def lowest(self) -> tuple[float, float, float]:
        """The lowest loss of the plane, and its alpha and beta."""
        at = int(self.losses.nan_to_num(math.inf).argmin())
        row, column = divmod(at, self.plane.points)
        places = self.plane.places
        return float(self.losses[row, column]), places[column], places[row]

    def below(self, loss: float) -> float:
        """The share of the plane where the loss is below this: how wide the trap is."""
        return float((self.losses < loss).double().mean())

    def around(self, radius: float) -> float:
        """The median loss at this distance from the centre, within half a step of it; NaN where no
        place of the plane is so far. What is not finite counts as largest."""
        places = torch.tensor(self.plane.places, dtype=torch.float64)
        distance = torch.hypot(places[:, None], places)
        step = 2 * self.plane.span / (self.plane.points - 1)
        ring = self.losses[(distance - radius).abs() <= step / 2 + 1e-9]
        return float(ring.nan_to_num(math.inf).median()) if len(ring) else math.nan


def subject(model: nn.Module | Checkpoint, data: Images | Batches, plane: Plane) -> Subject:
    """A model and the images drawn for it; of a checkpoint as its training saw them.

    RecipeError or DataError as by `landscape`.
    """
    module = module_of(model)
    learnable(module, f"a {type(module).__name__}")
    check_finite(model, "weights", finite=True)
    parents = [parent(model)]
    if isinstance(data, Images):
        if isinstance(model, Checkpoint):
            model.check(data)
            data = model.as_trained(data)
        pixels, labels, classes = data.pixels, data.labels, len(data.classes)
        parents.append(data.provenance)
    else:
        pixels, labels = collected(data)
        classes = 1 + int(labels.max())
    rows = draw(labels, plane)
    return Subject(model, pixels[rows], labels[rows], classes, parents)


def draw(labels: Tensor, plane: Plane) -> Tensor:
    """The rows of the images, ascending: `limit`, as many of each class, by the seed."""
    shuffled = torch.randperm(len(labels), generator=stream(plane.seed, "landscape images"))
    return shuffled[balanced(labels[shuffled], plane.limit)].sort().values


def landscapes(survey: Survey) -> list[Landscape]:
    """The surfaces that a finished survey has measured, in the order of its models."""
    assert survey.done
    side = survey.plane.points
    return [
        Landscape(losses.view(side, side), survey.plane, math.log(each.classes), len(each.labels))
        for each, losses in zip(survey.subjects, survey.losses, strict=True)
    ]


def landscape(
    model: nn.Module | Checkpoint,
    data: Images | Batches,
    *,
    points: int = Plane.points,
    span: float = Plane.span,
    limit: int = Plane.limit,
    seed: int = Plane.seed,
    on_progress: Callable[[int, int], object] | None = None,
    runtime: Runtime | None = None,
) -> Landscape:
    """The loss of a model around its weights, as `stkit plot landscape` measures it.

    model: any module, in any mode; its weights are moved, and put back to the last bit. data: the
    images, of which a checkpoint gets them as its training saw them; or a DataLoader, read once,
    into memory. points: places along each side, odd. span: how far to each side, in norms of a
    filter. limit: images, as many of each class. seed: of the directions and of the images.
    on_progress: called with places measured and places in all. runtime: None: where the model is,
    in float32 or its own type. RecipeError: settings out of range, or a model that cannot take the
    images. DataError: data of another shape, or weights that are not finite.

        landscape(load_checkpoint("nt.safetensors"), load("sp.safetensors")).losses
    """
    plane = Plane(points, span, limit, seed)
    runtime = place(module_of(model), runtime)
    with settings(runtime):
        survey = Survey([subject(model, data, plane)], plane, runtime=runtime)
        with closing(survey.steps()) as steps:
            for _ in steps:
                if on_progress is not None:
                    on_progress(*survey.progress)
        return landscapes(survey)[0]
