"""Wide ResNets (Zagoruyko and Komodakis 2016): pre-activation, no biases in convolutions, no
dropout. Canonical, so neither OPS's (biases, another BatchNorm momentum) nor REM's (post-activation
blocks). Initial weights are those of the paper's code.
"""

import torch.nn.functional as F
from torch import Tensor, nn

from stkit.models.conv import Conv2d


class Block(nn.Module):
    """Norm, ReLU and a 3x3 convolution, twice. A projection starts after the first ReLU."""

    def __init__(self, inside: int, width: int, stride: int) -> None:
        super().__init__()
        self.bn1 = nn.BatchNorm2d(inside)
        self.conv1 = Conv2d(inside, width, 3, stride, 1, bias=False)
        self.bn2 = nn.BatchNorm2d(width)
        self.conv2 = Conv2d(width, width, 3, 1, 1, bias=False)
        self.shortcut: Conv2d | None = None
        if stride != 1 or inside != width:
            self.shortcut = Conv2d(inside, width, 1, stride, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        """The output for a batch."""
        active = F.relu(self.bn1(x))
        out: Tensor = self.conv2(F.relu(self.bn2(self.conv1(active))))
        return out + (x if self.shortcut is None else self.shortcut(active))


class WideResNet(nn.Module):
    """A stem, three groups of (depth - 4) / 6 blocks, a norm, average pooling and a classifier."""

    def __init__(self, depth: int, factor: int, classes: int) -> None:
        super().__init__()
        self.conv1 = Conv2d(3, 16, 3, 1, 1, bias=False)
        inside = 16
        for i, width in enumerate((16 * factor, 32 * factor, 64 * factor), 1):
            group = []
            for j in range((depth - 4) // 6):
                group.append(Block(inside, width, 2 if i > 1 and j == 0 else 1))
                inside = width
            setattr(self, f"group{i}", nn.Sequential(*group))
        self.bn = nn.BatchNorm2d(inside)
        self.fc = nn.Linear(inside, classes)
        nn.init.zeros_(self.fc.bias)

    def forward(self, x: Tensor) -> Tensor:
        """The output for a batch."""
        x = self.conv1(x)
        for i in (1, 2, 3):
            x = self.get_submodule(f"group{i}")(x)
        x = F.adaptive_avg_pool2d(F.relu(self.bn(x)), 1).flatten(1)
        logits: Tensor = self.fc(x)
        return logits


def wrn_28_10(classes: int, size: int) -> nn.Module:
    """WRN-28-10, at any image size."""
    return WideResNet(28, 10, classes)


def wrn_34_10(classes: int, size: int) -> nn.Module:
    """WRN-34-10, at any image size."""
    return WideResNet(34, 10, classes)
