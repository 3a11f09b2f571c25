"""The losses of models at many places around their weights: work that can be stopped and saved.

What is measured, and why so, is in `landscape`.
"""

import math
from collections.abc import Generator, Sequence
from contextlib import closing
from dataclasses import dataclass, field
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from stkit.core import header
from stkit.core.checks import as_dict
from stkit.data.images import to_float
from stkit.engine import pgd
from stkit.engine.feed import Feed
from stkit.engine.graphs import Captured
from stkit.engine.runtime import Runtime
from stkit.measure.accuracy import check_width, default_batch, logits
from stkit.measure.directions import Walk
from stkit.measure.subject import Checkpoint, asking, module_of
from stkit.models.structure import number_type
from stkit.recipes.landscape import Plane

Steps = Generator[None, None, None]


@dataclass(frozen=True)
class Subject:
    """A model and the images that it is measured on: pixels [n,3,H,W] and labels int64 [n].

    model: as a door takes it. parents: what a header says of the model and of what the images were
    drawn from.
    """

    model: nn.Module | Checkpoint
    pixels: Tensor
    labels: Tensor
    classes: int
    parents: list[dict[str, Any]] = field(repr=False)

    @property
    def module(self) -> nn.Module:
        """The model alone."""
        return module_of(self.model)


class Loss:
    """The sum of a subject's losses, one float on the device; its images are placed once."""

    def __init__(self, subject: Subject, runtime: Runtime) -> None:
        self.model, self.classes, self.runtime = subject.module, subject.classes, runtime
        self.dtype = number_type(self.model)
        self.feed = Feed(subject.pixels, subject.labels, runtime)
        count = len(subject.labels)
        batches = math.ceil(count / default_batch(subject.pixels.shape[-1]))
        rows = torch.split(torch.arange(count), math.ceil(count / batches))
        self.rows = [self.feed.rows(some) for some in rows]
        self.sum = torch.zeros((), dtype=runtime.sums, device=runtime.device)
        self._run = Captured(self._body, runtime, lambda: [self.sum])

    def batches(self) -> Steps:
        """Measure anew; yields after each batch, and the host does not wait."""
        self.sum.zero_()
        for pixels, labels in self.feed.batches(self.rows):
            self._run(pixels, labels)
            yield

    def _body(self, pixels: Tensor, labels: Tensor) -> None:
        x = to_float(pixels, self.dtype).contiguous(memory_format=torch.channels_last)
        answers = logits(self.model, x, labels, self.runtime)
        check_width(answers, self.classes)
        answers = answers.to(torch.promote_types(self.dtype, torch.float32))
        self.sum += F.cross_entropy(answers, labels, reduction="none").to(self.sum.dtype).sum()


class Survey:
    """The landscapes of some models, place by place: it can be stopped, saved and gone on with.

    Iterate `steps()` to the end, then take `landscapes`. Between two steps `head()` and `tensors()`
    are what a `state` file holds, from which `resume` goes on. A model's weights are moved while it
    is measured; they are what they were, to the last bit, when `steps()` ends or is closed.
    """

    def __init__(self, subjects: Sequence[Subject], plane: Plane, *, runtime: Runtime) -> None:
        self.subjects, self.plane, self.runtime = subjects, plane, runtime
        self.losses = torch.zeros(len(subjects), plane.points**2, dtype=torch.float64)
        self.read = 0  # places whose loss is in `losses`
        self.ahead: list[Tensor] = []  # losses of the next ones, on the device

    @property
    def at(self) -> int:
        """Places measured."""
        return self.read + len(self.ahead)

    @property
    def done(self) -> bool:
        """Whether no place is left."""
        return self.at == self.losses.numel()

    @property
    def place(self) -> str:
        """How far it has come, for people."""
        return f"place {self.at} of {self.losses.numel()}"

    @property
    def progress(self) -> tuple[int, int]:
        """Places measured, places in all."""
        return self.at, self.losses.numel()

    def tensors(self) -> dict[str, Tensor]:
        """The losses so far."""
        self._read()
        return {"losses": self.losses}

    def head(self) -> dict[str, Any]:
        """The header of the `state` file."""
        plane = {key: value for key, value in as_dict(self.plane).items() if key != "seed"}
        return header.make(
            "state", {"measured": "landscape", **plane, **self.runtime.recipe},
            seed=self.plane.seed, inputs=[made for each in self.subjects for made in each.parents],
            progress={"at": self.at}, records=[],
        )  # fmt: skip

    def resume(self, head: dict[str, Any], tensors: dict[str, Tensor]) -> None:
        """Take up a `state` file. ArtifactError if it is of other settings, models or images."""
        header.same(head, self.head())
        self.losses.copy_(tensors["losses"])
        self.read = head["progress"]["at"]

    def steps(self) -> Steps:
        """Go on to the end; yields after each batch of images, and after each place."""
        for number in range(self.at // self.plane.points**2, len(self.subjects)):
            with closing(self._plane(number)) as steps:
                yield from steps

    def _plane(self, number: int) -> Steps:
        """The places of one model that are left, row by row; at the end of a row its losses are
        read, until then the host does not wait for the device."""
        subject, side, places = self.subjects[number], self.plane.points, self.plane.places
        loss = Loss(subject, self.runtime)
        walk = Walk(subject.module, self.plane.seed)
        try:
            with pgd.evaluating(subject.module), asking(subject.module, subject.pixels):
                while self.at < (number + 1) * side**2:
                    row, column = divmod(self.at % side**2, side)
                    walk.to(places[column], places[row])
                    yield from loss.batches()
                    self.ahead.append(loss.sum / len(subject.labels))
                    if column == side - 1:
                        self._read()
                    yield
        finally:
            walk.back()

    def _read(self) -> None:
        """Take in what the device has measured."""
        if self.ahead:
            read = torch.stack(self.ahead).cpu().double()
            self.losses.view(-1)[self.read : self.at] = read
            self.read, self.ahead = self.at, []
