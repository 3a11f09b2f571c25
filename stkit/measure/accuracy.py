"""Clean and robust accuracy of a model on a data set."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from stkit.core import artifact, header
from stkit.core.checks import as_dict, number, whole
from stkit.core.errors import DataError, RecipeError
from stkit.core.rng import stream
from stkit.data.images import Images, to_float
from stkit.engine import pgd
from stkit.engine.feed import Feed
from stkit.engine.graphs import Captured
from stkit.engine.process import settings
from stkit.engine.runtime import Runtime
from stkit.measure.subject import (
    Batches,
    Checkpoint,
    asking,
    batches,
    check_finite,
    module_of,
    parent,
    place,
)
from stkit.models.structure import number_type
from stkit.recipes.frames import Adversary, pgd20


@dataclass(frozen=True, repr=False)
class Evaluation:
    """A model's predictions on a data set, and how they were asked for.

    confusion int64 [K,K]: rows are true classes, columns predictions; robust: under the adversary.
    model: its header's part. images, batch_size: None where they came from a DataLoader.
    threads: of a CPU.
    """

    confusion: Tensor
    robust: Tensor | None
    adversary: Adversary | None
    precision: str
    seed: int
    model: dict[str, Any]
    images: Images | None
    batch_size: int | None = None  # each batch has a random start of its own
    threads: int | None = None

    @property
    def accuracy(self) -> float:
        """The share of right answers on the images as they are."""
        return accuracy(self.confusion)

    @property
    def robust_accuracy(self) -> float | None:
        """The same under attack; None where it was not measured."""
        return None if self.robust is None else accuracy(self.robust)

    @property
    def per_class(self) -> list[float]:
        """Accuracy of each class; NaN for a class without images."""
        hits, counts = self.confusion.diagonal(), self.confusion.sum(1)
        return [float(share) for share in hits.double() / counts.double()]

    @property
    def n(self) -> int:
        """How many images."""
        return int(self.confusion.sum())

    def __repr__(self) -> str:
        robust = "" if self.robust is None else f", robust {self.robust_accuracy:.4f}"
        return f"Evaluation({self.accuracy:.4f}{robust}, {self.n} images)"

    def save(self, path: str | Path, *, replace: bool = True) -> dict[str, Any]:
        """Write an eval file, as `stkit eval -o` does; returns its header. Taken where one is,
        unless it may `replace`."""
        asked = None if self.adversary is None else as_dict(self.adversary)
        more: dict[str, Any] = {"accuracy": self.accuracy, "per_class": self.per_class}
        more["n"] = self.n
        if self.robust is not None:
            more["robust_accuracy"] = self.robust_accuracy
        recipe: dict[str, Any] = {"adversary": asked, "precision": self.precision}
        if self.threads is not None:
            recipe["threads"] = self.threads
        if self.batch_size is not None:
            recipe["batch_size"] = self.batch_size
        head = header.make(
            "eval", recipe, seed=self.seed,
            inputs=[self.model, *([] if self.images is None else [self.images.provenance])],
            **more,
        )  # fmt: skip
        return artifact.write(Path(path), {"confusion": self.confusion}, head, replace=replace)


def accuracy(confusion: Tensor, count: int | None = None) -> float:
    """The share of right answers. count: of images, where some may have no answer that counts."""
    return int(confusion.diagonal().sum()) / (int(confusion.sum()) if count is None else count)


def default_batch(size: int) -> int:
    """Images of this side at a time: 512 up to 32 px, above as few as take their memory, or 64."""
    return max(64, min(512, 512 * 32**2 // size**2))


class Evaluator:
    """A model's confusion on one set, as often as asked: the set is placed, the pass recorded once.

    Ranks take batches in turn, and each batch has draws of its own, so that any number of ranks
    finds the same.
    """

    def __init__(
        self,
        model: nn.Module,
        images: Images,
        *,
        runtime: Runtime,
        adversary: Adversary | None = None,
        seed: int = 0,
        batch_size: int | None = None,
    ) -> None:
        self.model, self.runtime, self.adversary, self.seed = model, runtime, adversary, seed
        self.dtype = number_type(model)
        self.feed = Feed(images.pixels, images.labels, runtime)
        batches = torch.split(torch.arange(len(images)), batch_size or default_batch(images.size))
        self.batches = batches[runtime.rank :: runtime.world_size]
        self.classes, self.count = len(images.classes), len(images)
        self.counts = torch.zeros(self.classes**2, dtype=torch.int64, device=runtime.device)
        self._run = Captured(self._body, runtime, lambda: [self.counts])

    def confusion(self, feed: Feed | None = None) -> Tensor:
        """int64 [K,K] on the device, over all ranks; the host does not wait.

        feed: of the same images, changed, in the place of the set's own.
        Without images to which the model's answers are not finite: they sum up to less than `count`
        then.
        """
        self.counts.zero_()
        with pgd.evaluating(self.model):
            for number, (pixels, labels) in enumerate((feed or self.feed).batches(self.batches)):
                self._run(pixels, labels, *self._start(number, pixels))
        return self.runtime.sum_(self.counts.clone()).view(self.classes, self.classes)

    def _start(self, number: int, pixels: Tensor) -> list[Tensor]:
        """The adversary's random start for a batch, if there is one."""
        if self.adversary is None:
            return []
        clock = self.runtime.rank + number * self.runtime.world_size
        generator = stream(self.seed, "evaluate", clock, pixels.device)
        return [pgd.random_start(pixels.shape, self.adversary.epsilon, generator)]

    def _body(self, pixels: Tensor, labels: Tensor, *start: Tensor) -> None:
        x = to_float(pixels, self.dtype).contiguous(memory_format=torch.channels_last)
        answers = logits(self.model, x, labels, self.runtime, self.adversary, *start)
        check_width(answers, self.classes)
        best = answers.max(1)
        counted = best.values.isfinite().long()  # -inf may stand for a class that is left out
        self.counts.scatter_add_(0, labels * self.classes + best.indices, counted)


