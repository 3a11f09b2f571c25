"""Cutout, coin, plasma, channel shuffle against plain loops; what any name shares with others."""

from contextlib import nullcontext
from dataclasses import replace

import pytest
import torch
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

import reference
from stkit.core.rng import stream
from stkit.engine.augment import apply, augment, coin, draw, plasma, positions
from stkit.recipes.carried import AUGMENTATIONS, UERASER


def test_cutout_is_a_square_that_may_lie_partly_outside() -> None:
    images = 0.1 + 0.9 * torch.rand(60, 3, 32, 32, generator=stream(0, "images"))
    draws = draw(("cutout",), 60, 32, seed=0)
    found = apply(images, draws)
    for k, image in enumerate(images):
        row, column = (int(values[k]) for values in draws["cutout"].values())
        wanted = image.clone()
        wanted[:, max(0, row - 8) : row + 8, max(0, column - 8) : column + 8] = 0
        assert torch.equal(found[k], wanted)
    holes = draw(("cutout",), 20_000, 32, seed=1)["cutout"]
    for centres in holes.values():
        share = torch.bincount(centres.flatten().long(), minlength=32) / 20_000
        assert len(share) == 32 and (share - 1 / 32).abs().max() < 0.006
    assert (apply(torch.ones(50, 3, 8, 8), draw(("cutout",), 50, 8, seed=0)) == 0).any()


@pytest.mark.parametrize("size", [3, 8, 33])
def test_coin_equals_the_transcription(size: int) -> None:
    images = torch.rand(3, 3, size, size, generator=stream(0, "images"))
    moves = 4 * torch.rand(3, 2, size, size, generator=stream(0, "moves")) - 2
    moves[0, :, 0] = torch.tensor([[-2.0], [0.0]])  # whole pixels, over the border
    found = coin.displaced(images, moves)
    torch.testing.assert_close(found[0, :, 0], images[0, :, (0 - 2) % size], rtol=0, atol=1e-5)
    for k in range(3):
        slow = torch.tensor(reference.coin(images[k].tolist(), *moves[k].tolist()))
        torch.testing.assert_close(found[k], slow, rtol=0, atol=1e-5)
    rounded = coin.displaced(images.bfloat16(), moves)
    assert rounded.dtype == torch.bfloat16  # but not the places
    torch.testing.assert_close(rounded.float(), found, rtol=0, atol=0.01)


def test_coin_moves_every_pixel_of_every_image_its_own_way() -> None:
    """Seen on ramps, which bilinear interpolation keeps: how far it went is what a pixel shows."""
    down = torch.arange(32.0)[:, None].expand(32, 32)
    ramps = torch.stack((down, down.T, down + down.T)).expand(64, 3, 32, 32)
    found = (apply(ramps, draw(("coin",), 64, 32, seed=0)) - ramps)[..., 2:-2, 2:-2]
    torch.testing.assert_close(found[:, 2], found[:, 0] + found[:, 1], rtol=0, atol=1e-4)
    moves = found[:, :2]
    assert -2.001 < moves.min() < -1.99 and 1.99 < moves.max() < 2.001
    share = torch.histc(moves, 20, -2, 2) / moves.numel()
    assert (share - 0.05).abs().max() < 0.003
    correlation = torch.corrcoef(moves.flatten(0, 1).flatten(1)) - torch.eye(128)
    assert correlation.abs().max() < 0.18  # of 8,128 pairs over 784 points: five standard errors


def test_channel_shuffle_draws_every_order() -> None:
    images = torch.rand(6000, 3, 2, 2, generator=stream(0, "images"))
    draws = draw(("channel-shuffle",), 6000, 2, seed=0)
    found, own = apply(images, draws), draws["channel-shuffle"]
    for k in range(50):
        order = own["channels"][k].long() if own["on"][k] else torch.arange(3)
        assert torch.equal(found[k], images[k][order])
    assert abs(own["on"].mean() - 0.5) < 0.03
    orders, counts = own["channels"].unique(dim=0, return_counts=True)
    assert len(orders) == 6 and (counts / 6000 - 1 / 6).abs().max() < 0.02


@pytest.mark.parametrize("size", [3, 8, 20])
def test_fractal_equals_the_transcription(size: int) -> None:
    seed = torch.tensor([5.0, 2.0**24 - 1])
    roughness = torch.tensor([0.3, 0.7])
    found = plasma.fractal(seed, roughness, 3, size)
    assert found.shape == (2, 3, size, size)
    sides, drawn, noise = [3], 0, []
    while sides[-1] < size:
        sides.append(2 * sides[-1] - 1)
    for side in sides:
        noise.append(positions.uniform(seed, 3, side, drawn))
        drawn += side * side
    for k in range(2):
        for c in range(3):
            first, *rest = (level[k, c].tolist() for level in noise)
            slow = torch.tensor(reference.plasma(first, roughness[k].item(), rest))
            torch.testing.assert_close(found[k, c], slow[:size, :size], rtol=0, atol=1e-6)


def test_the_noise_of_maps_is_uniform_and_independent() -> None:
    noise = positions.uniform(torch.arange(8.0), 3, 33, 9)
    assert noise.min() >= 0 and noise.max() < 1
    share = torch.histc(noise, 20, 0, 1) / noise.numel()
    assert (share - 0.05).abs().max() < 0.005
    correlation = torch.corrcoef(noise.flatten(0, 1).flatten(1)) - torch.eye(24)
    assert correlation.abs().max() < 0.12  # of 276 pairs over 1,089 points: four standard errors
    beside = torch.corrcoef(torch.stack((noise[..., 1:].flatten(), noise[..., :-1].flatten())))
    assert beside[0, 1].abs() < 0.02
    assert len(noise.unique()) > 0.99 * noise.numel()


