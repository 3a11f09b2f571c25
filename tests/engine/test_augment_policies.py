"""AutoAugment and TrivialAugment against torchvision's operations on uint8, image by image."""

import math
from collections.abc import Callable

import pytest
import torch
from torch import Tensor
from torchvision.transforms import AutoAugment, AutoAugmentPolicy
from torchvision.transforms import functional as tv

from stkit.core.rng import stream
from stkit.data.images import to_float, to_uint8
from stkit.engine import augment
from stkit.engine.augment.operations import CODE, OPERATIONS, operate
from stkit.engine.augment.policies import POLICY, RANGES, policy

THEIRS: dict[str, Callable[[Tensor, float], Tensor]] = {
    "identity": lambda image, m: image,
    "shear-x": lambda image, m: sheared(image, [math.degrees(math.atan(m)), 0.0]),
    "shear-y": lambda image, m: sheared(image, [0.0, math.degrees(math.atan(m))]),
    "translate-x": lambda image, m: tv.affine(image, 0.0, [int(m), 0], 1.0, [0.0, 0.0]),
    "translate-y": lambda image, m: tv.affine(image, 0.0, [0, int(m)], 1.0, [0.0, 0.0]),
    "rotate": lambda image, m: tv.rotate(image, math.degrees(m)),
    "brightness": lambda image, m: tv.adjust_brightness(image, 1 + m),
    "contrast": lambda image, m: tv.adjust_contrast(image, 1 + m),
    "posterize": lambda image, m: tv.posterize(image, int(m)),
    "solarize": lambda image, m: tv.solarize(image, m),
    "autocontrast": lambda image, m: tv.autocontrast(image),
    "equalize": lambda image, m: tv.equalize(image),
    "invert": lambda image, m: tv.invert(image),
    "colour": lambda image, m: tv.adjust_saturation(image, 1 + m),
    "sharpness": lambda image, m: tv.adjust_sharpness(image, 1 + m),
}


def sheared(image: Tensor, degrees: list[float]) -> Tensor:
    return tv.affine(image, 0.0, [0, 0], 1.0, degrees, center=[0, 0])


def pictures(count: int, size: int) -> Tensor:
    """Noise, dark and light images, few levels, and one level only."""
    levels = torch.randint(0, 256, (count, 3, size, size), generator=stream(0, "pictures"))
    levels[1::5] //= 3
    levels[2::5] = 100 + levels[2::5] // 4
    levels[3::5] = levels[3::5] // 64 * 64
    levels[4::10] = 77
    levels[9::10, 1] = 0
    return levels.to(torch.uint8)


def theirs(image: Tensor, codes: Tensor, magnitudes: Tensor) -> Tensor:
    """One image uint8 [3,H,W] and what it drew, by torchvision."""
    for code, magnitude in zip(codes.tolist(), magnitudes.tolist(), strict=True):
        image = THEIRS[OPERATIONS[int(code)]](image, magnitude)
    return image


@pytest.mark.parametrize("name", OPERATIONS)
@pytest.mark.parametrize("size", [8, 33])
def test_each_operation_equals_torchvisions(name: str, size: int) -> None:
    images = pictures(40, size)
    low, high = RANGES.get(name, (-0.9, 0.9))
    magnitude = low + (high - low) * torch.rand(40, 1, generator=stream(1, "m"))
    if name.startswith("translate"):
        magnitude = (magnitude * size).trunc()
    if name == "posterize":
        magnitude = magnitude.floor()
    codes = torch.full((40, 1), float(CODE[name]))
    found = to_uint8(operate(to_float(images), codes, magnitude))
    wanted = torch.stack([theirs(*one) for one in zip(images, codes, magnitude, strict=True)])
    if name in ("rotate", "shear-x", "shear-y"):  # a source may lie half-way between two pixels
        assert (found != wanted).float().mean() < 1e-3
    else:
        assert torch.equal(found, wanted)


