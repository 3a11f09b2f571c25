"""Preparations against PIL and plain loops: 8-bit in, 8-bit out, the same whatever the blocks."""

import io
import math

import numpy as np
import pytest
import torch
from PIL import Image, ImageOps
from torch import Tensor

from stkit.core.errors import DataError, RecipeError
from stkit.core.rng import stream
from stkit.data.images import Images
from stkit.data.prepare import KINDS
from stkit.data.prepare import prepare as prepared
from stkit.recipes.carried import PREPARATIONS


def images(count: int = 12, size: int = 16, classes: int = 3) -> Images:
    """Smooth random pictures, as JPEG likes them, and one of noise."""
    coarse = torch.rand(count, 3, 4, 4, generator=stream(0, "coarse"))
    pixels = torch.nn.functional.interpolate(coarse, (size, size), mode="bicubic")
    pixels[0] = torch.rand(3, size, size, generator=stream(0, "noise"))
    labels = torch.arange(count) % classes
    head = {"classes": [str(c) for c in range(classes)], "digest": "known"}
    return Images((pixels.clamp(0, 1) * 255).round().to(torch.uint8), labels, labels, head)


def pictures(found: Images) -> list[Image.Image]:
    return [Image.fromarray(row.permute(1, 2, 0).numpy()) for row in found.pixels]


def stacked(rows: list[Image.Image]) -> Tensor:
    return torch.stack([torch.from_numpy(np.array(row)).permute(2, 0, 1) for row in rows])


def test_gray_is_pils() -> None:
    poisoned = images()
    wanted = stacked([row.convert("L").convert("RGB") for row in pictures(poisoned)])
    assert torch.equal(prepared(poisoned, ("gray",)).pixels, wanted)


@pytest.mark.parametrize("bits", [1, 2, 5, 8])
def test_bdr_is_pils_posterize(bits: int) -> None:
    poisoned = images()
    wanted = stacked([ImageOps.posterize(row, bits) for row in pictures(poisoned)])
    assert torch.equal(prepared(poisoned, (f"bdr-{bits}",)).pixels, wanted)
    if bits == 2:
        assert torch.equal(prepared(poisoned, ("bdr",)).pixels, wanted)
        assert set(wanted.unique().tolist()) == {0, 64, 128, 192}


@pytest.mark.parametrize("size", [1, 7, 16, 40])
def test_equalize_is_pils(size: int) -> None:
    """With an image of one colour, of two levels, of a few dark ones, and one that is even."""
    poisoned = images(size=size)
    generator = stream(0, "levels")
    poisoned.pixels[1] = 7
    poisoned.pixels[2] = 200 * torch.randint(0, 2, (3, size, size), generator=generator)
    poisoned.pixels[3] = 255 * torch.rand(3, size, size, generator=generator) ** 8
    poisoned.pixels[4] = torch.arange(size * size).view(size, size) % 256
    wanted = stacked([ImageOps.equalize(row) for row in pictures(poisoned)])
    assert torch.equal(prepared(poisoned, ("equalize",)).pixels, wanted)


@pytest.mark.parametrize("quality", [10, 50, 90])
def test_jpeg_is_pils(quality: int) -> None:
    """PIL and torchvision bring libjpegs of their own: equal but for a level here and there."""
    poisoned = images()
    rows = []
    for row in pictures(poisoned):
        file = io.BytesIO()
        row.save(file, "JPEG", quality=quality)
        rows.append(Image.open(file))
    found = prepared(poisoned, (f"jpeg-{quality}",)).pixels.int()
    difference = (found - stacked(rows).int()).abs()
    assert difference.max() <= 1 and (difference > 0).float().mean() < 0.01
    if quality == 10:
        assert torch.equal(prepared(poisoned, ("jpeg",)).pixels.int(), found)


