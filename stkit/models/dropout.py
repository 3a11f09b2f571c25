"""Dropout on the input of a model's classifier, put there and taken away without a new model.

Srivastava et al. 2014; the ST paper's Table 5 has it with probability 0.5 and does not say where:
a ResNet-18 has one place for it, before the last linear layer. As a hook it is not in the file, and
it acts in training mode only, so not while ACM or accuracy is measured. It draws from torch's own
generator, as the dropout layers of other models do.
"""

from weakref import WeakKeyDictionary

import torch.nn.functional as F
from torch import Tensor, nn
from torch.utils.hooks import RemovableHandle

from stkit.models.activations import classifiers

_placed: WeakKeyDictionary[nn.Module, RemovableHandle] = WeakKeyDictionary()


def put(model: nn.Module, probability: float) -> None:
    """From now on drop each number of the classifier's input [N,D] with this probability.

    It takes the place of what an earlier call put there; 0 takes it away.
    """

    def drop(module: nn.Module, args: tuple[Tensor]) -> tuple[Tensor]:
        return (F.dropout(args[0], probability, module.training),)

    for head in classifiers(model):
        if head in _placed:
            _placed.pop(head).remove()
        if probability > 0:
            _placed[head] = head.register_forward_pre_hook(drop)
