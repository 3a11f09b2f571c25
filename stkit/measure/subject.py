"""What is measured: a model, trained by stkit or by others, and images, in a set or in batches.

The doors `acm` and `evaluate` take both; here they are checked.
"""

from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import chain
from typing import Any

import torch
from torch import Tensor, nn

from stkit.core import artifact
from stkit.core.errors import DataError, RecipeError, StkitError
from stkit.data.holdout import split
from stkit.data.images import Images, fits, to_float
from stkit.data.prepare import prepare
from stkit.engine.memory import out_of_memory
from stkit.engine.pgd import evaluating
from stkit.engine.runtime import Runtime
from stkit.models.structure import number_type, reason
from stkit.models.weights import not_finite
from stkit.recipes.carried import rung

Batches = Iterable[Sequence[Tensor]]
"""A DataLoader, or anything else that gives images and labels, batch by batch: uint8 [B,3,H,W], or
float in [0,1], and whole numbers [B]."""


@dataclass(frozen=True, repr=False)
class Checkpoint:
    """A model and the header of the file it came from, which says how and on what it was trained.

    name: what messages call it. `stkit.load_checkpoint` makes one.
    """

    model: nn.Module
    header: dict[str, Any]
    name: str = "the checkpoint"

    @property
    def classes(self) -> tuple[str, ...]:
        """The names of the classes, by label."""
        return tuple(self.header["classes"])

    @property
    def seed(self) -> int:
        """The seed of the training."""
        return int(self.header["seed"])

    def __repr__(self) -> str:
        return (
            f"Checkpoint({self.header['model'][:30]}, {self.header['frame'][:30]}, "
            f"{len(self.classes)} classes, seed {self.seed})"
        )

    def check(self, images: Images) -> None:
        """DataError unless it was trained on images of this size and these classes."""
        fits(images, self.classes, self.header["size"], self.name)

    def as_trained(self, images: Images) -> Images:
        """The images as the training saw them, D^s is drawn from these: prepared as by its frame,
        or on the rung that it came to, and without what it held out, where this is its set."""
        recipe, own = self.header["recipe"], self.header["inputs"][0]["digest"]
        holdout = recipe["holdout"]
        trained_on = holdout and images.provenance["digest"] == own
        chosen = self.header.get("chosen")
        names = rung(chosen["rung"]).prepare if chosen else tuple(recipe["phases"][0]["prepare"])
        prepared = prepare(images, names, seed=self.seed)
        return prepared.rows(split(images, holdout, self.seed)[0]) if trained_on else prepared


def module_of(model: nn.Module | Checkpoint) -> nn.Module:
    """The module alone. RecipeError for what is neither a module nor a checkpoint."""
    module = model.model if isinstance(model, Checkpoint) else model
    if not isinstance(module, nn.Module):
        raise RecipeError(
            f"model is a {type(module).__name__}, expected an nn.Module or a checkpoint; "
            "pass stkit.load_checkpoint(path)"
        )
    return module


def check_finite(model: nn.Module | Checkpoint, what: str, *, finite: bool) -> None:
    """DataError where the model holds NaN or infinity, or where `what` it gave is not `finite`.

    Asked after it has run, which a lazy module needs to have weights at all.
    """
    name = not_finite(module_of(model))
    if finite and name is None:
        return
    who = model.name if isinstance(model, Checkpoint) else f"a {type(model).__name__}"
    bad = f"its {what} to an image hold" if name is None else f"{name!r} holds"
    raise DataError(f"{who}: {bad} NaN or infinity, expected finite numbers; train it again")


def parent(model: nn.Module | Checkpoint) -> dict[str, Any]:
    """What a header says of the model: its checkpoint's, or a digest of the weights it has now."""
    if isinstance(model, Checkpoint):
        if model.header["digest"]:
            return model.header
        return {**model.header, "digest": artifact.digest(model.model.state_dict())}  # no file yet
    weights = {
        name: value
        for name, value in model.state_dict().items()
        if isinstance(value, Tensor) and value.dtype in artifact.DTYPES
    }
    return {
        "kind": "model", "recipe": {"model": type(model).__name__}, "seed": None,
        "digest": artifact.digest(weights), "inputs": [],
    }  # fmt: skip


