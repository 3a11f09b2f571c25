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
from stkit.engine.augment import KERNELS, Draws, apply, draw
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
    draws = replace(draws, table=draws.table.clone())
    hue = draws["jitter"]["hue"]  # a view of the table
    hue[::2] *= 5
    hue[::10] = 0.5
    hue[4::10] = -0.5
    return draws


def jittered(names: tuple[str, ...], count: int, size: int, seed: int) -> Draws:
    draws = extreme(draw(names, count, size, seed=seed))
    draws["jitter"]["on"][:] = 1
    return draws


@pytest.mark.parametrize("names", [("crop",), ("flip",), ("crop", "flip")])
def test_crop_and_flip_equal_the_transcription(names: tuple[str, ...]) -> None:
    images = pixels(40, 8, torch.float64) * 255  # REM's scale
    draws = draw(names, 40, 8, seed=0)
    found = apply(images, draws)
    for k, image in enumerate(images):
        top, left = (
            int(draws["crop"][name][k]) if "crop" in names else 4 for name in ("top", "left")
        )
        flip = "flip" in names and bool(draws["flip"]["on"][k])
        assert found[k].tolist() == reference.crop_flip(image.tolist(), top, left, flip)


@pytest.mark.parametrize(("dtype", "tolerance"), [(torch.float32, 1e-6), (torch.float64, 1e-13)])
def test_jitter_equals_the_transcription(dtype: torch.dtype, tolerance: float) -> None:
    images, draws = pixels(300, 4, dtype), jittered(("jitter",), 300, 4, seed=1)
    found, own = apply(images, draws), draws["jitter"]
    assert found.dtype == dtype and found.min() >= 0 and found.max() <= 1
    for k, image in enumerate(images.double()):
        slow = reference.jitter(
            image.flatten(1).T.tolist(), own["order"][k].tolist(),
            *own["factors"][k].double().tolist(), own["hue"][k].double().item(),
        )  # fmt: skip
        wanted = torch.tensor(slow, dtype=torch.float64).T.view_as(image)
        torch.testing.assert_close(found[k].double(), wanted, rtol=0, atol=tolerance)


def test_all_of_cg_equals_torchvision_image_by_image() -> None:
    """To 3e-6: in float32 torchvision itself is up to 1.5e-6 from the exact values, ours 0.9e-6."""
    images, draws = pixels(300, 8), jittered(CG, 300, 8, seed=2)
    draws["jitter"]["on"][::3] = 0
    found, drawn = apply(images, draws), draws.drawn
    for k, image in enumerate(images):
        row = {
            name: {column: values[k].tolist() for column, values in columns.items()}
            for name, columns in drawn.items()
        }
        top, left = (int(row["crop"][name][0]) for name in ("top", "left"))
        image = tv.crop(tv.pad(image, [4]), top, left, 8, 8)
        image = tv.hflip(image) if row["flip"]["on"][0] else image
        own = row["jitter"]
        for operation in own["order"] if own["on"][0] else ():
            factor = (*own["factors"], *own["hue"])[int(operation)]
            image = TORCHVISION[int(operation)](image, factor)
        image = tv.rgb_to_grayscale(image, 3) if row["random-gray"]["on"][0] else image
        torch.testing.assert_close(found[k], image, rtol=0, atol=3e-6)


def test_what_the_draw_leaves_out_keeps_its_bits() -> None:
    images = torch.rand(200, 3, 8, 8, generator=stream(0, "images"))
    draws = draw(("jitter", "random-gray"), 200, 8, seed=0)
    found = apply(images, draws)
    out = (draws["jitter"]["on"] + draws["random-gray"]["on"]).flatten() == 0
    assert 10 < out.sum() < 60
    assert torch.equal(found[out], images[out])
    assert (found[~out] != images[~out]).flatten(1).any(1).all()
    grey = draws["random-gray"]["on"].flatten() == 1
    assert torch.equal(found[grey, 0], found[grey, 1])
    assert torch.equal(augment.augment(images, (), seed=0), images)


def test_gradients_are_exact_and_finite() -> None:
    draws = jittered(CG, 4, 4, seed=3)
    draws["random-gray"]["on"][:] = torch.tensor([[0.0], [1], [0], [0]])
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