def check_width(answers: Tensor, classes: int) -> None:
    """DataError unless answers [B,K] are of so many classes."""
    if answers.shape[1:] != (classes,):
        raise DataError(
            f"the model gives {list(answers.shape[1:])} numbers an image, the data set has "
            f"{classes} classes; pass the data set it was trained for"
        )


def logits(
    model: nn.Module,
    x: Tensor,
    labels: Tensor,
    runtime: Runtime,
    adversary: Adversary | None = None,
    start: Tensor | None = None,
) -> Tensor:
    """The model's answers [B,K] to images, or to what an adversary makes of them from its start."""
    if adversary is not None:
        assert start is not None
        x = pgd.adversarial(model, x, labels, adversary, start, runtime.autocast)
    with torch.no_grad(), runtime.autocast():
        answers = model(x)
    if not isinstance(answers, Tensor):
        raise RecipeError(
            f"a {type(model).__name__} answers images by a {type(answers).__name__}, expected a "
            "tensor [B,K]; pass a module that gives the logits alone"
        )
    return answers


def evaluate(
    model: nn.Module | Checkpoint,
    data: Images | Batches,
    *,
    adversary: float | Adversary | None = None,
    seed: int = 0,
    batch_size: int | None = None,
    runtime: Runtime | None = None,
) -> Evaluation:
    """Clean accuracy of a model, and its accuracy under an adversary on request.

    model: any module that gives [B,K] numbers, in any mode, which is put back. data: images, or a
    DataLoader, read once. adversary: also under PGD; a radius, 4/255 say, is `pgd20` of it. seed:
    of the adversary's random starts. batch_size: images at a time, of a set; None: 512 up to 32 px,
    above fewer. runtime: None: where the model is, in float32 or its own type, by this process
    alone. DataError: the data are not for this model, or its weights or answers are not finite.
    RecipeError: no adversary, or a model that cannot take the images or gives other than [B,K].

        evaluate(model, load("digits", "test"), adversary=4 / 255).robust_accuracy
    """
    if isinstance(adversary, (int, float)):
        number("adversary", adversary, 0, 1)
        adversary = pgd20(adversary)
    if adversary is not None and not isinstance(adversary, Adversary):
        raise RecipeError(
            f"adversary is {adversary!r}, expected a number from 0 to 1 or an Adversary; "
            "pass a radius, as 4 / 255"
        )
    if batch_size is not None:
        whole("batch-size", batch_size, 1, float("inf"))
    module = module_of(model)
    runtime = place(module, runtime)
    images = data if isinstance(data, Images) else None
    batch_size = None if images is None else batch_size or default_batch(images.size)
    if images is not None and isinstance(model, Checkpoint):
        model.check(images)
    adversaries = (None,) if adversary is None else (None, adversary)
    with settings(runtime):
        if isinstance(data, Images):
            with asking(module, data.pixels):
                both = [
                    Evaluator(
                        module, data, runtime=runtime, adversary=which, seed=seed,
                        batch_size=batch_size,
                    ).confusion()
                    for which in adversaries
                ]  # fmt: skip
            count = len(data)
        else:
            both, count = _of_batches(module, data, runtime, adversaries, seed)
    check_finite(model, "answers", finite=all(int(each.sum()) == count for each in both))
    robust = None if adversary is None else both[1].cpu()
    return Evaluation(
        both[0].cpu(), robust, adversary, runtime.precision, seed, parent(model), images,
        batch_size, runtime.recipe.get("threads"),
    )  # fmt: skip


def _of_batches(
    model: nn.Module,
    data: Batches,
    runtime: Runtime,
    adversaries: Sequence[Adversary | None],
    seed: int,
) -> tuple[list[Tensor], int]:
    """The confusion under each adversary on a loader's images, without answers that are not finite,
    and how many images there are; of several ranks each takes all."""
    confusions: list[Tensor] = []
    count = 0
    dtype = number_type(model)
    with pgd.evaluating(model):
        for clock, (pixels, labels) in enumerate(batches(data)):
            x = to_float(runtime.place(pixels), dtype).contiguous(memory_format=torch.channels_last)
            y = runtime.place(labels)
            count += len(y)
            for i, adversary in enumerate(adversaries):
                generator = stream(seed, "evaluate", clock, x.device)
                start = None
                if adversary is not None:
                    start = pgd.random_start(x.shape, adversary.epsilon, generator)
                with asking(model, x):
                    answers = logits(model, x, y, runtime, adversary, start)
                classes = answers.shape[-1]
                if answers.ndim != 2 or int(y.max()) >= classes:
                    raise DataError(
                        f"the model gives {list(answers.shape)} numbers, a label is {int(y.max())};"
                        " pass the data set it was trained for"
                    )
                if len(confusions) <= i:
                    confusions.append(y.new_zeros(classes, classes))
                best = answers.max(1)
                counted = best.values.isfinite().long()
                confusions[i].view(-1).scatter_add_(0, y * classes + best.indices, counted)
    if not confusions:
        raise DataError("found no batch, expected at least one; pass a DataLoader with images")
    return confusions, count
