"""Staged training in a loop of one's own: plain PyTorch, and ten lines more (marked `# ST`).

    python examples/own_loop.py

Own net, own DataLoader, own optimizer. stkit gives the images, poisoned here with OPS; any tensors
would do. The lines marked make each layer a parameter group of the optimizer, set each layer's
share of the learning rate, and measure ACM once an epoch on a few images of the training set: above
gamma the epoch is taken back, and shallow layers learn more slowly from then on.
"""

import math

import torch
import torch.nn.functional as F
from torch import nn
from torch.utils.data import DataLoader, TensorDataset

from stkit import OPS, Staged, StagedTraining, layer_groups, load, poison  # ST


def block(inside: int, outside: int, stride: int) -> nn.Sequential:
    return nn.Sequential(
        nn.Conv2d(inside, outside, 3, stride, 1), nn.BatchNorm2d(outside), nn.ReLU()
    )


class Net(nn.Module):
    """Three convolutions and a linear layer: four layers to ST."""

    def __init__(self, classes: int) -> None:
        super().__init__()
        self.blocks = nn.Sequential(block(3, 16, 1), block(16, 32, 2), block(32, 64, 2))
        self.linear = nn.Linear(64, classes)

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        return self.linear(self.blocks(images).mean((2, 3)))


def main(epochs: int = 6, limit: int = 400, lr: float = 0.1) -> list[str]:
    torch.manual_seed(0)
    poisoned = poison(load("digits", limit=limit), OPS(), seed=0)
    images, labels = poisoned.pixels.float() / 255, poisoned.labels
    loader = DataLoader(TensorDataset(images, labels), batch_size=64, shuffle=True)

    net = Net(classes=10)
    groups = layer_groups(net, size=32)  # ST: in the place of net.parameters()
    optimizer = torch.optim.SGD(groups, lr=lr, momentum=0.9, weight_decay=1e-4)
    rows = torch.cat([(labels == label).nonzero()[:20, 0] for label in range(10)])  # ST
    settings = Staged(variant="ratio", gamma=0.3)  # ST: gamma 0.1 is the default
    staged = StagedTraining(net, optimizer, (images[rows], labels[rows]), settings)  # ST

    verdicts = []
    for epoch in range(1, epochs + 1):
        rate = lr / 2 * (1 + math.cos(math.pi * (epoch - 1) / epochs))
        staged.set_lr(rate)  # ST: each layer's share of it
        net.train()
        for batch, answers in loader:
            optimizer.zero_grad()
            loss = F.cross_entropy(net(batch), answers)
            loss.backward()
            optimizer.step()
        check = staged.check()  # ST: keeps, or rolls back
        verdicts.append(check.verdict.value)  # ST
        print(
            f"epoch {epoch}  loss {loss.item():.3f}  "
            f"ACM {check.acm['ratio']:.3f}  tau {check.tau}  {check.verdict.value}"
        )
    return verdicts


if __name__ == "__main__":
    main()
