"""Weights of a file put into a model."""

from itertools import chain

import torch
from torch import Tensor, nn

from stkit.core.errors import ArtifactError

STATISTICS = ("running_mean", "running_var")  # of a norm: the buffers that training changes
BESIDE = ("optimizer/", "trusted/", "sound/")  # what an unfinished checkpoint has besides the model


def fill(model: nn.Module, tensors: dict[str, Tensor]) -> None:
    """Put the weights of a file into the model; ArtifactError when they do not fit."""
    weights = {k: v for k, v in tensors.items() if not k.startswith(BESIDE)}
    try:
        model.load_state_dict(weights)
    except RuntimeError as error:
        reason = " ".join(str(error).split())[:200]
        raise ArtifactError(f"the weights do not fit the model ({reason}); train again") from None


@torch.no_grad()
def not_finite(model: nn.Module) -> str | None:
    """The name of the first parameter, or statistic of a norm, that holds NaN or infinity.

    Other buffers are constants of the model's own: a mask may hold -inf. The host waits once.
    """
    held = chain(model.named_parameters(), model.named_buffers())
    learned = {
        name: value
        for name, value in held
        if value.is_floating_point()
        and (isinstance(value, nn.Parameter) or name.endswith(STATISTICS))
    }
    if not learned:
        return None
    device = next(iter(learned.values())).device
    finite = torch.stack([value.isfinite().all().to(device) for value in learned.values()])
    return next(
        (name for name, fine in zip(learned, finite.tolist(), strict=True) if not fine), None
    )