def test_hashes_wrap_to_32_bits() -> None:
    def slow(x: int) -> int:
        for shift, factor in ((16, 0x21F0AAAD), (15, 0x735A2D97)):
            x = ((x ^ (x >> shift)) * factor) % 2**32
        return x ^ (x >> 15)

    values = torch.randint(-(2**31), 2**31, (500,), generator=stream(0, "v"))
    found = positions._hash(values.to(torch.int32)).long() % 2**32
    assert found.tolist() == [slow(v % 2**32) for v in values.tolist()]


def test_maps_keep_their_level() -> None:
    own = draw(("plasma",), 500, 32, seed=0)["plasma"]
    field = plasma.fractal(own["seeds"][:, 0], own["roughness"][:, 0], 3, 32)
    assert abs(field.mean() - 0.47) < 0.01 and abs(field.std() - 0.12) < 0.01


def test_plasma_is_brightness_then_contrast_where_drawn() -> None:
    images = torch.rand(200, 3, 16, 16, generator=stream(0, "images"))
    draws = draw(("plasma",), 200, 16, seed=0)
    found = apply(images, draws)
    assert found.min() >= 0 and found.max() <= 1
    for k in range(200):
        one = replace(draws, table=draws.table[k : k + 1])["plasma"]
        wanted = images[k : k + 1]
        maps = [
            plasma.fractal(one["seeds"][:, use], one["roughness"][:, use], 3, 16) for use in (0, 1)
        ]
        if one["on"][0, 0]:
            wanted = (wanted + (2 * maps[0] - 1) * one["intensity"][0, 0]).clamp(0, 1)
        if one["on"][0, 1]:
            wanted = ((wanted - 0.5) * 4 * maps[1] + 0.5).clamp(0, 1)
        torch.testing.assert_close(found[k : k + 1], wanted, rtol=0, atol=1e-6)
    untouched = draws["plasma"]["on"].sum(1) == 0
    assert 20 < untouched.sum() < 80 and torch.equal(found[untouched], images[untouched])


def test_plasma_draws_have_uerasers_ranges() -> None:
    draws = draw(("plasma",), 20_000, 32, seed=0)["plasma"]
    assert (draws["on"].mean(0) - 0.5).abs().max() < 0.02
    for name, low, high in (("roughness", 0.3, 0.7), ("intensity", 0.5, 1.0)):
        assert low <= draws[name].min() < low + 0.001 and high - 0.001 < draws[name].max() <= high
    assert len(draws["seeds"].unique()) > 39_000


def test_all_but_policies_pass_exact_gradients() -> None:
    names = ("coin", "plasma", "channel-shuffle", "cutout")
    draws = draw(names, 4, 5, seed=6)
    draws["plasma"]["on"][:] = torch.tensor([[1.0, 0], [0, 1], [1, 1], [0, 0]])
    images = 0.2 + 0.6 * torch.rand(4, 3, 5, 5, generator=stream(0, "i"), dtype=torch.float64)
    assert apply(images, draws).dtype == torch.float64
    assert torch.autograd.gradcheck(lambda x: apply(x, draws), images.requires_grad_())


@pytest.mark.parametrize("name", AUGMENTATIONS)
def test_equal_streams_equal_images_in_range(name: str) -> None:
    images = torch.rand(64, 3, 12, 12, generator=stream(0, "images"))
    one, two, other = (augment(images, (name,), seed=seed) for seed in (0, 0, 1))
    assert torch.equal(one, two) and not torch.equal(one, other)
    assert one.min() >= 0 and one.max() <= 1 and not torch.equal(one, images)


def test_the_order_is_that_of_names_however_they_are_listed() -> None:
    images = torch.rand(32, 3, 8, 8, generator=stream(0, "images"))
    draws = draw(UERASER, 32, 8, seed=0)
    listed = apply(images, draws)
    assert torch.equal(apply(images, replace(draws, names=UERASER[::-1])), listed)
    for names in (("crop", "flip"), *((name,) for name in UERASER[2:])):
        images = apply(images, draw(names, 32, 8, seed=0))
    assert torch.equal(images, listed)


class OnMeta(TorchDispatchMode):
    """Fails where a tensor from the host enters, as a Python number in `torch.where` does: while a
    CUDA graph is captured, copying it would."""

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        for tensor in tree_leaves((args, kwargs)):
            assert not isinstance(tensor, torch.Tensor) or tensor.device.type == "meta", func
        return func(*args, **(kwargs or {}))


@pytest.mark.parametrize("size", [32, 80])
def test_apply_never_looks_at_values(size: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """On the meta device whatever would need a value on the host raises: all can be captured."""
    monkeypatch.setattr(torch, "autocast", lambda *_, **__: nullcontext())  # meta has none
    draws = draw(AUGMENTATIONS, 4, size, seed=0)
    draws = replace(draws, table=draws.table.to("meta"))
    images = torch.empty(4, 3, size, size, device="meta", requires_grad=True)
    with OnMeta():
        found = apply(images, draws)
    assert found.shape == images.shape
    torch.autograd.grad(found.sum(), images)
