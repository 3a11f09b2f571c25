"""Augmentation against torchvision and literal transcriptions, image by image."""

from dataclasses import replace

import pytest
import torch
from torch import Tensor
from torchvision.transforms import RandomResizedCrop
from torchvision.transforms import functional as tv

import reference
from stkit.core.errors import RecipeError
from stkit.core.rng import stream
from stkit.engine import augment
from stkit.engine.augment import COLUMNS, Draws, apply, draw
from stkit.recipes.carried import CG

TORCHVISION = (
    tv.adjust_brightness,
    tv.adjust_contrast,
    tv.adjust_saturation,
    tv.adjust_hue,
)


def pixels(count: int, size: int, dtype: torch.dtype = torch.float32) -> Tensor:
    """8-bit images with the cases that are hard for a hue: greys, faces of the cube, ties."""
    levels = torch.randint(0, 256, (count, 3, size, size), generator=stream(0, "pixels"))
    levels[1::7] = levels[1::7, :1]  # grey
    levels[2::7] = (levels[2::7] > 127) * 255  # corners of the cube
    levels[3::7, 1] = levels[3::7, 0]  # two channels tie
    levels[4::7] = levels[4::7, :1] + (levels[4::7] > 200) * (levels[4::7, :1] < 255)  # near grey
    levels[5::7] = levels[5::7] // 128  # near black
    return levels.to(dtype) / 255


def extreme(draws: Draws) -> Draws:
    """Every second image's hue turned by up to half a circle, and exactly half in some."""
    table = draws.table.clone()
    table[::2, COLUMNS["hue"]] *= 5
    table[::10, COLUMNS["hue"]] = 0.5
    table[4::10, COLUMNS["hue"]] = -0.5
    return replace(draws, table=table)


def jittered(names: tuple[str, ...], count: int, size: int, seed: int) -> Draws:
    draws = extreme(draw(names, count, size, stream(seed, "augment")))
    draws.table[:, COLUMNS["jitter"]] = 1
    return draws


@pytest.mark.parametrize("names", [("crop",), ("flip",), ("crop", "flip")])
def test_crop_and_flip_equal_the_transcription(names: tuple[str, ...]) -> None:
    images = pixels(40, 8, torch.float64) * 255  # REM's scale
    draws = draw(names, 40, 8, stream(0, "augment"))
    found = apply(images, draws)
    for k, image in enumerate(images):
        top, left = (int(draws[name][k]) if "crop" in names else 4 for name in ("top", "left"))
        flip = "flip" in names and bool(draws["flip"][k])
        assert found[k].tolist() == reference.crop_flip(image.tolist(), top, left, flip)


@pytest.mark.parametrize("dtype, tolerance", [(torch.float32, 1e-6), (torch.float64, 1e-13)])
def test_jitter_equals_the_transcription(dtype: torch.dtype, tolerance: float) -> None:
    images, draws = pixels(300, 4, dtype), jittered(("jitter",), 300, 4, seed=1)
    found = apply(images, draws)
    assert found.dtype == dtype and found.min() >= 0 and found.max() <= 1
    for k, image in enumerate(images.double()):
        slow = reference.jitter(
            image.flatten(1).T.tolist(), draws["order"][k].tolist(),
            *draws["factors"][k].double().tolist(), draws["hue"][k].double().item(),
        )  # fmt: skip
        wanted = torch.tensor(slow, dtype=torch.float64).T.view_as(image)
        torch.testing.assert_close(found[k].double(), wanted, rtol=0, atol=tolerance)


def test_all_of_cg_equals_torchvision_image_by_image() -> None:
    """To 3e-6: in float32 torchvision itself is up to 1.5e-6 from the exact values, ours 0.9e-6."""
    images, draws = pixels(300, 8), jittered(CG, 300, 8, seed=2)
    draws.table[::3, COLUMNS["jitter"]] = 0
    found = apply(images, draws)
    for k, image in enumerate(images):
        row = {name: draws[name][k].tolist() for name in COLUMNS}
        image = tv.crop(tv.pad(image, [4]), int(row["top"][0]), int(row["left"][0]), 8, 8)
        image = tv.hflip(image) if row["flip"][0] else image
        for operation in row["order"] if row["jitter"][0] else ():
            factor = (*row["factors"], *row["hue"])[int(operation)]
            image = TORCHVISION[int(operation)](image, factor)
        image = tv.rgb_to_grayscale(image, 3) if row["grey"][0] else image
        torch.testing.assert_close(found[k], image, rtol=0, atol=3e-6)


def test_what_the_draw_leaves_out_keeps_its_bits() -> None:
    images = torch.rand(200, 3, 8, 8, generator=stream(0, "images"))
    draws = draw(("jitter", "grey"), 200, 8, stream(0, "augment"))
    found = apply(images, draws)
    out = (draws["jitter"] + draws["grey"]).flatten() == 0
    assert 10 < out.sum() < 60
    assert torch.equal(found[out], images[out])
    assert (found[~out] != images[~out]).flatten(1).any(1).all()
    grey = draws["grey"].flatten() == 1
    assert torch.equal(found[grey, 0], found[grey, 1])
    assert torch.equal(augment.augment(images, (), stream(0, "augment")), images)


