"""CUDA against the authors' computation pixel by pixel, and against what it promises."""

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from test_poisons import images_of

from reference import cuda_filters, cuda_image
from stkit.core.errors import RecipeError
from stkit.data import perturbation
from stkit.poisons import cuda, poison
from stkit.recipes.poisons import resolve
from stkit.recipes.poisons.cuda import CUDA, ResolvedCUDA


@pytest.mark.parametrize(("side", "blur"), [(3, 0.3), (9, 0.06)])
@pytest.mark.parametrize("seed", [0, 7])
def test_filters_are_those_that_the_authors_draw(side, blur, seed):
    got = cuda.filters(10, ResolvedCUDA(kernel=side, blur=blur), seed)
    assert (got == np.float32(cuda_filters(10, side, blur, seed))).all()
    assert (got.max((1, 2)) == 1).all() and (np.sort(got.reshape(10, -1))[:, -2] < blur).all()
    assert len({int(each.argmax()) for each in got}) > 2


@pytest.mark.parametrize(("shape", "side"), [((8, 3, 7, 5), 3), ((4, 3, 6, 9), 9)])
@pytest.mark.parametrize("rounding", ["floor", "nearest"])
def test_published_images_are_the_authors(shape, side, rounding):
    clean = images_of(shape)
    recipe = CUDA(kernel=side, blur=0.3, rounding=rounding)
    got = poison(clean, recipe, seed=2, poison_rate=0.5)
    weights = np.float32(cuda_filters(4, side, 0.3, 2)).tolist()
    once = {"floor": np.floor, "nearest": np.rint}[rounding]
    for row, (image, label) in enumerate(zip(clean.pixels, clean.labels.tolist(), strict=True)):
        want = once(np.array(cuda_image(image.tolist(), weights[label])) + 1e-9)
        if not got.poisoned[row]:
            want = image.numpy()
        assert (got.pixels[row].numpy() == want).all()


def test_in_float32_as_the_authors_compute_few_levels_differ():
    clean = images_of((60, 3, 32, 32), classes=10)
    x, weights = clean.pixels.float() / 255, torch.tensor(cuda_filters(10, 3, 0.3, 0)).float()
    each = weights[clean.labels].repeat_interleave(3, 0)[:, None]
    out = F.conv2d(x.reshape(1, -1, 32, 32), each, padding=1, groups=180).reshape(x.shape)
    theirs = (out / out.amax((1, 2, 3), keepdim=True) * 255).byte()
    apart = (poison(clean, CUDA()).pixels.int() - theirs.int()).abs()
    assert apart.max() <= 1 and apart.float().mean() < 1e-3


def test_flat_images_stay_flat_inside_and_black_ones_black():
    pixels = torch.tensor([0, 51, 255], dtype=torch.uint8)[:, None, None, None].repeat(1, 3, 9, 9)
    pixels[1, :, 4:, :] = 255  # 51 is a fifth of the largest value, to the level
    made = poison(images_of(pixels, classes=1), CUDA(kernel=3)).pixels
    assert (made[0] == 0).all() and (made[2, :, 1:-1, 1:-1] == 255).all()
    assert (made[1, :, 1:3, 1:-1] == 51).all()


def test_the_filters_for_a_size():
    for size, kernel, blur in (((32, 32), 3, 0.3), ((64, 80), 3, 0.3), ((224, 224), 9, 0.06)):
        made = resolve(CUDA(), size, 10)
        assert (made.kernel, made.blur) == (kernel, blur)
        assert resolve(CUDA(kernel=5), size, 10) == ResolvedCUDA(kernel=5, blur=blur)


def test_pieces_do_not_matter_nor_a_filter_larger_than_the_image(monkeypatch):
    clean = images_of((6, 3, 4, 4))
    whole = poison(clean, CUDA(kernel=11))
    monkeypatch.setattr(cuda, "PIECE", 1)
    assert torch.equal(poison(clean, CUDA(kernel=11)).pixels, whole.pixels)
    got = perturbation.statistics(clean.pixels, whole.pixels, 6)
    assert got.linf == whole.header["statistics"]["linf"]


def test_a_recipe_out_of_range_is_refused():
    for options in ({"kernel": 4}, {"kernel": 0}, {"blur": -0.1}, {"blur": float("nan")}):
        with pytest.raises(RecipeError, match=f"{next(iter(options))} is"):
            CUDA(**options)
