"""Clean and robust accuracy of a model on a data set."""

from dataclasses import dataclass

import torch
from torch import Tensor, nn

from stkit.core.rng import stream
from stkit.data.images import Images, to_float
from stkit.engine import pgd
from stkit.engine.feed import Feed
from stkit.engine.graphs import Captured
from stkit.engine.runtime import Runtime, pick
from stkit.recipes.frames import Adversary


@dataclass(frozen=True)
class Evaluation:
    """confusion int64 [K,K]: rows are true classes, columns predictions; robust: under PGD."""

    confusion: Tensor
    robust: Tensor | None = None

    @property
    def accuracy(self) -> float:
        return accuracy(self.confusion)

    @property
    def robust_accuracy(self) -> float | None:
        return None if self.robust is None else accuracy(self.robust)

    @property
    def per_class(self) -> list[float]:
        """Accuracy of each class; NaN for a class without images."""
        hits, counts = self.confusion.diagonal(), self.confusion.sum(1)
        return (hits.double() / counts.double()).tolist()


def accuracy(confusion: Tensor) -> float:
    """The share on the diagonal."""
    return int(confusion.diagonal().sum()) / int(confusion.sum())


def pgd20(epsilon: float) -> Adversary:
    """The adversary of robust accuracy: PGD-20, random start, step epsilon / 4."""
    return Adversary(epsilon=epsilon, step_size=epsilon / 4, steps=20)


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
        self.feed = Feed(images.pixels, images.labels, runtime)
        batches = torch.arange(len(images)).split(batch_size or default_batch(images.size))
        self.batches = batches[runtime.rank :: runtime.world_size]
        self.classes = len(images.classes)
        self.cells = torch.zeros(self.classes**2, dtype=torch.int64, device=runtime.device)
        self._run = Captured(self._body, runtime, lambda: [self.cells])

    def confusion(self) -> Tensor:
        """int64 [K,K] on the device, over all ranks; the host does not wait."""
        self.cells.zero_()
        with pgd.evaluating(self.model):
            for number, (pixels, labels) in enumerate(self.feed.batches(self.batches)):
                self._run(pixels, labels, *self._start(number, pixels))
        return self.runtime.sum_(self.cells.clone()).view(self.classes, self.classes)

    def _start(self, number: int, pixels: Tensor) -> list[Tensor]:
        """The adversary's random start for a batch, if there is one."""
        if self.adversary is None:
            return []
        clock = self.runtime.rank + number * self.runtime.world_size
        generator = stream(self.seed, "evaluate", clock, pixels.device)
        return [pgd.random_start(pixels.shape, self.adversary.epsilon, generator)]

    def _body(self, pixels: Tensor, labels: Tensor, *start: Tensor) -> None:
        x = to_float(pixels).contiguous(memory_format=torch.channels_last)
        if self.adversary is not None:
            x = pgd.adversarial(
                self.model, x, labels, self.adversary, start[0], self.runtime.autocast
            )
        with torch.no_grad(), self.runtime.autocast():
            guess = self.model(x).argmax(1)
        self.cells.scatter_add_(0, labels * self.classes + guess, torch.ones_like(labels))


def evaluate(
    model: nn.Module,
    images: Images,
    *,
    adversary: Adversary | None = None,
    seed: int = 0,
    batch_size: int | None = None,
    runtime: Runtime | None = None,
) -> Evaluation:
    """Confusion of the model (already on the runtime's device) on every image of the set.

    adversary: also the confusion on images perturbed by it, see `pgd20`.
    """
    runtime = runtime or pick(str(next(model.parameters()).device), "fp32")

    def confusion(adversary: Adversary | None) -> Tensor:
        return Evaluator(
            model, images, runtime=runtime, adversary=adversary, seed=seed, batch_size=batch_size
        ).confusion()

    clean = confusion(None).cpu()
    return Evaluation(clean, None if adversary is None else confusion(adversary).cpu())