def place(module: nn.Module, runtime: Runtime | None) -> Runtime:
    """Where to compute: as asked, else where the model is, in float32, by this process alone.

    That it is one of several ranks is not for it to assume: rank 0 may measure while the others do
    not. RecipeError when the model is elsewhere, or nowhere.
    """
    device = home(module)
    if runtime is None:
        if device.type not in ("cpu", "cuda", "mps"):
            raise RecipeError(
                f"the model is on {device}, expected cpu, cuda or mps; pass model.to(device)"
            )
        return Runtime(device, "fp32")
    if device.type != runtime.device.type or (runtime.device.index or 0) != (device.index or 0):
        raise RecipeError(
            f"the model is on {device}, the runtime computes on {runtime.device}; "
            "pass model.to(runtime.device)"
        )
    return runtime


def home(module: nn.Module) -> torch.device:
    """The device of a model's weights."""
    tensors = chain(module.parameters(), module.buffers())
    return next((tensor.device for tensor in tensors), torch.device("cpu"))


@contextmanager
def asking(module: nn.Module, pixels: Tensor) -> Iterator[None]:
    """What fails inside is a RecipeError, if the first of these images alone makes the module fail.

    Else it is not the module, and the error is as it was: memory has run out, say.
    """
    try:
        yield
    except StkitError:
        raise
    except Exception as error:  # a module may raise anything
        if out_of_memory(error):
            raise
        try:
            with evaluating(module), torch.no_grad():
                module(to_float(pixels[:1].to(home(module)), number_type(module)))
        except Exception as same:
            raise RecipeError(
                f"a {type(module).__name__} cannot take images {list(pixels.shape[1:])} "
                f"({reason(same)}); pass images that it takes, or another model"
            ) from error
        raise


def batches(data: Batches) -> Iterator[tuple[Tensor, Tensor]]:
    """Each batch, its labels int64. DataError for one of other types, shapes or values."""
    try:
        each = iter(data)
    except TypeError:
        raise DataError(
            f"the data are a {type(data).__name__}, expected images or batches of them; "
            "pass stkit.load(...) or a DataLoader"
        ) from None
    for batch in each:
        if not isinstance(batch, Sequence) or len(batch) != 2:
            raise DataError(
                f"a batch is a {type(batch).__name__}, expected images and labels; "
                "pass a DataLoader that gives these two"
            )
        images, labels = _tensor("images", batch[0]), _tensor("labels", batch[1])
        _check(images, labels)
        yield images, labels.long()


def _tensor(name: str, value: object) -> Tensor:
    """A batch's images or labels as a tensor; DataError where they are no numbers."""
    try:
        return torch.as_tensor(value)
    except (TypeError, ValueError, RuntimeError) as error:
        raise DataError(
            f"a batch's {name} are a {type(value).__name__} ({reason(error)}), expected a tensor; "
            "pass a DataLoader that gives such"
        ) from None


def _check(images: Tensor, labels: Tensor) -> None:
    """DataError unless these are a batch of images and their labels."""
    kind = images.is_floating_point() or images.dtype == torch.uint8
    if not kind or images.ndim != 4 or not len(images):
        raise DataError(
            f"a batch's images are {images.dtype} {list(images.shape)}, expected uint8 or float "
            "[B,3,H,W]; pass a DataLoader that gives such"
        )
    if labels.is_floating_point() or labels.shape != images.shape[:1]:
        raise DataError(
            f"a batch's labels are {labels.dtype} {list(labels.shape)}, expected whole numbers "
            f"[{len(images)}]; pass a DataLoader that gives such"
        )
    low, high = (float(value) for value in images.aminmax())
    if images.is_floating_point() and not 0 <= low <= high <= 1:
        raise DataError(
            f"a batch's images run from {low:g} to {high:g}, expected [0,1]; "
            "put the normalisation into the model, as its first step"
        )
    if labels.min() < 0:
        raise DataError(f"a batch has the label {labels.min()}, expected 0 or more")


def collected(data: Batches) -> tuple[Tensor, Tensor]:
    """All images and labels of a loader, in memory, on the CPU. DataError when there are none, or
    batches of several sizes or types, as a draw from all of them cannot be."""
    pixels: list[Tensor] = []
    labels: list[Tensor] = []
    for x, y in batches(data):
        first = pixels[0] if pixels else x
        if (x.shape[1:], x.dtype) != (first.shape[1:], first.dtype):
            raise DataError(
                f"a batch's images are {x.dtype} {list(x.shape)}, those of the first "
                f"{first.dtype} {list(first.shape)}, expected one size and type; "
                "resize the images in the DataLoader"
            )
        pixels.append(x.cpu())
        labels.append(y.cpu())
    if not pixels:
        raise DataError("found no batch, expected at least one; pass a DataLoader with images")
    return torch.cat(pixels), torch.cat(labels)
