"""SSIM against the paper's formulas in plain loops, and where it is known in closed form."""

import pytest
import torch

import reference
from stkit.core.rng import stream
from stkit.measure import similarity
from stkit.measure.similarity import C1, ssim


def pixels(*shape: int, seed: int) -> torch.Tensor:
    return torch.randint(0, 256, shape, generator=stream(seed, "test")).byte()


def test_ssim_is_the_plain_loops(monkeypatch):
    """Of each channel, averaged; the images in blocks."""
    monkeypatch.setattr(similarity, "VALUES", 1)
    a = pixels(2, 3, 13, 12, seed=0)
    b = (a.int() + pixels(2, 3, 13, 12, seed=1) // 8).clamp(0, 255).byte()
    planes = zip((a.double() / 255).flatten(0, 1), (b.double() / 255).flatten(0, 1), strict=True)
    each = [reference.ssim(x.tolist(), y.tolist()) for x, y in planes]
    wanted = [sum(each[:3]) / 3, sum(each[3:]) / 3]
    torch.testing.assert_close(ssim(a, b), torch.tensor(wanted).double(), atol=1e-6, rtol=0)
    assert ssim(a, a).tolist() == pytest.approx([1, 1]) and (ssim(a, b) < 1).all()


@pytest.mark.parametrize("side", [4, 11, 20])
def test_ssim_of_flat_images(side):
    """There it is the luminance alone; images may be smaller than the window."""
    a, b = (torch.full((1, 3, side, side), grey, dtype=torch.uint8) for grey in (51, 102))
    assert float(ssim(a, b)) == pytest.approx((2 * 0.2 * 0.4 + C1) / (0.2**2 + 0.4**2 + C1))
