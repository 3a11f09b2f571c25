"""Checkpoint files: a model's `state_dict` under its own names, and all it takes to use it."""

from pathlib import Path

import torch
from torch import nn

from stkit import models
from stkit.core import artifact
from stkit.core.errors import ArtifactError
from stkit.measure.subject import Checkpoint
from stkit.models.weights import fill


def load(path: Path, device: torch.device | str = "cpu") -> tuple[nn.Module, dict]:
    """The model of a checkpoint, in eval mode on `device`, and the file's header.

    ArtifactError when the file is no checkpoint, is unfinished, or does not fit its own header.
    """
    head, tensors = artifact.read(path, "checkpoint")
    try:
        if not head["progress"]["done"]:
            raise ArtifactError("unfinished; run the same `stkit train` with --resume")
        model = build(head)
        fill(model, tensors)
    except KeyError as missing:
        raise ArtifactError(f"{path}: its header has no {missing}; train again") from None
    except ArtifactError as error:
        raise ArtifactError(f"{path}: {error}") from None
    return model.eval().to(memory_format=torch.channels_last).to(device), head


def load_checkpoint(path: str | Path, device: torch.device | str = "cpu") -> Checkpoint:
    """A checkpoint file as `acm` and `evaluate` measure it, see `load`."""
    return Checkpoint(*load(Path(path), device), name=str(path))


def build(head: dict) -> nn.Module:
    """A model as a checkpoint's header describes it, with fresh weights, never pretrained ones."""
    return models.create(
        head["model"], classes=len(head["classes"]), size=head["size"], seed=head["seed"],
        mean=head["mean"], std=head["std"],
    )  # fmt: skip
