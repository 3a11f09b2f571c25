"""What a roll-back concerns: the model's tensors and its optimizer's, by their names in files."""

from collections.abc import Iterator, Mapping, Sequence

import torch
from torch import Tensor, nn

MOMENTUM = "optimizer/"  # before a parameter's name


def states(
    model: nn.Module, optimizer: torch.optim.Optimizer
) -> Iterator[tuple[nn.Parameter, Sequence[tuple[str, Tensor]]]]:
    """Each parameter with the tensors of its state in the optimizer, by their names."""
    for name, parameter in model.named_parameters():
        yield (
            parameter,
            [
                (f"{MOMENTUM}{name}" + ("" if key == "momentum_buffer" else f"/{key}"), value)
                for key, value in optimizer.state.get(parameter, {}).items()
                if isinstance(value, Tensor)
            ],
        )


def live(model: nn.Module, optimizer: torch.optim.Optimizer) -> dict[str, Tensor]:
    """The tensors that a roll-back concerns, themselves: the `state_dict`, the optimizer's state.

    Momentum is called `optimizer/PARAMETER`, any other state `optimizer/PARAMETER/KEY`.
    """
    weights = {k: v for k, v in model.state_dict().items() if isinstance(v, Tensor)}
    state = {name: tensor for _, named in states(model, optimizer) for name, tensor in named}
    return weights | state


@torch.no_grad()
def copy(source: Mapping[str, Tensor], target: Mapping[str, Tensor]) -> None:
    """Each tensor of the source into the target's of the same name."""
    for name, value in source.items():
        target[name].copy_(value)
