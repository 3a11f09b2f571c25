"""AR against the authors' recursion pixel by pixel, and against what it promises."""

import numpy as np
import pytest
import torch
from test_poisons import images_of

from reference import ar_noise, ar_response
from stkit.core.errors import RecipeError
from stkit.core.rng import stream
from stkit.data import perturbation
from stkit.poisons import ar, poison
from stkit.recipes.poisons.ar import AR


def processes_of(count, seed=0):
    """Coefficients that sum up to 1 a channel, as the search draws them; small ones do not grow."""
    drawn = np.random.default_rng(seed).uniform(0.05, 1, (count, 3, 8))
    return drawn / drawn.sum(2, keepdims=True)


def square(process):
    """Eight coefficients a channel as windows of 3x3 with 0 in the corner."""
    return np.concatenate([process, np.zeros((3, 1))], 1).reshape(3, 3, 3)


def whole(edges, size):
    """Two rows and two columns as a field whose rest is no number: nothing may come of it."""
    height, width = size[0] + 4, size[1] + 4
    field = np.full((3, height, width), 1e3)
    field[:, :2] = edges[:, : 2 * width].reshape(3, 2, width)
    field[:, 2:, :2] = edges[:, 2 * width :].reshape(3, height - 2, 2)
    return field


@pytest.mark.parametrize("size", [(8, 8), (5, 11), (12, 3)])
def test_the_recursion_is_the_authors(size):
    processes = processes_of(4)
    edges = ar.gaussian(4, size, stream(0, "test"))
    got = ar.run(processes, edges, size)
    for process, start, noise in zip(processes, edges, got, strict=True):
        want = ar_noise(square(process).tolist(), whole(start, size).tolist())
        assert noise == pytest.approx(np.array(want), rel=1e-12, abs=1e-12)


def test_processes_are_found_as_the_authors_find_theirs():
    """Each noise stays small, and answers its own filter nothing and earlier ones enough."""
    found = ar.search(3, (8, 8), seed=1)
    assert found.shape == (3, 3, 8) and found.sum(2) == pytest.approx(1)
    assert (ar.search(2, (16, 16), seed=1) == found[:2]).all()
    drawn, where = [], []
    for block in range(100):
        for pair in ar.candidates(1, block, (8, 8)) if len(where) < 3 else ():
            where += [len(drawn)] * bool((pair[0] == found[len(where) % 3]).all())
            drawn.append(pair)
    assert where[0] == 0 and len(where) == 3
    for place, process in zip(where, found, strict=True):
        noise = drawn[place][1]
        assert np.linalg.norm(noise) <= 50
        assert ar_response(square(process).tolist(), noise.tolist()) == pytest.approx(0, abs=1e-9)
        before = found[: where.index(place)]
        asked = [ar_response(square(each).tolist(), noise.tolist()) for each in before]
        assert ar.responses(before, noise) == pytest.approx(asked)
        assert min(asked, default=10) >= 10 * 0.9**3


def test_noise_of_a_large_image_stays_small_at_its_size():
    for process, noise in ar.candidates(0, 0, (48, 40)):
        again = ar.run(process[None], ar.gaussian(1, (48, 40), stream(0, "test")), (48, 40))
        assert noise.shape == (3, 32, 32) and np.abs(again).max() < 100


@pytest.mark.parametrize("rounding", ["floor", "nearest"])
@pytest.mark.parametrize("bound", ["l2", "linf"])
def test_published_images_are_the_authors_on_these_processes_and_starts(bound, rounding):
    clean = images_of((70, 3, 6, 7), classes=2)
    recipe = AR(epsilon=10 / 255, bound=bound, rounding=rounding)
    got = poison(clean, recipe, seed=5).pixels
    processes, once = ar.search(2, (6, 7), 5), {"floor": np.floor, "nearest": np.rint}[rounding]
    for row in (0, 1, 63, 64, 69):
        edges = ar.starts(slice(row, row + 1), (6, 7), 5)[0]
        process = square(processes[row % 2]).tolist()
        noise = np.array(ar_noise(process, whole(edges, (6, 7)).tolist()))
        norm = np.abs(noise).max() if bound == "linf" else np.sqrt(np.square(noise).mean())
        levels = noise / norm * 10
        levels = np.where(np.abs(levels - np.rint(levels)) < 1e-9, np.rint(levels), levels)
        want = np.clip(once(clean.pixels[row].numpy() + levels), 0, 255)
        assert (got[row].numpy() == want).all()


def test_an_image_has_a_noise_of_its_own_whatever_is_made_beside_it():
    clean = images_of((200, 3, 8, 8), classes=2)
    made = poison(clean, AR(bound="linf"))
    delta = made.pixels.int() - clean.pixels.int()
    assert len(delta.flatten(1).unique(dim=0)) == 200
    edges = ar.starts(slice(0, 200), (8, 8), 0)
    for rows in (slice(0, 1), slice(63, 65), slice(130, 200)):
        assert (ar.starts(rows, (8, 8), 0) == edges[rows]).all()
    assert (ar.starts(slice(0, 3), (8, 8), 1) != edges[:3]).all()


def test_the_default_budget_is_a_norm_of_one_at_32_pixels():
    grey = images_of(torch.full((20, 3, 32, 32), 128, dtype=torch.uint8), classes=2)
    assert poison(grey, AR()).header["statistics"]["l2_mean"] == pytest.approx(1, abs=0.01)


def test_a_convolution_tells_the_classes():
    """What makes it a shortcut: the filter that answers least is the class's own."""
    clean = images_of(torch.full((90, 3, 16, 16), 128, dtype=torch.uint8), classes=3)
    delta = poison(clean, AR(epsilon=0.2), seed=1).pixels.double().numpy() - 128
    processes = ar.search(3, (16, 16), 1)
    least = np.array([ar.responses(processes, noise).argmin() for noise in delta])
    assert (least == clean.labels.numpy()).all()


def test_a_recipe_out_of_range_is_refused():
    for options in ({"epsilon": 0}, {"epsilon": float("nan")}, {"bound": "l1"}):
        with pytest.raises(RecipeError):
            AR(**options)


def test_one_image_of_one_class_and_pieces_of_one(monkeypatch):
    made = poison(images_of((1, 3, 4, 4), classes=1), AR(epsilon=0.1))
    assert made.header["statistics"]["n"] == 1
    many = images_of((9, 3, 6, 6), classes=2)
    whole = poison(many, AR())
    monkeypatch.setattr(perturbation, "PIECE", 1)
    assert torch.equal(poison(many, AR()).pixels, whole.pixels)
