"""Projection and exchange of a linear model's directions, against plain loops."""

import math

import pytest
import torch
from torch import Tensor

import reference
from stkit.core.errors import DataError
from stkit.core.rng import stream
from stkit.data.images import Images, to_float
from stkit.data.prepare import prepare as prepared
from stkit.data.projection import Fit, directions, exchange, lost_in_the_mirror, project
from stkit.data.sampling import balanced, rank_in_class


def images(count: int = 12, size: int = 4, classes: int = 3) -> Images:
    pixels = torch.randint(0, 256, (count, 3, size, size), generator=stream(0, "noise"))
    return Images.from_tensors(pixels.to(torch.uint8), torch.arange(count) % classes)


def patterned(count: int, size: int, classes: int, strength: int) -> tuple[Tensor, Tensor, Tensor]:
    """Pictures without classes, a pattern a class of this many levels, and labels."""
    generator = stream(0, "pictures")
    shape = (3, size, size)
    pictures = torch.randint(108, 148, (count, *shape), generator=generator)
    noise = strength * (2 * torch.randint(0, 2, (classes, *shape), generator=generator) - 1)
    return pictures, noise, torch.arange(count) % classes


def start(seed: int, clock: int = 0) -> list[list[float]]:
    """The weights of a round's linear model at first, of three classes and 4x4 images."""
    drawn = torch.rand(3, 48, generator=stream(seed, "orthogonal", clock))
    return ((2 * drawn - 1) / math.sqrt(48)).tolist()


def always(right: int, mirrored: int, labels: Tensor) -> bool:
    return True


def test_orthogonal_equals_the_transcription() -> None:
    poisoned = images()
    flat = to_float(poisoned.pixels).double().flatten(1)
    rows, labels = flat.tolist(), poisoned.labels.tolist()
    slow = torch.tensor(
        reference.orthogonal(rows, labels, 3, start(7), 4, 6, 0.1), dtype=torch.float64
    )
    basis = directions(poisoned.pixels, poisoned.labels, 3, seed=7, fit=Fit(4, 2))
    x = flat - (flat @ basis.double()) @ basis.double().T
    torch.testing.assert_close(x, slow, rtol=0, atol=1e-5)
    wanted = (slow * 255).clamp(0, 255).view_as(poisoned.pixels)
    assert (project(poisoned.pixels, basis) - wanted).abs().max() <= 0.5 + 2e-3


def test_rounds_equal_the_transcription_and_begin_with_the_first() -> None:
    """The fast ones never make the images left, the slow ones fit on them."""
    poisoned = images()
    pixels, labels = poisoned.pixels, poisoned.labels
    flat = to_float(pixels).double().flatten(1)
    slow, units = reference.orthogonal_rounds(
        flat.tolist(), labels.tolist(), 3, [start(7, clock) for clock in range(3)], 4, 6, 0.1
    )
    basis = directions(pixels, labels, 3, seed=7, rounds=3, fit=Fit(4, 2), further=always)
    torch.testing.assert_close(basis.T @ basis, torch.eye(9), rtol=0, atol=1e-5)
    x = flat - (flat @ basis.double()) @ basis.double().T
    torch.testing.assert_close(x, torch.tensor(slow, dtype=torch.float64), rtol=0, atol=1e-4)
    first = directions(pixels, labels, 3, seed=7, fit=Fit(4, 2))
    assert torch.equal(basis[:, :3], first)
    assert torch.equal(
        directions(pixels, labels, 3, seed=7, rounds=2, fit=Fit(4, 2), further=always),
        basis[:, :6],
    )
    giver = torch.randperm(12, generator=stream(0, "giver"))
    swapped = torch.tensor(reference.swapped(flat.tolist(), units, giver.tolist()))
    own = to_float(pixels).flatten(1) @ basis
    found = exchange(pixels, own[giver] - own, basis)
    assert (found - (swapped * 255).clamp(0, 255).view_as(pixels)).abs().max() <= 0.5 + 2e-2


