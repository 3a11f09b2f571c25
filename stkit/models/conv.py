"""The convolution of VGG and of the wide ResNets, which begins as in their authors' codes."""

import math

from torch import nn


class Conv2d(nn.Conv2d):
    """Weights begin as N(0, 2 / (k k out)) (He et al. 2015, fan out), a bias as zero."""

    def reset_parameters(self) -> None:
        """Draw the weights anew."""
        fan_out = self.out_channels * math.prod(self.kernel_size)
        nn.init.normal_(self.weight, std=math.sqrt(2 / fan_out))
        if self.bias is not None:
            nn.init.zeros_(self.bias)
