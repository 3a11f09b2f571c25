"""Checkpoint files: a model's `state_dict` under its own names, and all it takes to use it."""

from pathlib import Path

import torch
from torch import Tensor, nn

from stkit import artifacts, models
from stkit.errors import ArtifactError

BESIDE = ("optimizer/", "trusted/")  # what an unfinished checkpoint holds besides the model


def load(path: Path, device: torch.device | str = "cpu") -> tuple[nn.Module, dict]:
    """The model of a checkpoint, in eval mode on `device`, and the file's header.

    ArtifactError when the file is no checkpoint, is unfinished, or does not fit its own header.
    """
    head, tensors = artifacts.read(path, "checkpoint")
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


def build(head: dict) -> nn.Module:
    """A model as a checkpoint's header describes it, with fresh weights, never pretrained ones."""
    return models.create(
        head["model"], classes=len(head["classes"]), size=head["size"], seed=head["seed"],
        mean=head["mean"], std=head["std"],
    )  # fmt: skip


def fill(model: nn.Module, tensors: dict[str, Tensor]) -> None:
    """Put the weights of a file into the model; ArtifactError when they do not fit."""
    weights = {k: v for k, v in tensors.items() if not k.startswith(BESIDE)}
    try:
        model.load_state_dict(weights)
    except RuntimeError as error:
        reason = " ".join(str(error).split())[:200]
        raise ArtifactError(f"the weights do not fit the model ({reason}); train again") from None