@pytest.mark.parametrize(("name", "sigma"), [("gauss", 1.5), ("gauss-15", 1.5), ("gauss-8", 0.8)])
def test_gauss_is_a_blur_over_five_pixels(name: str, sigma: float) -> None:
    poisoned = images(count=2, size=7)
    weights = [math.exp(-((i - 2) ** 2) / (2 * sigma**2)) for i in range(5)]
    weights = [w / sum(weights) for w in weights]
    found = prepared(poisoned, (name,)).pixels
    for k, image in enumerate(poisoned.pixels.tolist()):
        for c in range(3):
            for y in range(7):
                for x in range(7):
                    total = 0.0
                    for i, wy in enumerate(weights):
                        for j, wx in enumerate(weights):
                            v, u = abs(y + i - 2), abs(x + j - 2)  # mirrored, border not repeated
                            v, u = (12 - q if q > 6 else q for q in (v, u))
                            total += wy * wx * image[c][v][u]
                    assert abs(int(found[k, c, y, x]) - total) <= 0.5 + 1e-3


@pytest.mark.parametrize("size", [1, 2])
def test_gauss_needs_a_border_to_mirror(size: int) -> None:
    with pytest.raises(DataError, match=f"gauss: found images of {size}x{size}, expected 3x3"):
        prepared(images(size=size), ("gauss",))
    assert prepared(images(size=3), ("gauss",)).size == 3


def test_a_mirror_exchanges_left_and_right() -> None:
    poisoned = images(count=2, size=5)
    assert torch.equal(
        prepared(poisoned, ("mirror",)).pixels, poisoned.pixels[..., [4, 3, 2, 1, 0]]
    )


def test_every_preparation_that_can_be_named_is_made() -> None:
    assert KINDS.keys() == PREPARATIONS.keys()


@pytest.mark.parametrize(
    "name", ["gray", "jpeg-30", "bdr", "gauss", "equalize", "orthogonal-2", "swap"]
)
def test_blocks_and_files_change_nothing(name: str) -> None:
    poisoned = images()
    whole = prepared(poisoned, (name,))
    assert whole.pixels.dtype == torch.uint8 and whole.pixels.shape == poisoned.pixels.shape
    assert not torch.equal(whole.pixels, poisoned.pixels)
    block = 5 * poisoned.pixels[0].numel()
    for changed in (
        prepared(poisoned, (name,), block=block),
        prepared(poisoned, (name, "bdr-8"), memory=0),
    ):
        assert torch.equal(changed.pixels, whole.pixels)


def test_preparations_are_made_in_their_order_and_leave_the_given_set_alone() -> None:
    poisoned = images()
    before = poisoned.pixels.clone()
    both = prepared(poisoned, ("gray", "jpeg"))
    assert torch.equal(both.pixels, prepared(prepared(poisoned, ("gray",)), ("jpeg",)).pixels)
    assert not torch.equal(both.pixels, prepared(poisoned, ("jpeg", "gray")).pixels)
    assert torch.equal(poisoned.pixels, before)
    assert both.header == {**poisoned.header, "digest": ""}
    assert torch.equal(both.labels, poisoned.labels)
    assert prepared(poisoned, ()) is poisoned


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("grey", "did you mean 'gray'"),
        ("jpeg-0", "jpeg is 0, expected a number from 1 to 100"),
        ("jpeg-x", "expected jpeg-N with a whole number N"),
        ("jpeg-", "expected jpeg-N"),
        ("bdr-9", "bdr is 9, expected a number from 1 to 8"),
        ("orthogonal-0", "orthogonal is 0, expected a number from 1 to 10"),
        ("swap-11", "swap is 11, expected a number from 1 to 10"),
        ("gray-2", "gray takes no number"),
        ("cutout", "unknown preparation 'cutout'"),
    ],
)
def test_what_is_no_preparation(name: str, message: str) -> None:
    with pytest.raises(RecipeError, match=message):
        prepared(images(), (name,))


@pytest.mark.parametrize("kind", KINDS)
def test_threads_change_no_pixel(kind: str) -> None:
    """On a GPU no header says how many the CPU had, which prepares there too."""
    poisoned, before, found = images(600, 32, 10), torch.get_num_threads(), []
    for count in (1, 2, 3):
        torch.set_num_threads(count)
        try:
            found.append(prepared(poisoned, (kind,)).pixels)
            assert torch.get_num_threads() == count
        finally:
            torch.set_num_threads(before)
    assert torch.equal(found[0], found[1]) and torch.equal(found[0], found[2])
