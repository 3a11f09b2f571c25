"""What a set gives away: against plain loops, and on noise that one classifier alone sees."""

from dataclasses import replace

import pytest
import torch
from torch import Tensor

import reference
from stkit import load, poison, probe
from stkit.core.errors import DataError, RecipeError
from stkit.core.rng import stream
from stkit.data.images import Images, to_float
from stkit.data.prepare import prepare
from stkit.measure import ridge
from stkit.measure.separability import convolved
from stkit.recipes.poisons import CUDA, SP
from stkit.recipes.probe import PREPARED, least, prepared


def smooth(count: int = 500, size: int = 16, classes: int = 5) -> Images:
    """Random smooth pictures, which say nothing of their labels."""
    coarse = torch.rand(count, 3, 4, 4, generator=stream(0, "coarse"))
    pixels = torch.nn.functional.interpolate(coarse, (size, size), mode="bicubic")
    return Images.from_tensors(0.1 + 0.8 * pixels.clamp(0, 1), torch.arange(count) % classes)


def noisy(images: Images, delta: Tensor) -> Images:
    """The images with noise in grey levels."""
    return replace(images, pixels=(images.pixels + delta.round()).clamp(0, 255).byte())


def autoregressive(images: Images) -> Tensor:
    """Each pixel from the three before it and fresh noise, by coefficients of the class alone."""
    generator = stream(0, "autoregressive")
    classes, side = len(images.classes), images.size + 8
    weights = 1.2 * torch.rand(classes, 3, 3, generator=generator) - 0.6
    each = weights[images.labels]
    delta = torch.randn(len(images), 3, side, side, generator=generator)
    for i in range(1, side):
        for j in range(1, side):
            before = (delta[..., i - 1, j], delta[..., i, j - 1], delta[..., i - 1, j - 1])
            delta[..., i, j] += (torch.stack(before, 2) * each).sum(2)
    delta = delta[..., 8:, 8:]
    return 10 * delta / delta.std((1, 2, 3), keepdim=True)


