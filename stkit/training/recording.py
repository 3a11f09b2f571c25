"""What `--record` asks for, at each epoch's end: ACM and the mean absolute gradient of some layers.

Measured on D^s, of the weights that the epoch came to: before a roll-back at its end, as accuracy
is. Nothing of the training changes by it: not the weights, a gradient, a random stream. A run that
is stopped within an epoch has none for it; the check that stopped it has ACM.
"""

from collections.abc import Mapping

import torch
from torch import Tensor, nn

from stkit import models
from stkit.core.errors import DataError, RecipeError
from stkit.data.images import to_float
from stkit.engine import pgd
from stkit.engine.runtime import Runtime
from stkit.measure import acm, gradients
from stkit.measure.clusters import clusters
from stkit.models.structure import number_type
from stkit.recipes import layers
from stkit.training.schedule import Recorded


class Recording:
    """Measures a model on D^s, as often as asked.

    asked: what `recipes.layers.record` reads; None: nothing. probe: uint8 images and labels.
    classes: how many there are. RecipeError: a layer that does not exist, puts out no numbers or
    has no parameters; DataError: a D^s of one class, which has no ACM.
    """

    def __init__(
        self,
        asked: str | None,
        model: nn.Module,
        probe: tuple[Tensor, Tensor],
        *,
        classes: int,
        runtime: Runtime,
    ) -> None:
        record = layers.Record() if asked is None else layers.record(asked)
        self.model, self.probe, self.classes, self.runtime = model, probe, classes, runtime
        size = probe[0].shape[-1]
        of_acm = [layers.layer(text) for text in record.acm]
        self.modules = dict(zip(record.acm, models.named(model, of_acm, size), strict=True))
        self.parameters: dict[str, list[str]] = {}
        for text in record.gradients:
            layer = layers.layer(text)
            assert layer is not None, "refused by layers.record"
            self.parameters[text] = gradients.parameters(model, layer, size)
        if self.modules:
            self._try()

    def _try(self) -> None:
        """The errors that measuring ACM would end with, before the first step."""
        images, labels = self.probe
        if len(labels.unique()) < 2:
            raise DataError(
                "found training images of one class only, expected two or more, whose clusters "
                "ACM compares; pass a set of more classes, or leave acm out of --record"
            )
        with pgd.evaluating(self.model), torch.no_grad():
            image = to_float(images[:1], number_type(self.model))
            try:
                models.several(self.model, image, tuple(self.modules.values()))
            except RecipeError as error:
                raise RecipeError(f"record: {error}") from None

    def __call__(self) -> Recorded | None:
        """What there is to record of the model as it is; the same on all ranks."""
        if not self.modules and not self.parameters:
            return None
        self.runtime.broadcast_(*self.model.buffers())  # BatchNorm's may differ between ranks
        measured = Recorded()
        images, labels = self.probe
        if self.modules:
            made = acm.features(
                self.model, images, tuple(self.modules.values()), runtime=self.runtime
            )
            scores = [acm.scores(clusters(each, labels, self.classes)) for each in made]
            named = dict(zip(self.modules, scores, strict=True))
            measured["acm"] = self.runtime.shared(named)
        if self.parameters:
            measured["gradients"] = gradients.measure(
                self.model, images, labels, self.parameters, runtime=self.runtime
            )
        return measured


def judged(
    recorded: Recorded | None, layer: str = layers.PENULTIMATE
) -> Mapping[str, float] | None:
    """ACM of the layer that a schedule judges by, if it was recorded."""
    return None if recorded is None else recorded.get("acm", {}).get(layer)