def test_the_hue_half_a_turn_and_factors_from_zero_equal_torchvision() -> None:
    """Strengths of RAD and above: torchvision draws a factor from [max(0, 1 - x), 1 + x]."""
    strengths = (0.4, 1.5, 3.0, 0.5)
    draws = draw(("jitter",), 4000, 8, seed=5, strength=strengths)
    own = draws["jitter"]
    low, high = (own["factors"].quantile(q, 0).tolist() for q in (0, 1))
    assert low == pytest.approx([0.6, 0, 0], abs=0.01) and min(low) >= 0
    assert high == pytest.approx([1.4, 2.5, 4], abs=0.01)
    assert own["factors"].mean(0).tolist() == pytest.approx([1, 1.25, 2], abs=0.08)
    assert -0.5 <= own["hue"].min() < -0.499 and 0.499 < own["hue"].max() <= 0.5
    few, images = replace(draws, table=draws.table[:60]), pixels(60, 8)
    few["jitter"]["on"][:] = 1
    few["jitter"]["hue"][:2] = torch.tensor([[0.5], [-0.5]])
    for k, image in enumerate(apply(images, few)):
        row = {name: values[k].tolist() for name, values in few["jitter"].items()}
        slow = images[k]
        for operation in row["order"]:
            factor = (*row["factors"], *row["hue"])[int(operation)]
            slow = TORCHVISION[int(operation)](slow, factor)
        torch.testing.assert_close(image, slow, rtol=0, atol=3e-6)


def test_draws_have_torchvisions_distributions() -> None:
    draws = draw(CG, 40000, 32, seed=0)
    rates = {"flip": 0.5, "jitter": 0.8, "random-gray": 0.2}
    for name, rate in rates.items():
        on = draws[name]["on"]
        assert set(on.unique().tolist()) == {0, 1}
        assert abs(on.mean() - rate) < 0.01
    for name in ("top", "left"):
        counts = draws["crop"][name].flatten().long().bincount() / 40000
        torch.testing.assert_close(counts, torch.full((9,), 1 / 9), rtol=0, atol=0.006)
    factors, hue = draws["jitter"]["factors"], draws["jitter"]["hue"]
    assert 0.6 <= factors.min() < 0.601 and 1.399 < factors.max() <= 1.4
    assert -0.1 <= hue.min() < -0.099 and 0.099 < hue.max() <= 0.1
    orders, counts = draws["jitter"]["order"].unique(dim=0, return_counts=True)
    assert len(orders) == 24 and (counts / 40000 - 1 / 24).abs().max() < 0.004
    box, on = draws["crop"], [draws[name]["on"] for name in rates]
    columns = torch.cat([box["top"], box["left"], factors, hue, *on], 1)
    assert (torch.corrcoef(columns.T) - torch.eye(9)).abs().max() < 0.03


@pytest.mark.parametrize("size", [8, 80])
def test_frames_share_their_draws_whatever_else_they_carry(size: int) -> None:
    every = draw(tuple(KERNELS), 16, size, seed=5).drawn
    assert every.keys() == KERNELS.keys()
    for name in KERNELS:
        for names in ((name,), (name, "cutout"), ("plasma", name)):
            drawn = draw(names, 16, size, seed=5)
            assert drawn.drawn.keys() == set(names)
            for column, values in drawn[name].items():
                assert torch.equal(values, every[name][column]), (name, column)


def test_streams_are_by_purpose_seed_and_clock() -> None:
    """Which is part of the file format."""
    table = draw(("flip",), 64, 8, seed=3, clock=7, purpose="noise, step").table
    u = torch.rand(64, 1, generator=stream(3, "noise, step/flip", 7))
    assert torch.equal(table, (u < 0.5).float())
    u = torch.rand(64, 1, generator=stream(3, "augment/flip", 7))
    assert torch.equal(draw(("flip",), 64, 8, seed=3, clock=7).table, (u < 0.5).float())
    u = torch.rand(64, 1, generator=stream(3, "augment/grey", 7))  # its name was another
    assert torch.equal(draw(("random-gray",), 64, 8, seed=3, clock=7).table, (u < 0.2).float())


def test_rows_can_be_taken_and_nothing_may_be_carried() -> None:
    images = torch.rand(16, 3, 8, 8, generator=stream(0, "images"))
    cg = draw(CG, 16, 8, seed=5)
    part = apply(images[3:9], replace(cg, table=cg.table[3:9]))
    assert torch.equal(part, apply(images, cg)[3:9])
    assert torch.equal(augment.augment(images, CG, seed=5), apply(images, cg))
    none = draw((), 16, 8, seed=5)
    assert none.table.shape == (16, 0) and torch.equal(apply(images, none), images)


def test_large_images_get_a_random_resized_crop() -> None:
    images = torch.rand(12, 3, 80, 80, generator=stream(0, "images"))
    draws = draw(("crop", "flip"), 12, 80, seed=0)
    found = apply(images, draws)
    for k, image in enumerate(images):
        box = [int(values[k]) for values in draws["crop"].values()]
        image = tv.resized_crop(image, *box, [80, 80], antialias=True)
        image = tv.hflip(image) if draws["flip"]["on"][k] else image
        torch.testing.assert_close(found[k], image, rtol=0, atol=5e-5)
    ramp = images.clone().requires_grad_()
    (gradient,) = torch.autograd.grad(apply(ramp, draws).sum(), ramp)
    torch.testing.assert_close(gradient.sum(), torch.tensor(float(images.numel())))


def test_boxes_of_the_resized_crop() -> None:
    draws = draw(("crop",), 20000, 224, seed=0)
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
        draw(("crop", "flop"), 4, 8, seed=0)