def test_gradients_are_exact_and_finite() -> None:
    draws = jittered(CG, 4, 4, seed=3)
    draws.table[:, COLUMNS["grey"]] = torch.tensor([[0.0], [1], [0], [0]])
    images = 0.1 + 0.5 * torch.rand(
        4, 3, 4, 4, generator=stream(0, "images"), dtype=torch.float64
    )  # away from kinks
    assert torch.autograd.gradcheck(lambda x: apply(x, draws), images.requires_grad_())
    hard = torch.cat((pixels(200, 4), torch.zeros(10, 3, 4, 4), torch.ones(10, 3, 4, 4)))
    tiny = 1e-38 * torch.rand(40, 3, 4, 4, generator=stream(1, "images"))
    hard = torch.cat((hard, tiny, tiny * 1e8, tiny * 1e26)).requires_grad_()
    (gradient,) = torch.autograd.grad(
        apply(hard, jittered(CG, len(hard), 4, seed=4)).square().sum(), hard
    )
    assert gradient.isfinite().all() and gradient.abs().max() < 100


def test_draws_have_torchvisions_distributions() -> None:
    draws = draw(CG, 40000, 32, stream(0, "augment"))
    rates = {"flip": 0.5, "jitter": 0.8, "grey": 0.2}
    for name, rate in rates.items():
        assert set(draws[name].unique().tolist()) == {0, 1}
        assert abs(draws[name].mean() - rate) < 0.01
    for name in ("top", "left"):
        counts = draws[name].flatten().long().bincount() / 40000
        torch.testing.assert_close(counts, torch.full((9,), 1 / 9), rtol=0, atol=0.006)
    assert 0.6 <= draws["factors"].min() < 0.601 and 1.399 < draws["factors"].max() <= 1.4
    assert -0.1 <= draws["hue"].min() < -0.099 and 0.099 < draws["hue"].max() <= 0.1
    orders, counts = draws["order"].unique(dim=0, return_counts=True)
    assert len(orders) == 24 and (counts / 40000 - 1 / 24).abs().max() < 0.004
    columns = torch.cat([draws[n] for n in ("top", "left", "flip", "factors", "hue", "grey")], 1)
    assert (torch.corrcoef(columns.T) - torch.eye(8)).abs().max() < 0.03


def test_frames_share_crops_and_rows_can_be_taken() -> None:
    images = torch.rand(16, 3, 8, 8, generator=stream(0, "images"))
    nt = draw(("crop", "flip"), 16, 8, stream(5, "augment"))
    cg = draw(CG, 16, 8, stream(5, "augment"))
    assert torch.equal(nt.table, cg.table)
    part = apply(images[3:9], replace(cg, table=cg.table[3:9]))
    assert torch.equal(part, apply(images, cg)[3:9])
    assert torch.equal(augment.augment(images, CG, stream(5, "augment")), apply(images, cg))


def test_large_images_get_a_random_resized_crop() -> None:
    images = torch.rand(12, 3, 80, 80, generator=stream(0, "images"))
    draws = draw(("crop", "flip"), 12, 80, stream(0, "augment"))
    found = apply(images, draws)
    for k, image in enumerate(images):
        box = [int(draws[name][k]) for name in ("top", "left", "height", "width")]
        image = tv.resized_crop(image, *box, [80, 80], antialias=True)
        image = tv.hflip(image) if draws["flip"][k] else image
        torch.testing.assert_close(found[k], image, rtol=0, atol=5e-5)
    ramp = images.clone().requires_grad_()
    (gradient,) = torch.autograd.grad(apply(ramp, draws).sum(), ramp)
    torch.testing.assert_close(gradient.sum(), torch.tensor(float(images.numel())))


def test_boxes_of_the_resized_crop() -> None:
    draws = draw(("crop",), 20000, 224, stream(0, "augment"))
    top, left, height, width = draws.table[:, :4].unbind(1)
    assert top.min() >= 0 and left.min() >= 0 and height.min() >= 1 and width.min() >= 1
    assert (top + height).max() <= 224 and (left + width).max() <= 224
    assert (height / width).min() > 0.73 and (height / width).max() < 1.37
    with torch.random.fork_rng():
        torch.manual_seed(0)
        image = torch.empty(3, 224, 224)
        boxes = [
            RandomResizedCrop.get_params(image, [0.08, 1], [3 / 4, 4 / 3]) for _ in range(3000)
        ]
    theirs = torch.tensor(boxes, dtype=torch.float32)
    cuts = torch.linspace(0.05, 0.95, 19)
    for column, other in zip(draws.table[:, :4].T, theirs.T, strict=True):
        gap = column.quantile(cuts) - other.quantile(cuts)
        assert gap.abs().max() < 10  # of 224, some three standard errors


def test_an_unknown_name_is_a_recipe_error() -> None:
    with pytest.raises(RecipeError, match="did you mean 'flip'"):
        draw(("crop", "flop"), 4, 8, stream(0, "augment"))