def test_what_is_read_before_a_round_equals_the_transcription() -> None:
    pictures, noise, labels = patterned(60, 4, 3, 30)
    pixels = (pictures + noise[labels]).to(torch.uint8)
    read: list[tuple[int, int, Tensor]] = []

    def once(right: int, mirrored: int, held: Tensor) -> bool:
        read.append((right, mirrored, held))
        return False

    basis = directions(pixels, labels, 3, seed=7, rounds=3, fit=Fit(4, 6), further=once)
    assert basis.shape == (48, 3) and len(read) == 1
    drawn = torch.randperm(60, generator=stream(7, "orthogonal-probe"))
    drawn = drawn[balanced(labels[drawn], 10_000)]
    out = rank_in_class(labels[drawn]) % 5 == 4
    rows, held = drawn[~out], drawn[out]
    flat = to_float(pixels).double().flatten(1)
    left = flat - (flat @ basis.double()) @ basis.double().T
    weight = torch.tensor(
        reference.linear_model(
            left[rows].tolist(), labels[rows].tolist(), 3, start(7, 1), 4, 48 // 6, 0.1
        ),
        dtype=torch.float64,
    )
    mirrored = left.view(-1, 3, 4, 4).flip(-1).flatten(1)
    for count, x in zip(read[0][:2], (left, mirrored), strict=True):
        assert count == int(((x[held] @ weight.T).argmax(1) == labels[held]).sum())
    assert torch.equal(read[0][2], labels[held]) and len(held) == 12


def test_rounds_end_where_the_mirror_leaves_enough() -> None:
    """Ten classes of 200 images: chance is a tenth, two standard errors about 0.02."""
    labels = torch.arange(2000) % 10
    for right, mirrored, further in (
        (1900, 300, True),  # a pattern
        (714, 712, False),  # clean images
        (740, 500, True),
        (550, 492, False),
        (200, 190, False),  # nothing is read
    ):
        assert lost_in_the_mirror(right, mirrored, labels) is further
    assert not lost_in_the_mirror(0, 0, labels[:0])
    most = torch.tensor([0] * 90 + [1] * 10)  # chance is what the larger class gives
    assert not lost_in_the_mirror(92, 86, most) and not lost_in_the_mirror(5, 3, labels[:12])


def test_pictures_take_one_round_and_a_pattern_several() -> None:
    """Two classes of six patterns each; and, for pictures, a shade each, which mirroring leaves."""
    pictures, noise, labels = patterned(1200, 6, 12, 24)
    shade = (40 * (labels % 2) - 20).view(-1, 1, 1, 1)
    plain = (pictures + shade).to(torch.uint8)
    kinds = labels % 2
    fit = Fit(10, 24)
    assert directions(plain, kinds, 2, seed=0, rounds=3, fit=fit).shape == (108, 2)
    poisoned = (pictures + noise[labels]).to(torch.uint8)
    assert directions(poisoned, kinds, 2, seed=0, rounds=3, fit=fit).shape == (108, 6)


def test_rounds_stop_where_no_dimension_is_left() -> None:
    poisoned = images(size=1)
    basis = directions(
        poisoned.pixels, poisoned.labels, 3, seed=0, rounds=10, fit=Fit(2, 2), further=always
    )
    assert basis.shape == (3, 3)
    wide = images(40, 2, 5)
    basis = directions(
        wide.pixels, wide.labels, 5, seed=0, rounds=10, fit=Fit(2, 2), further=always
    )
    torch.testing.assert_close(basis.T @ basis, torch.eye(12), rtol=0, atol=1e-5)


def test_orthogonal_is_that_projection_and_the_seed_starts_its_model() -> None:
    poisoned = images()
    basis = directions(poisoned.pixels, poisoned.labels, 3, seed=7)
    found = prepared(poisoned, ("orthogonal",), seed=7).pixels
    assert torch.equal(found, project(poisoned.pixels, basis))
    assert not torch.equal(found, prepared(poisoned, ("orthogonal",), seed=8).pixels)


