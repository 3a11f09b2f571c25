"""What `inspect --clean` says of perturbations whose every number is known beforehand."""

import math
from dataclasses import replace

import pytest
import torch

from stkit import load, poison
from stkit.core import header
from stkit.core.errors import DataError
from stkit.core.rng import stream
from stkit.data.images import Images
from stkit.measure.comparison import Comparison, class_wise, compare
from stkit.measure.separability import separability
from stkit.recipes.poisons import OPS, SP

CLASSES, EACH = 4, 30


def noise(*shape: int, low: int, high: int, seed: int = 0) -> torch.Tensor:
    return torch.randint(low, high + 1, shape, generator=stream(seed, "test"))


def clean(size: int = 8) -> Images:
    """Random images with values 64..191, so that noise up to 64 is never clipped."""
    labels = torch.arange(CLASSES * EACH) % CLASSES
    pixels = noise(len(labels), 3, size, size, low=64, high=191).byte()
    names = [str(c) for c in range(CLASSES)]
    head = header.make("dataset", {}, seed=0, inputs=[], classes=names, split="train")
    return Images(pixels, labels, torch.arange(len(labels)), head)


def published(images: Images, delta: torch.Tensor) -> Images:
    """The images with noise [N,3,H,W] (grey levels) added."""
    return replace(images, pixels=(images.pixels + delta).clamp(0, 255).byte())


def test_norms_of_a_known_perturbation():
    images = clean()
    delta = torch.zeros(len(images), 3, 8, 8, dtype=torch.long)
    delta[0, :, 2, 3] = torch.tensor([3, -4, 0])  # L2 5, one pixel
    delta[7, 0, 0, :4] = 6  # L2 12, four pixels
    found = compare(published(images, delta), images)
    assert found.linf == 6 / 255
    assert found.l0_max == 4
    assert found.l2_mean == pytest.approx((5 + 12) / 2 / 255)
    assert found.poisoned_share == 2 / len(images)
    assert found.psnr == pytest.approx(10 * math.log10(255**2 / ((25 + 144) / (2 * 192))))


def test_norms_agree_with_what_the_poisoner_wrote(made):
    images = load(made / "clean.safetensors")
    for recipe in (OPS(), SP()):
        noisy = poison(images, recipe, poison_rate=0.5)
        found, written = compare(noisy, images), noisy.header["statistics"]
        assert found.poisoned_share == 0.5
        for key in ("linf", "l2_mean", "l0_max"):
            assert getattr(found, key) == pytest.approx(written[key]), key


def test_no_perturbation():
    found = compare(clean(), clean())
    assert found == Comparison(
        linf=0.0, l2_mean=0.0, l0_max=0, psnr=math.inf, poisoned_share=0.0,
        class_wise=False, aligned=True, linear_separability=None,
    )  # fmt: skip


def test_class_wise_noise_is_recognised_and_separable():
    images = clean()
    one = noise(CLASSES, 3, 8, 8, low=-8, high=8)
    found = compare(published(images, one[images.labels]), images)
    assert found.class_wise and found.aligned
    assert found.linear_separability == 1.0


def test_class_wise_noise_is_recognised_through_clipping():
    images = clean()
    images.pixels[::3] = 255
    images.pixels[1::3] = 0
    one = noise(CLASSES, 3, 8, 8, low=-64, high=64)
    assert compare(published(images, one[images.labels]), images).class_wise


def test_replaced_pixels_are_class_wise():
    images = clean()
    noisy = images.pixels.clone()
    for label in range(CLASSES):
        noisy[images.labels == label, :, label, 5] = torch.tensor([255, 0, 255]).byte()
    found = compare(published(images, noisy.int() - images.pixels.int()), images)
    assert found.class_wise and found.l0_max == 1


def test_noise_of_each_image_is_not_class_wise_nor_separable():
    images = clean()
    delta = noise(len(images), 3, 8, 8, low=-8, high=8, seed=1)
    found = compare(published(images, delta), images)
    assert not found.class_wise and found.aligned
    assert found.linear_separability < 0.5  # chance is 0.25


def test_one_class_with_noise_of_each_image_is_enough():
    images = clean()
    one = noise(CLASSES, 3, 8, 8, low=-8, high=8)[images.labels]
    other = noise(len(images), 3, 8, 8, low=-8, high=8, seed=1)
    delta = torch.where((images.labels == 2)[:, None, None, None], other, one)
    assert not compare(published(images, delta), images).class_wise


def test_sp_is_of_each_image_and_separable_whatever_the_size():
    for size in (16, 48):
        images = clean(size)
        found = compare(poison(images, SP(patch=size // 4)), images)
        assert not found.class_wise and found.aligned
        assert found.linear_separability > 0.9


def test_other_labels_or_other_images_are_not_aligned():
    images = clean()
    delta = noise(len(images), 3, 8, 8, low=-8, high=8)
    noisy = published(images, delta)
    assert not compare(replace(noisy, labels=noisy.labels.flip(0)), images).aligned
    moved = replace(noisy, pixels=noisy.pixels.roll(1, 0))
    assert not compare(moved, images).aligned


def test_rows_are_matched_by_index_whatever_the_order():
    images = clean()
    delta = noise(len(images), 3, 8, 8, low=-8, high=8)
    noisy = published(images, delta)
    want = compare(noisy, images)
    order = torch.randperm(len(images), generator=stream(0, "order"))
    assert separability(noisy, images.rows(order)) == want.linear_separability
    assert compare(noisy, images.rows(order)) == want
    shuffled = compare(noisy.rows(order), images)
    for key in ("linf", "l0_max", "poisoned_share", "class_wise", "aligned"):
        assert getattr(shuffled, key) == getattr(want, key), key
    for key in ("l2_mean", "psnr"):
        assert getattr(shuffled, key) == pytest.approx(getattr(want, key)), key
    part = compare(noisy.rows(order[:10]), images)
    assert part.poisoned_share == 1 and part.aligned


def test_too_few_for_a_linear_classifier():
    images = clean()
    noisy = published(images, noise(len(images), 3, 8, 8, low=1, high=8))
    three, one_class = torch.tensor([0, 1, 2]), torch.arange(0, 40, CLASSES)
    for rows in (three, one_class):
        assert compare(noisy.rows(rows), images).linear_separability is None


def test_sets_that_do_not_belong_together():
    images = clean()
    with pytest.raises(DataError, match=r"are \[3, 8, 8\], the clean ones \[3, 9, 9\]"):
        compare(images, clean(9))
    for rows in (torch.arange(100), torch.arange(20, 120)):
        with pytest.raises(DataError, match="20 of 120 published images have no clean image"):
            compare(images, images.rows(rows))
    images.index[3] = 1 << 60  # as a forged file may say
    with pytest.raises(DataError, match="1 of 120 published images have no clean image"):
        compare(images, clean())


def test_class_wise_noise_on_mostly_black_images():
    """Mostly black images: negative noise shows in a few of them only."""
    clean = load("digits", limit=100)
    noise = torch.randint(-8, 9, (10, 3, 32, 32), generator=torch.Generator().manual_seed(0))
    pixels = (clean.pixels.int() + noise[clean.labels]).clamp(0, 255).to(torch.uint8)
    assert class_wise(replace(clean, pixels=pixels), clean)
    each = torch.randint(-8, 9, (100, 3, 32, 32), generator=torch.Generator().manual_seed(0))
    pixels = (clean.pixels.int() + each).clamp(0, 255).to(torch.uint8)
    assert not class_wise(replace(clean, pixels=pixels), clean)
