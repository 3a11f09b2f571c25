"""Weights of a file put into a model."""

from torch import Tensor, nn

from stkit.core.errors import ArtifactError

BESIDE = ("optimizer/", "trusted/")  # what an unfinished checkpoint holds besides the model


def fill(model: nn.Module, tensors: dict[str, Tensor]) -> None:
    """Put the weights of a file into the model; ArtifactError when they do not fit."""
    weights = {k: v for k, v in tensors.items() if not k.startswith(BESIDE)}
    try:
        model.load_state_dict(weights)
    except RuntimeError as error:
        reason = " ".join(str(error).split())[:200]
        raise ArtifactError(f"the weights do not fit the model ({reason}); train again") from None
