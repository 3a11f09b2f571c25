"""EM's `.pt`: [K,3,H,W] where one noise a class gives just these images, else [N,3,H,W].

EM's readers multiply the noise, in [0,1] units, by 255 and truncate, in float32 or float64, before
or after adding it. float32(k/255) may lie below k/255 and would then lose a grey level, so
(k + HAIR)/255 is stored (0 stays 0): more than the rounding of any of them, and 5e-7 in [0,1]. The
EM authors' own loader drops negative noise, whoever wrote it, and TUE's clamps to TUE levels.
"""

from typing import TYPE_CHECKING, BinaryIO

from stkit.data.exporting.values import Exported, Format, Progress

if TYPE_CHECKING:
    from torch import Tensor

    from stkit.data.images import Images

HAIR = 2**-13  # of a grey level
TUE = 9  # grey levels, by `clamp_(-9, 9)` in its CIFAR loaders


def write(images: "Images", clean: "Images | None", file: BinaryIO, progress: Progress) -> Exported:
    """Class-wise noise where that is exact, else sample-wise."""
    import torch

    from stkit.core import locks
    from stkit.data.exporting import noise

    images, plain = noise.paired(images, clean)
    levels = noise.one_a_class(images, plain)
    values = torch.empty(plain.shape) if levels is None else unit(levels)
    most = 0 if levels is None else int(levels.abs().max())
    if levels is None:
        for rows in noise.slices(plain):
            delta = images.pixels[rows].short() - plain[rows]
            values[rows] = unit(delta)
            most = max(most, int(delta.abs().max()))
    with locks.uninterrupted():  # a signal inside torch.save would end as an error of its own
        torch.save(values, file)
    warning = (
        f"the noise goes up to {most} grey levels; TUE's reader clamps it to {TUE}, so its images "
        "are others, those of other readers are these"
    )
    scope = "sample" if levels is None else "class"
    return Exported(len(images), scope, warning if most > TUE else None)


def unit(levels: "Tensor") -> "Tensor":
    """Whole grey levels as float32 noise in [0,1] units, of which no reader loses one."""
    import torch

    return torch.where(levels == 0, 0.0, (levels.double() + HAIR) / 255).float()


FORMAT = Format("em", 20, "EM's .pt", write, noise=True)