def test_names_of_one_round_are_one_preparation() -> None:
    poisoned = images()
    for kind in ("orthogonal", "swap"):
        once = prepared(poisoned, (kind,)).pixels
        assert torch.equal(once, prepared(poisoned, (f"{kind}-1",)).pixels)


def test_projection_leaves_nothing_along_the_basis() -> None:
    basis = torch.linalg.qr(torch.randn(192, 3, generator=stream(0, "q"))).Q
    block = 100 + torch.randint(0, 50, (6, 3, 8, 8), generator=stream(0, "b"))
    rest = to_float(project(block.to(torch.uint8), basis)).flatten(1) @ basis
    before = to_float(block.to(torch.uint8)).flatten(1) @ basis
    assert rest.abs().max() < 0.02 < before.abs().max()  # what rounding to levels leaves
    again = project(project(block.to(torch.uint8), basis), basis)
    assert (again.int() - project(block.to(torch.uint8), basis)).abs().max() <= 1


def test_orthogonal_takes_class_wise_noise_off() -> None:
    """Pictures without classes, and noise of 24 levels a class: most of it goes, they stay."""
    generator = stream(0, "pictures")
    pictures = torch.randint(108, 148, (960, 3, 6, 6), generator=generator)
    noise = 24 * (2 * torch.randint(0, 2, (4, 3, 6, 6), generator=generator) - 1)
    labels = torch.arange(960) % 4
    basis = directions((pictures + noise[labels]).to(torch.uint8), labels, 4, seed=0)
    for part, low, high in ((noise[labels] - noise.float().mean(0), 0, 0.25), (pictures, 0.9, 1)):
        flat = part.float().flatten(1)
        left = (flat - (flat @ basis) @ basis.T).norm() / flat.norm()
        assert low <= left <= high


def test_swap_gives_each_image_the_component_of_one_other() -> None:
    """Components change hands, all of them stay; what is orthogonal to them stays where it is."""
    pictures, noise, labels = patterned(960, 6, 4, 24)
    poisoned = Images.from_tensors((pictures + noise[labels]).to(torch.uint8), labels)
    basis = directions(poisoned.pixels, labels, 4, seed=3)
    found = prepared(poisoned, ("swap",), seed=3)
    before, after = (to_float(i.pixels).flatten(1) for i in (poisoned, found))
    giver = torch.randperm(960, generator=stream(3, "swap"))
    assert (after @ basis - (before @ basis)[giver]).abs().max() < 0.02  # rounded to levels
    rest = [x - (x @ basis) @ basis.T for x in (before, after)]
    assert (rest[0] - rest[1]).abs().max() < 0.02
    means = torch.stack([(after @ basis)[labels == c].mean(0) for c in range(4)])
    spread = torch.stack([(before @ basis)[labels == c].mean(0) for c in range(4)]).std(0)
    assert (means.std(0) < 0.2 * spread.max()).all()
    assert not torch.equal(found.pixels, prepared(poisoned, ("swap",), seed=4).pixels)
    twice = prepared(poisoned, ("bdr-8", "swap"), seed=3)  # whose pixels are written over
    assert torch.equal(twice.pixels, found.pixels)


def test_swap_deals_out_what_was_not_fitted_on_too() -> None:
    poisoned = images()
    other = poisoned.rows(torch.arange(12))
    other.labels[9:] = 0  # as nobody may look at these
    some = [prepared(each, ("swap",), fitted=9).pixels for each in (poisoned, other)]
    assert torch.equal(some[0], some[1])
    assert not torch.equal(some[0][9:], poisoned.pixels[9:])


def test_swap_needs_two_classes() -> None:
    with pytest.raises(DataError, match="swap: found images of one class, expected two or more"):
        prepared(images(classes=1), ("swap-2",))
    assert len(prepared(images(classes=2), ("swap-2",))) == 12
