"""OPS against a brute-force search, in floating point and exactly, and on CIFAR-10."""

import io
import json
import zipfile
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from test_poisons import images_of

from reference import ops_exact, ops_float, ops_search
from stkit.core.errors import RecipeError
from stkit.data import perturbation
from stkit.poisons import ops, poison
from stkit.recipes.poisons import OPS

HERE = Path(__file__).parent
CIFAR10 = sorted((HERE.parents[2] / "shared" / "data").glob("cifar10-?.zip"))
OBJECTIVES = ["code", "paper"]


def picked(clean, recipe):
    """For each class the list of (row, column, colour code)."""
    found = ops.search(clean.pixels, clean.labels, len(clean.classes), recipe)
    width = clean.pixels.shape[-1]
    return [[(p // 8 // width, p // 8 % width, p % 8) for p in row] for row in found.tolist()]


def brute(clean, recipe, score):
    arrays = clean.pixels.permute(0, 2, 3, 1).numpy(), clean.labels.numpy()
    return ops_search(*arrays, len(clean.classes), recipe.objective, recipe.pixels, score)


@pytest.mark.parametrize("objective", OBJECTIVES)
@pytest.mark.parametrize("pixels", [1, 4])
@pytest.mark.parametrize("seed", range(3))
def test_equals_the_authors_search(objective, pixels, seed):
    clean = images_of((45, 3, 5, 8), classes=5, seed=seed)
    recipe = OPS(objective, pixels)
    assert picked(clean, recipe) == brute(clean, recipe, ops_float)


@pytest.mark.parametrize("objective", OBJECTIVES)
@pytest.mark.parametrize("values", [1, 2, 3])
@pytest.mark.parametrize("seed", range(4))
def test_ties_are_broken_exactly_and_in_scan_order(objective, values, seed):
    """Few grey levels and few images: many equal scores, many 0/0 and x/0, many collisions."""
    generator = torch.Generator().manual_seed(seed)
    levels = torch.tensor([[0], [0, 255], [7, 7, 200]][values - 1], dtype=torch.uint8)
    drawn = torch.randint(0, len(levels), (22, 3, 3, 4), generator=generator)
    clean = images_of(levels[drawn], classes=9)
    recipe = OPS(objective, pixels=1 + seed)
    assert picked(clean, recipe) == brute(clean, recipe, ops_exact)


def test_scores_that_floating_point_cannot_tell_apart_are_told_apart():
    """T^2/Q of 2^52 + 1 over 2^52, later in the scan, beats 1, and loses when it comes below."""
    one = 1 << 52
    above, below = np.full(24, one), np.full(24, one)
    above[[5, 17]] = one + 1
    above[20] = one - 1
    assert float(one + 1) / float(one) - 1 < ops.CLOSE
    assert ops.best(above, below, 1) == [5]
    assert ops.best(above, below, 3) == [5, 17, 8]
    assert ops.best(np.zeros(16, int), np.zeros(16, int), 1) == [0]
    assert ops.best(np.arange(16) > 9, np.zeros(16, int), 1) == [10]


def test_constant_colours_and_the_pairs_that_earlier_classes_took():
    black = torch.zeros(6, 3, 2, 2, dtype=torch.uint8)
    assert picked(images_of(black, classes=2), OPS()) == [[(0, 0, 7)], [(0, 1, 7)]]
    grey = torch.full((6, 3, 2, 2), 90, dtype=torch.uint8)
    assert picked(images_of(grey, classes=3), OPS()) == [[(0, 0, 0)], [(0, 0, 7)], [(0, 1, 0)]]
    assert picked(images_of(grey, classes=2), OPS(pixels=3)) == [
        [(0, 0, 0), (0, 1, 0), (1, 0, 0)],
        [(0, 0, 7), (0, 1, 7), (1, 0, 7)],
    ]


@pytest.mark.parametrize("objective", OBJECTIVES)
def test_a_hundred_classes_that_differ_in_size(objective):
    generator = torch.Generator().manual_seed(1)
    labels = torch.randint(0, 98, (300,), generator=generator)  # 98 and 99 have no images
    clean = images_of((300, 3, 4, 3), labels=labels, classes=100)
    got, want = picked(clean, OPS(objective)), brute(clean, OPS(objective), ops_exact)
    assert [p for p, w in zip(got, want, strict=True) if w] == [w for w in want if w]
    assert poison(clean, OPS(objective)).header["statistics"]["l0_max"] == 1


@pytest.mark.parametrize("pixels", [1, 3])
def test_published_images_are_the_clean_ones_with_those_pixels_set(pixels):
    clean = images_of((40, 3, 6, 9), classes=4)
    found = poison(clean, OPS(pixels=pixels), poison_rate=0.6)
    want = clean.pixels.clone()
    picks = picked(clean, OPS(pixels=pixels))
    for image, label, chosen in zip(want, clean.labels.tolist(), found.poisoned, strict=True):
        for row, column, code in picks[label] if chosen else []:
            bits = [code // 4, code // 2 % 2, code % 2]
            image[:, row, column] = torch.tensor(bits, dtype=torch.uint8) * 255
    assert torch.equal(found.pixels, want)


def test_the_first_class_takes_the_same_pixels_in_the_same_order():
    clean = images_of((40, 3, 6, 9), classes=4)
    many = picked(clean, OPS(pixels=54))
    assert len({pair[:2] for pair in many[0]}) == 54
    assert picked(clean, OPS(pixels=5))[0] == many[0][:5]


@pytest.mark.parametrize(("count", "width", "pieces"), [(70_000, 1, 3), (2_000, 1024, 12)])
def test_sums_are_exact(count, width, pieces):
    flat = torch.full((count, 3, width), 255, dtype=torch.uint8).numpy()
    rows = np.arange(1, count)
    assert len(list(perturbation.pieces(count - 1, 3 * width))) == pieces
    sums, products = ops.moments(flat, rows, ops.SQUARES + ops.CROSS)
    assert (sums == 255 * (count - 1)).all()
    assert products.shape == (6, width) and (products == 255 * 255 * (count - 1)).all()


def test_more_pixels_than_the_image_has_are_refused():
    with pytest.raises(RecipeError, match="pixels is 13, but the images have 12"):
        poison(images_of((8, 3, 3, 4)), OPS(pixels=13))


@pytest.mark.skipif(len(CIFAR10) != 2, reason="needs the CIFAR-10 zips")
def test_the_pixels_of_cifar10():
    """All 50,000 training images; the authors' picks, searched by brute force."""
    coded, names = [], []
    for path in CIFAR10:
        with zipfile.ZipFile(path) as opened:
            found = [n for n in opened.namelist() if n.startswith("cifar10/train/")]
            found = [n for n in found if not n.endswith("/")]
            coded += [opened.read(n) for n in found]
            names += found

    classes = sorted({n.split("/")[2] for n in names})
    pixels = np.empty((len(names), 3, 32, 32), np.uint8)

    def decode(row):  # asking other readers first takes as long again
        with Image.open(io.BytesIO(coded[row]), formats=["WEBP"]) as image:
            pixels[row] = np.asarray(image.convert("RGB")).transpose(2, 0, 1)

    with ThreadPoolExecutor() as pool:
        list(pool.map(decode, range(len(names))))
    labels = torch.tensor([classes.index(n.split("/")[2]) for n in names])
    assert torch.bincount(labels).tolist() == [5000] * 10
    golden = json.loads((HERE.parent / "golden/ops_golden_cifar10.json").read_text())
    clean = images_of(torch.from_numpy(pixels), labels, classes=10)
    for objective in OBJECTIVES:
        want = [[tuple(pick)] for pick in golden[objective]]
        assert picked(clean, OPS(objective)) == want
