"""ResNets for 32x32 (He et al. 2016, as all authors of this field use them): 3x3 stem, no max-pool.

Parameter names are torchvision's, initial weights are PyTorch's defaults as in the authors' codes.
"""

from collections.abc import Sequence

import torch.nn.functional as F
from torch import Tensor, nn


def shortcut(inside: int, outside: int, stride: int) -> nn.Module:
    """Identity, or a projection by 1x1 where the shape changes."""
    if stride == 1 and inside == outside:
        return nn.Identity()
    return nn.Sequential(nn.Conv2d(inside, outside, 1, stride, bias=False), nn.BatchNorm2d(outside))


class BasicBlock(nn.Module):
    """Two 3x3 convolutions and a shortcut."""

    expansion = 1

    def __init__(self, inside: int, width: int, stride: int) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(inside, width, 3, stride, 1, bias=False)
        self.bn1 = nn.BatchNorm2d(width)
        self.conv2 = nn.Conv2d(width, width, 3, 1, 1, bias=False)
        self.bn2 = nn.BatchNorm2d(width)
        self.downsample = shortcut(inside, width, stride)

    def forward(self, x: Tensor) -> Tensor:
        """The output for a batch."""
        out = F.relu(self.bn1(self.conv1(x)))
        return F.relu(self.bn2(self.conv2(out)) + self.downsample(x))


class Bottleneck(nn.Module):
    """1x1, 3x3 (which has the stride) and 1x1 to four times the width, and a shortcut."""

    expansion = 4

    def __init__(self, inside: int, width: int, stride: int) -> None:
        super().__init__()
        outside = self.expansion * width
        self.conv1 = nn.Conv2d(inside, width, 1, bias=False)
        self.bn1 = nn.BatchNorm2d(width)
        self.conv2 = nn.Conv2d(width, width, 3, stride, 1, bias=False)
        self.bn2 = nn.BatchNorm2d(width)
        self.conv3 = nn.Conv2d(width, outside, 1, bias=False)
        self.bn3 = nn.BatchNorm2d(outside)
        self.downsample = shortcut(inside, outside, stride)

    def forward(self, x: Tensor) -> Tensor:
        """The output for a batch."""
        out = F.relu(self.bn1(self.conv1(x)))
        out = F.relu(self.bn2(self.conv2(out)))
        return F.relu(self.bn3(self.conv3(out)) + self.downsample(x))


class ResNet(nn.Module):
    """A stem, four groups of blocks, global average pooling and a linear classifier."""

    def __init__(
        self,
        block: type[BasicBlock] | type[Bottleneck],
        widths: Sequence[int],
        blocks: Sequence[int],
        strides: Sequence[int],
        classes: int,
    ) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(3, widths[0], 3, 1, 1, bias=False)
        self.bn1 = nn.BatchNorm2d(widths[0])
        inside = widths[0]
        for i, (width, count, stride) in enumerate(zip(widths, blocks, strides, strict=True), 1):
            group = []
            for step in (stride,) + (1,) * (count - 1):
                group.append(block(inside, width, step))
                inside = width * block.expansion
            setattr(self, f"layer{i}", nn.Sequential(*group))
        self.fc = nn.Linear(inside, classes)

    def forward(self, x: Tensor) -> Tensor:
        """The output for a batch."""
        x = F.relu(self.bn1(self.conv1(x)))
        for i in (1, 2, 3, 4):
            x = self.get_submodule(f"layer{i}")(x)
        logits: Tensor = self.fc(F.adaptive_avg_pool2d(x, 1).flatten(1))
        return logits


def resnet18(classes: int, size: int) -> nn.Module:
    """ResNet-18."""
    return ResNet(BasicBlock, (64, 128, 256, 512), (2, 2, 2, 2), (1, 2, 2, 2), classes)


def resnet50(classes: int, size: int) -> nn.Module:
    """ResNet-50."""
    return ResNet(Bottleneck, (64, 128, 256, 512), (3, 4, 6, 3), (1, 2, 2, 2), classes)


def small(classes: int, size: int) -> nn.Module:
    """A thin ResNet-10 for laptops, demo and tests: about a second an epoch."""
    return ResNet(BasicBlock, (16, 32, 64, 128), (1, 1, 1, 1), (2, 2, 2, 2), classes)
