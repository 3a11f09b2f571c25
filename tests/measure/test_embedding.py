"""What t-SNE is given and what it makes of it; not how good t-SNE is, which is scikit-learn's."""

import pytest
import torch

from stkit import load, models
from stkit.core.errors import DataError, RecipeError
from stkit.data.images import Images, to_float
from stkit.measure import acm
from stkit.measure.embedding import drawn, embed, tsne
from stkit.training.checkpoint import load_checkpoint


def images(count: int = 40, classes: int = 4) -> Images:
    """Images of random pixels."""
    generator = torch.Generator().manual_seed(1)
    pixels = torch.randint(256, (count, 3, 8, 8), dtype=torch.uint8, generator=generator)
    return Images.from_tensors(pixels, torch.arange(count) % classes)


def test_the_features_are_a_hooks_in_the_order_of_the_images():
    model, some = models.create("small", classes=4, size=8), images(12)
    found = embed(model, some, layer="layer2")
    caught = []
    model.layer2.register_forward_hook(lambda _, args, output: caught.append(output))
    with torch.no_grad():
        model.eval()(to_float(some.pixels))
    torch.testing.assert_close(found.features, caught[0].mean((2, 3)))
    assert found.points.shape == (12, 2)
    assert torch.equal(found.points, tsne(found.features, seed=0))


def test_the_draw_is_that_of_acm():
    some = images()
    rows = acm.draw(some.labels, classes=4, seed=3, per_class=5)
    found = drawn(some, per_class=5, seed=3)
    assert torch.equal(found.index, rows) and torch.equal(found.labels, some.labels[rows])
    few = drawn(some, per_class=5, seed=3, classes=2)
    assert torch.equal(few.index, rows[some.labels[rows] < 2])


def test_a_checkpoint_is_shown_what_its_training_saw(made):
    trained, source = load_checkpoint(made / "nt.safetensors"), load(made / "clean.safetensors")
    trained.header["recipe"]["phases"][0]["prepare"] = ["gray"]
    found = drawn(source, trained, per_class=4)
    rows = acm.draw(source.labels, classes=3, seed=trained.seed, per_class=4)
    assert torch.equal(found.index, source.index[rows])
    assert torch.equal(found.pixels[:, 0], found.pixels[:, 1]), "gray, as its frame prepares"
    with pytest.raises(DataError, match="knows 3 classes"):
        drawn(images(), trained)


def test_clusters_stay_together_and_numbers_come_from_the_seed():
    generator = torch.Generator().manual_seed(0)
    labels = torch.arange(40) % 2
    features = torch.randn(40, 5, generator=generator) + 50 * labels[:, None]
    points = tsne(features, seed=0)
    assert torch.equal(points, tsne(features, seed=0))
    one, other = points[labels == 0], points[labels == 1]
    within = max(torch.cdist(each, each).max() for each in (one, other))
    assert torch.cdist(one.mean(0)[None], other.mean(0)[None]) > within / 2


def test_few_images_equal_features_and_a_single_feature():
    assert tsne(torch.rand(4, 3), seed=0).isfinite().all()
    assert tsne(torch.rand(6, 1), seed=0).isfinite().all()
    assert torch.equal(tsne(torch.ones(6, 3), seed=0), torch.zeros(6, 2))
    with pytest.raises(DataError, match="found 3 images to lay out, expected 4 or more"):
        tsne(torch.rand(3, 3), seed=0)
    with pytest.raises(RecipeError, match="seed is 4294967296"):
        tsne(torch.rand(4, 3), seed=2**32)


def test_features_that_are_not_finite():
    model = models.create("small", classes=4, size=8)
    with torch.no_grad():
        model.conv1.weight[0] = float("nan")
    with pytest.raises(DataError, match="holds NaN or infinity"):
        embed(model, images(12))
