"""DenseNet-121 for 32x32 (Huang et al. 2017), as EM's code and APBench have it: a 3x3 stem without
norm or pooling, growth 32, 6 + 12 + 24 + 16 layers, compression 0.5. (REM's keeps the 224 px stem.)

Parameter names are torchvision's, initial weights PyTorch's defaults.
"""

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from stkit.core.errors import RecipeError

GROWTH = 32
BLOCKS = (6, 12, 24, 16)


class DenseLayer(nn.Module):
    """A 1x1 convolution to 4 * GROWTH channels, a 3x3 to GROWTH, appended to the input."""

    def __init__(self, inside: int) -> None:
        super().__init__()
        self.norm1 = nn.BatchNorm2d(inside)
        self.conv1 = nn.Conv2d(inside, 4 * GROWTH, 1, bias=False)
        self.norm2 = nn.BatchNorm2d(4 * GROWTH)
        self.conv2 = nn.Conv2d(4 * GROWTH, GROWTH, 3, 1, 1, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        """The output for a batch."""
        new = self.conv2(F.relu(self.norm2(self.conv1(F.relu(self.norm1(x))))))
        return torch.cat((x, new), 1)


class Transition(nn.Module):
    """Half the channels, half the side."""

    def __init__(self, inside: int) -> None:
        super().__init__()
        self.norm = nn.BatchNorm2d(inside)
        self.conv = nn.Conv2d(inside, inside // 2, 1, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        """The output for a batch."""
        return F.avg_pool2d(self.conv(F.relu(self.norm(x))), 2)


class DenseNet(nn.Module):
    """A stem, four blocks with transitions between them, a norm, average pooling, a classifier."""

    def __init__(self, classes: int) -> None:
        super().__init__()
        self.features = nn.Sequential()
        self.features.add_module("conv0", nn.Conv2d(3, 2 * GROWTH, 3, 1, 1, bias=False))
        inside = 2 * GROWTH
        for i, count in enumerate(BLOCKS, 1):
            block = nn.Sequential()
            for j in range(1, count + 1):
                block.add_module(f"denselayer{j}", DenseLayer(inside))
                inside += GROWTH
            self.features.add_module(f"denseblock{i}", block)
            if i < len(BLOCKS):
                self.features.add_module(f"transition{i}", Transition(inside))
                inside //= 2
        self.features.add_module("norm5", nn.BatchNorm2d(inside))
        self.classifier = nn.Linear(inside, classes)

    def forward(self, x: Tensor) -> Tensor:
        """The output for a batch."""
        x = F.relu(self.features(x))
        logits: Tensor = self.classifier(F.adaptive_avg_pool2d(x, 1).flatten(1))
        return logits


def densenet121(classes: int, size: int) -> nn.Module:
    """DenseNet-121. RecipeError below 8 pixels."""
    if size < 8:
        raise RecipeError(
            f"images are {size}x{size} pixels, model densenet121 halves them three times and needs "
            "8 or more; enlarge them with `stkit data --size 32` or pass another --model"
        )
    return DenseNet(classes)
