"""What was done to a published data set: its difference from the clean one, as reviewers ask it.

The perturbation is what is left after rounding and clipping, so these are norms actually applied.
"""

import math
from dataclasses import dataclass

import torch
from torch import Tensor

from stkit.data.images import Images
from stkit.data.perturbation import matching
from stkit.measure.separability import separability


@dataclass(frozen=True)
class Comparison:
    """What was done to images. Norms are on the [0,1] scale, PSNR in dB.

    linf, l0_max (pixels): the largest over images. l2_mean, psnr: over the poisoned images.
    poisoned_share: of images that differ. class_wise: one perturbation, or one set of replaced
    pixels, serves each class. aligned: labels agree and each image is nearer to its own clean
    image than to another one. linear_separability: of the poisoned images, see `separability`.
    """

    linf: float
    l2_mean: float
    l0_max: int
    psnr: float
    poisoned_share: float
    class_wise: bool
    aligned: bool
    linear_separability: float | None

    def __repr__(self) -> str:
        return (
            f"Comparison(linf {self.linf:.4g}, l2 {self.l2_mean:.4g}, l0 {self.l0_max}, "
            f"{self.poisoned_share:.1%} poisoned)"
        )


def compare(poisoned: Images, clean: Images) -> Comparison:
    """What was done to the clean images, rows matched by `index`.

    DataError when the two do not belong together.

        compare(poison(images, SP()), images).psnr
    """
    original = clean.rows(matching(poisoned, clean))
    changed, squares, linf, l0 = _norms(poisoned.pixels, original.pixels)
    rows = changed.nonzero().flatten()
    values = squares[rows].sum().item() / max(1, len(rows) * poisoned.pixels[0].numel())
    noisy, plain = poisoned.rows(rows), original.rows(rows)
    return Comparison(
        linf=linf / 255,
        l2_mean=squares[rows].sqrt().mean().item() / 255 if len(rows) else 0.0,
        l0_max=l0,
        psnr=10 * math.log10(255**2 / values) if values else math.inf,
        poisoned_share=len(rows) / len(poisoned),
        class_wise=bool(len(rows)) and class_wise(noisy, plain),
        aligned=torch.equal(poisoned.labels, original.labels)
        and _nearest_is_own(noisy.pixels, plain.pixels),
        linear_separability=separability(noisy, plain),
    )


def _norms(a: Tensor, b: Tensor) -> tuple[Tensor, Tensor, int, int]:
    """Which rows differ, their squared L2 (grey levels), the largest L-inf and L0 (pixels)."""
    changed, squares, linf, l0 = [], [], 0, 0
    for x, y in zip(torch.split(a, 1024), torch.split(b, 1024), strict=True):
        delta = x.short() - y.short()
        squares.append(delta.double().square().flatten(1).sum(1))
        linf = max(linf, int(delta.abs().max()))
        pixels = (delta != 0).any(1).flatten(1).sum(1)
        changed.append(pixels > 0)
        l0 = max(l0, int(pixels.max()))
    return torch.cat(changed), torch.cat(squares), linf, l0


def class_wise(noisy: Images, plain: Images) -> bool:
    """Whether each class has one noise (before clipping), or one set of replaced pixels.

    Clipping only shrinks a perturbation, so a class's noise is the largest seen at each value.
    """
    for label in sorted(set(noisy.labels.tolist())):
        rows = (noisy.labels == label).nonzero().flatten()
        if len(rows) < 2:
            continue
        x, y = plain.pixels[rows].short(), noisy.pixels[rows].short()
        delta = y - x
        common = delta.gather(0, delta.abs().argmax(0, keepdim=True))[0]
        same = ((x + common).clamp(0, 255) == y).float().mean() > 0.999
        replaced = torch.where((delta != 0).any(0), y, 0)
        if not same and not bool((replaced == replaced[0]).all()):
            return False
    return True


def _nearest_is_own(noisy: Tensor, plain: Tensor) -> bool:
    """Whether images are nearer to their own clean image than to another, in most cases."""
    if len(noisy) < 2:
        return True
    some = slice(0, 2000)
    x, own = noisy[some].float(), plain[some].float()
    other = own.roll(1, 0)
    near = (x - own).flatten(1).norm(dim=1) <= (x - other).flatten(1).norm(dim=1)
    return bool(near.float().mean() > 0.9)
