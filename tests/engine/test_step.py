"""The optimizer of every step against PyTorch's own."""

import torch

from stkit import models
from stkit.engine import step
from stkit.recipes.frames import Phase


def test_sgd_is_pytorchs_to_the_last_bit():
    """By layers, each with its rate, over steps whose gradients are told."""
    nets = [models.create("small", classes=3, size=8) for _ in range(2)]
    layers = models.layers(nets[0], 8)
    named = dict(nets[1].named_parameters())
    groups = [{"params": [named[name] for name in layer]} for layer in layers]
    phase = Phase(lr=0.1, momentum=0.9, weight_decay=5e-4)
    ours = step.optimizer(nets[0], layers, phase)
    theirs = torch.optim.SGD(groups, lr=0.1, momentum=0.9, weight_decay=5e-4, fused=True)
    scales = [1 / (1 + i) for i in range(len(layers))]
    for number in range(3):
        step.set_lr(ours, 0.1 / (1 + number), scales)
        for group, scale in zip(theirs.param_groups, scales, strict=True):
            group["lr"] = torch.tensor(0.1 / (1 + number) * scale)
        for one, other in zip(nets[0].parameters(), nets[1].parameters(), strict=True):
            one.grad = torch.randn(one.shape)
            other.grad = one.grad.clone()
        ours.step()
        theirs.step()
        for one, other in zip(nets[0].parameters(), nets[1].parameters(), strict=True):
            assert torch.equal(one, other)
    assert torch.is_grad_enabled() and isinstance(ours, torch.optim.Optimizer)
    ours.zero_grad()
    assert all(parameter.grad is None for parameter in nets[0].parameters())