@pytest.mark.parametrize("size", [16, 32])
def test_autoaugment_equals_torchvision_for_the_same_draws(size: int) -> None:
    images = pictures(600, size)
    draws = augment.draw(("autoaugment",), 600, size, seed=2)
    found = to_uint8(augment.apply(to_float(images), draws))
    own = draws["autoaugment"]
    wanted = torch.stack([theirs(*one) for one in zip(images, *own.values(), strict=True)])
    differs = (found != wanted).flatten(1).float().mean(1)
    assert differs.max() < 0.02 and (differs > 0).float().mean() < 0.02
    changed = (own["codes"] != CODE["identity"]).any(1)
    assert torch.equal(augment.apply(to_float(images), draws)[~changed], to_float(images)[~changed])


def test_the_policy_is_torchvisions() -> None:
    """Rows, probabilities and strengths; the magnitudes as torchvision's ten bins give them."""
    listed = AutoAugment(AutoAugmentPolicy.CIFAR10).policies
    for ours, row in zip(POLICY, listed, strict=True):
        for (name, probability, strength), (other, p, magnitude) in zip(ours, row, strict=True):
            other = other.lower().replace("color", "colour").replace("shear", "shear-")
            assert name == other.replace("translate", "translate-")
            assert (probability, strength) == (p, magnitude or 0)
    table = policy(32, torch.device("cpu"))
    found = {(int(c), round(m, 4)) for c, _, m, _ in table.flatten(0, 1).tolist()}
    for name, magnitude in (
        ("shear-y", 0.7 / 3), ("shear-y", 0.8 / 3), ("translate-x", 14), ("translate-y", 4),
        ("rotate", math.radians(20 / 3)), ("posterize", 5), ("solarize", 255 * 7 / 9),
        ("contrast", 0.6), ("colour", 0.9), ("sharpness", 0.1), ("brightness", 0.3),
    ):  # fmt: skip
        assert (CODE[name], round(magnitude, 4)) in found, name


def test_autoaugment_draws_rows_probabilities_and_signs() -> None:
    count = 50_000
    drawn = augment.draw(("autoaugment",), count, 32, seed=3)["autoaugment"]
    share = torch.bincount(drawn["codes"][:, 0].long(), minlength=len(OPERATIONS)) / count
    for code, name in enumerate(OPERATIONS[1:], 1):
        wanted = sum(p for (first, p, _), _ in POLICY if first == name) / len(POLICY)
        assert abs(share[code] - wanted) < 0.005, name
    rotated = drawn["magnitudes"][drawn["codes"][:, 0] == CODE["rotate"], 0]
    assert abs((rotated > 0).float().mean() - 0.5) < 0.05
    solarized = drawn["magnitudes"][drawn["codes"][:, 0] == CODE["solarize"], 0]
    assert (solarized > 0).all()


def test_trivial_draws_one_operation_of_twelve() -> None:
    count = 50_000
    drawn = augment.draw(("trivial",), count, 32, seed=4)["trivial"]
    codes, magnitudes = (values.flatten() for values in drawn.values())
    assert len(codes) == count
    for name, (low, high) in RANGES.items():
        mine = magnitudes[codes == CODE[name]]
        assert abs(len(mine) / count - 1 / 12) < 0.006
        scale = 32 if name.startswith("translate") else 1
        assert mine.min() >= low * scale and mine.max() <= high * scale
        if name == "posterize":
            assert set(mine.tolist()) == {1, 2, 3, 4}
        elif name.startswith("translate"):
            assert set(mine.tolist()) == set(range(-15, 16))
        elif high:
            assert mine.max() - mine.min() > 0.98 * (high - low)


def test_levels_stay_levels_and_no_gradient_passes() -> None:
    images = to_float(pictures(100, 8)).requires_grad_()
    for name in ("autoaugment", "trivial"):
        draws = augment.draw((name,), 100, 8, seed=5)
        found = augment.apply(images, draws)
        assert found.min() >= 0 and found.max() <= 1
        assert torch.equal(to_float(to_uint8(found)), found)
        (gradient,) = torch.autograd.grad(found.sum(), images)
        changed = (draws[name]["codes"] != CODE["identity"]).any(1)
        assert changed.any()
        assert (gradient[changed] == 0).all() and (gradient[~changed] == 1).all()
