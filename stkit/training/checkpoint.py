"""Checkpoint files: a model's `state_dict` under its own names, and all it takes to use it."""

from pathlib import Path
from typing import Any

import torch
from torch import nn

from stkit import models
from stkit.core import artifact
from stkit.core.errors import ArtifactError
from stkit.measure.subject import Checkpoint
from stkit.models.weights import fill
from stkit.recipes.training import OWN


def load_model(
    path: str | Path, model: nn.Module | None = None, device: torch.device | str = "cpu"
) -> nn.Module:
    """The model of a checkpoint, in eval mode on `device`; see `load`."""
    return load(Path(path), device, model=model)[0]


def load(
    path: Path, device: torch.device | str = "cpu", *, model: nn.Module | None = None
) -> tuple[nn.Module, dict[str, Any]]:
    """The model of a checkpoint, in eval mode on `device`, and the file's header.

    model: the module to put the weights into, which a checkpoint of an own one needs. ArtifactError
    when the file is no checkpoint, is unfinished, or does not fit its own header or this module.
    """
    head, tensors = artifact.read(path, "checkpoint")
    try:
        if not head["progress"]["done"]:
            raise ArtifactError("unfinished; run the same `stkit train` with --resume")
        if model is None:
            model = build(head)
        else:
            models.normalise(model, head["mean"], head["std"])
        fill(model, tensors)
    except KeyError as missing:
        raise ArtifactError(f"{path}: its header has no {missing}; train again") from None
    except ArtifactError as error:
        raise ArtifactError(f"{path}: {error}") from None
    return model.eval().to(memory_format=torch.channels_last).to(device), head


def load_checkpoint(
    path: str | Path, model: nn.Module | None = None, device: torch.device | str = "cpu"
) -> Checkpoint:
    """A checkpoint file as `acm` and `evaluate` measure it, see `load`."""
    return Checkpoint(*load(Path(path), device, model=model), name=str(path))


def build(head: dict[str, Any]) -> nn.Module:
    """A model as a checkpoint's header describes it, with fresh weights, never pretrained ones."""
    if head["model"].startswith(OWN):
        name = head["model"].removeprefix(OWN)
        raise ArtifactError(
            f"its model is an own module, {name}; make one in Python and pass it: "
            f"stkit.load_model(path, model={name}(...))"
        )
    return models.create(
        head["model"], classes=len(head["classes"]), size=head["size"], seed=head["seed"],
        mean=head["mean"], std=head["std"],
    )  # fmt: skip
