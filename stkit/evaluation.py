"""Clean and robust accuracy of a model on a data set."""

from dataclasses import dataclass

import torch
from torch import Tensor, nn

from stkit import pgd
from stkit.data import Images, to_float
from stkit.frames import Adversary
from stkit.rng import stream
from stkit.runtime import Runtime, pick


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


def evaluate(
    model: nn.Module,
    images: Images,
    *,
    adversary: Adversary | None = None,
    seed: int = 0,
    batch_size: int = 512,
    runtime: Runtime | None = None,
) -> Evaluation:
    """Confusion of the model (already on the runtime's device) on every image of the set.

    adversary: also the confusion on images perturbed by it, see `pgd20`.
    """
    runtime = runtime or pick(str(next(model.parameters()).device), "fp32")
    pixels, labels = runtime.place(images.images), runtime.place(images.labels)
    count = len(images.classes)
    clean = confusion(model, pixels, labels, count, runtime, batch_size=batch_size)
    if adversary is None:
        return Evaluation(clean.cpu())
    robust = confusion(
        model, pixels, labels, count, runtime,
        batch_size=batch_size, adversary=adversary, seed=seed,
    )  # fmt: skip
    return Evaluation(clean.cpu(), robust.cpu())


def confusion(
    model: nn.Module,
    pixels: Tensor,
    labels: Tensor,
    classes: int,
    runtime: Runtime,
    *,
    batch_size: int = 512,
    adversary: Adversary | None = None,
    seed: int = 0,
) -> Tensor:
    """int64 [K,K] on the device, of uint8 pixels [N,3,H,W] there; the host does not wait."""
    was_training = model.training
    model.eval()
    cells = torch.zeros(classes * classes, dtype=torch.int64, device=pixels.device)
    for clock, start in enumerate(range(0, len(pixels), batch_size)):
        batch, truth = pixels[start : start + batch_size], labels[start : start + batch_size]
        x = to_float(batch).contiguous(memory_format=torch.channels_last)
        if adversary is not None:
            generator = stream(seed, "evaluate", clock, pixels.device)
            x = pgd.adversarial(model, x, truth, adversary, generator, runtime.autocast)
        with torch.no_grad(), runtime.autocast():
            guess = model(x).argmax(1)
        cells.scatter_add_(0, truth * classes + guess, torch.ones_like(truth))
    model.train(was_training)
    return cells.view(classes, classes)