@pytest.mark.parametrize(("count", "gray"), [(40, False), (12, False), (20, True), (6, True)])
def test_ridge_is_the_plain_loops(count, gray, monkeypatch):
    """With more rows than columns and with fewer, in several chunks, of grey images too."""
    monkeypatch.setattr(ridge, "CHUNK", 16)
    pixels = torch.randint(0, 256, (count + 10, 3, 2, 3), generator=stream(0, "ridge")).byte()
    labels = torch.arange(count + 10) % 3
    pixels = (pixels // 2 + 30 * labels[:, None, None, None]).byte()
    if gray:
        pixels = pixels[:, :1].expand(-1, 3, -1, -1)
    rows = to_float(pixels, torch.float64).flatten(1).tolist()
    wanted = reference.ridge(rows[:count], labels[:count].tolist(), rows[count:], 3)
    scores = ridge.pixel_scores(pixels[:count], labels[:count], pixels[count:], 3)
    torch.testing.assert_close(scores, torch.tensor(wanted, dtype=torch.float64), atol=1e-9, rtol=0)


def test_products_of_pixels_are_exact():
    """At the worst, too: all black, in full chunks."""
    pixels = torch.zeros(2 * ridge.CHUNK, 3, 1, 1).byte()
    pixels[5, 0] = 255
    gram = ridge.gram(pixels.flatten(1).T, 1.0, ones=True)
    wanted = torch.zeros(4, 4, dtype=torch.float64)
    wanted[0, 0] = 1.0
    wanted[3, :] = torch.tensor([1.0, 0, 0, 2 * ridge.CHUNK])
    torch.testing.assert_close(gram.tril(), wanted, atol=1e-9, rtol=0)


def test_linear_noise_is_read_by_the_linear_one_and_images_alone_are_not():
    images = smooth()
    one = torch.randint(-8, 9, (5, 3, 16, 16), generator=stream(0, "noise"))
    both = probe(noisy(images, one[images.labels]), ["plain", "bdr-1"])
    assert both["plain"].linear > 0.99 and both["plain"].linear > both["bdr-1"].linear
    alone = probe(images, ["plain"]).readings[0]
    assert abs(alone.linear - 0.2) < 0.12 and abs(alone.convolution - 0.2) < 0.12


def test_autoregressive_noise_is_read_by_the_convolutions_alone():
    images = smooth()
    seen = probe(noisy(images, autoregressive(images)), ["plain", "jpeg-10"])
    assert seen["plain"].convolution > 0.75 and seen["jpeg"].convolution < 0.6
    assert seen["plain"].linear < 0.4
    assert "convolution" in seen.verdict


def test_filters_of_classes_are_read_until_each_pixel_moves():
    """As a ladder asks: off preparations, and off a draw of what moves pixels."""
    images = poison(smooth(1000, size=32), CUDA(blur=0.6))
    read = convolved(images, ["plain", "jpeg-30", "coin", "gray,coin"], seed=1)
    assert list(read) == ["plain", "jpeg-30", "coin", "gray,coin"]
    assert read["plain"][0] > 0.6 and read["jpeg-30"][0] > 0.6, read
    assert read["coin"][0] < 0.4 and read["gray,coin"][0] < 0.4, read
    assert read == convolved(images, list(read), seed=1)


def test_the_same_seed_gives_the_same_and_another_draws_anew():
    images = load("digits", limit=200, size=12)
    first, again, other = (probe(images, ["plain", "gray"], seed=s) for s in (1, 1, 2))
    assert first == again and first != other
    assert (first.fitted, first.read, first.classes) == (160, 40, 10)
    assert convolved(images, ["plain"], seed=1) == {
        "plain": (first["plain"].convolution, first["plain"].mirrored)
    }


def test_what_is_fitted_is_fitted_on_those_that_are_fitted_on():
    images = smooth(100)
    mixed = replace(images, labels=torch.cat([images.labels[:80], images.labels[80:].flip(0)]))
    some = [prepare(each, ("orthogonal",), fitted=80).pixels for each in (images, mixed)]
    assert torch.equal(*some)
    alone = prepare(images.rows(torch.arange(80)), ("orthogonal",)).pixels
    assert torch.equal(some[0][:80], alone)


@pytest.mark.parametrize(("size", "side"), [(20, None), (70, 32)])
def test_larger_images_are_reduced(size, side):
    images = smooth(100, size, 2)
    one = torch.randint(0, 2, (2, 3, 10, 10), generator=stream(0, "noise")).float() * 40
    one = torch.nn.functional.interpolate(one, (size, size))
    poisoned = probe(noisy(images, one[images.labels]), ["plain"])
    assert (poisoned.side, poisoned.classes, poisoned.chance) == (side, 2, 0.5)
    assert poisoned["plain"].linear > 0.9
    assert ("reduced to 32x32" in poisoned.verdict) is (side == 32)


def test_a_grey_set_is_known():
    probed = probe(load("digits", limit=200), ["plain", "gray"])
    assert probed.gray and "grey already" in probed.verdict
    assert probed["gray"].linear == probed["plain"].linear
    assert not probe(smooth(100), ["plain"]).gray
    with pytest.raises(RecipeError, match="no reading after 'bdr-2', expected one of plain; gray"):
        probed["bdr"]


def test_sets_that_cannot_be_probed():
    images = smooth()
    with pytest.raises(DataError, match="of one class, expected two or more"):
        probe(images.rows((images.labels == 0).nonzero().flatten()))
    with pytest.raises(DataError, match="found 99 images of 5 classes, expected 100 or more"):
        probe(images.rows(torch.arange(99)))
    assert least(100) == 1000
    with pytest.raises(RecipeError, match="unknown preparation 'cg'"):
        probe(images, ["cg"])
    with pytest.raises(DataError, match="probe: found a str, expected Images"):
        probe("digits")


def test_names_of_preparations():
    assert prepared("plain") == () and prepared(" JPEG,gray") == ("jpeg-10", "gray")
    assert [name for name in PREPARED if not prepared(name)] == ["plain"]
    for wrong in ("plain,gray", "", "jpeg-0", "gray-3"):
        with pytest.raises(RecipeError):
            prepared(wrong)


def test_the_command_says_what_the_library_measures(cli, tmp_path):
    poisoned = poison(load("digits", limit=200, size=16), SP(patch=8))
    poisoned.save(tmp_path / "sp")
    line = ("probe", tmp_path / "sp", "--prepare", "gray,jpeg", "--seed", 3)
    wanted = probe(poisoned, ["plain", "gray,jpeg"], seed=3)
    shown = cli(*line, "--json").json
    assert shown["readings"][1] == {
        "prepared": "gray,jpeg-10",
        "linear": wanted["gray,jpeg"].linear,
        "convolution": wanted["gray,jpeg"].convolution,
        "mirrored": wanted["gray,jpeg"].mirrored,
    }
    assert shown["verdict"] == wanted.verdict and shown["read"] == 40
    printed = cli(*line).out
    assert "gray,jpeg-10" in printed and printed.splitlines()[-1] == wanted.verdict
    assert float(cli(*line, "-q").out) == pytest.approx(wanted["plain"].linear, abs=1e-4)
