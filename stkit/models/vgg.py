"""VGG-16 with BatchNorm for 32x32 (Simonyan and Zisserman 2015, configuration D), as REM's and
OPS's codes have it: a classifier of two hidden layers of 512 behind dropout.

Five poolings need 32 pixels or more; what is left of more than 32 is averaged.
"""

import torch.nn.functional as F
from torch import Tensor, nn

from stkit.core.errors import RecipeError
from stkit.models.conv import Conv2d

STAGES = ((64, 2), (128, 2), (256, 3), (512, 3), (512, 3))
"""Width and number of convolutions before each pooling."""


class VGG(nn.Module):
    """Parameter names are torchvision's (`features` loads into its vgg16_bn)."""

    def __init__(self, classes: int) -> None:
        super().__init__()
        modules: list[nn.Module] = []
        inside = 3
        for width, count in STAGES:
            for _ in range(count):
                modules += [Conv2d(inside, width, 3, 1, 1), nn.BatchNorm2d(width), nn.ReLU()]
                inside = width
            modules.append(nn.MaxPool2d(2))
        self.features = nn.Sequential(*modules)
        self.classifier = nn.Sequential(
            nn.Dropout(), nn.Linear(512, 512), nn.ReLU(),
            nn.Dropout(), nn.Linear(512, 512), nn.ReLU(),
            nn.Linear(512, classes),
        )  # fmt: skip

    def forward(self, x: Tensor) -> Tensor:
        """The output for a batch."""
        x = F.adaptive_avg_pool2d(self.features(x), 1).flatten(1)
        logits: Tensor = self.classifier(x)
        return logits


def vgg16_bn(classes: int, size: int) -> nn.Module:
    """VGG-16-BN. RecipeError below 32 pixels."""
    if size < 32:
        raise RecipeError(
            f"images are {size}x{size} pixels, model vgg16-bn halves them five times and needs 32 "
            "or more; enlarge them with `stkit data --size 32` or pass another --model"
        )
    return VGG(classes)
