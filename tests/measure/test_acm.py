"""ACM against its literal transcription, in the corners of its definition, and on a model."""

import math

import pytest
import torch
from torch import Tensor, nn

import reference
from stkit.core import header
from stkit.core.errors import DataError, RecipeError
from stkit.data.images import Images, to_float
from stkit.measure import acm, clusters
from stkit.measure.acm import draw, measure, score, scores
from stkit.recipes.acm import VARIANTS

COUNTS = (33, 1, 16, 0, 40, 7)  # unbalanced: one sample, a whole block, none, several blocks


def sample(dtype: torch.dtype = torch.float64, dim: int = 5) -> tuple[Tensor, Tensor]:
    """Points around the centres of the classes of COUNTS, in mixed order."""
    generator = torch.Generator().manual_seed(3)
    labels = torch.repeat_interleave(torch.tensor(COUNTS))
    labels = labels[torch.randperm(len(labels), generator=generator)]
    centres = 2 * torch.randn(len(COUNTS), dim, generator=generator, dtype=torch.float64)
    noise = torch.randn(len(labels), dim, generator=generator, dtype=torch.float64)
    return (centres[labels] + noise).to(dtype), labels


def found(
    points: Tensor, labels: Tensor, classes: int = len(COUNTS), **sizes: int
) -> clusters.Clusters:
    """The fast result, K = 6 unless told."""
    return clusters.clusters(points, labels, classes, sizes=clusters.Sizes(**sizes))


def agree(points: Tensor, labels: Tensor, rel: float = 1e-12, **sizes: int) -> None:
    """The fast result equals the transcription on the same numbers, taken to float64."""
    fast = found(points, labels, **sizes)
    L, sigma, R, expected = reference.acm(points.double().tolist(), labels.tolist())
    assert scores(fast) == pytest.approx(expected, rel=rel)
    for (i, j), distance in L.items():
        assert fast.L[i, j].item() == pytest.approx(distance, rel=rel, abs=0)
    for i in sigma:
        assert fast.sigma[i].item() == pytest.approx(sigma[i], rel=rel)
        assert fast.radius[i].item() == pytest.approx(R[i], rel=rel)
        assert fast.counts[i] == labels.tolist().count(i)


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32, torch.bfloat16])
def test_equals_the_transcription(dtype: torch.dtype) -> None:
    agree(*sample(dtype))  # float32 features too: the arithmetic is float64


@pytest.mark.parametrize("large", [0, 8192])  # float32 first, float64 only
def test_many_tiles(large: int) -> None:
    agree(*sample(torch.float32), tile=2 * clusters.BLOCK, piece=1, large=large)


@pytest.mark.parametrize("seed", range(4))
@pytest.mark.parametrize("large", [0, 8192])
def test_small_distances_survive(large: int, seed: int) -> None:
    """Eight close pairs in blocks of their own, which a float32 product cannot tell apart."""
    generator = torch.Generator().manual_seed(seed)
    one, other = torch.randn(2, 400, 5, generator=generator) + 1e3
    other[::50] = one[::50]
    other[::50, 0] += (torch.randperm(8, generator=generator) + 1) * 2.0**-12
    result = found(torch.cat([one, other]), torch.arange(800) // 400, 2, large=large)
    assert result.L[0, 1] == (one[::50] - other[::50]).norm(dim=1).min().double()


@pytest.mark.parametrize("scale", [1e-30, 1e30])
def test_any_float32_range(scale: float) -> None:
    points, labels = sample(torch.float32)
    expected = found(points, labels, large=0)
    got = found(points.double() * scale, labels, large=0)
    torch.testing.assert_close(got.L / scale, expected.L, rtol=1e-12, atol=0, equal_nan=True)


def test_scale() -> None:
    """ACM(c A) = ACM(A) / c; the ratio has no unit."""
    points, labels = sample()
    one, seven = scores(found(points, labels)), scores(found(points * 7, labels))
    assert seven["literal"] == pytest.approx(one["literal"] / 7, rel=1e-9)
    assert seven["sum"] == pytest.approx(one["sum"] / 7, rel=1e-9)
    assert seven["ratio"] == pytest.approx(one["ratio"], rel=1e-9)


def test_known_by_hand() -> None:
    """Two squares of side 2, centres 10 apart: sigma = R = sqrt 2, L = 8."""
    square = torch.tensor([[1.0, 1], [1, -1], [-1, 1], [-1, -1]])
    points, labels = torch.cat([square, square + torch.tensor([10.0, 0])]), torch.arange(8) // 4
    result = scores(found(points, labels, 2))
    assert result == pytest.approx({"literal": 2.0, "sum": 0.5, "ratio": 8 / math.sqrt(8)})
    assert set(result) == set(VARIANTS)
    assert score(found(points, labels, 2), "sum") == result["sum"]
    with pytest.raises(RecipeError, match="did you mean 'ratio'"):
        score(found(points, labels, 2), "ration")


def test_the_order_of_the_samples_does_not_matter() -> None:
    points, labels = sample(torch.float32)
    rows = torch.randperm(len(labels), generator=torch.Generator().manual_seed(1))
    one, other = found(points, labels), found(points[rows], labels[rows])
    torch.testing.assert_close(one.L, other.L, rtol=0, atol=0, equal_nan=True)
    torch.testing.assert_close(one.L, one.L.T, rtol=0, atol=0, equal_nan=True)
    assert scores(one) == pytest.approx(scores(other), rel=1e-12)


def test_equal_points_are_at_distance_zero() -> None:
    points, labels = sample(torch.float32)
    points += 1e3
    points[(labels == 5).nonzero()[2]] = points[(labels == 2).nonzero()[9]]
    assert found(points, labels).L[2, 5] == 0
    assert found(points, labels).L[2, 4] > 0


def test_one_sample_a_class() -> None:
    """sigma = R = 0 on both sides: only the 1e-12 stands in the denominator."""
    points = torch.tensor([[0.0, 0.0], [3.0, 4.0]])
    result = scores(found(points, torch.tensor([0, 1]), 2))
    assert result == pytest.approx(dict.fromkeys(VARIANTS, 5e12))


@pytest.mark.parametrize("distinct", [False, True])
@pytest.mark.parametrize("large", [0, 8192])
def test_collapsed_classes_take_no_search(
    distinct: bool, large: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A dead or fully collapsed model has nothing but ties; few are computed one by one."""
    asked: list[Tensor] = []
    cdist = torch.cdist
    monkeypatch.setattr(torch, "cdist", lambda *a, **k: asked.append(a[0]) or cdist(*a, **k))
    labels = torch.arange(1200) % 3
    points = torch.full((3, 6), 0.7) + (torch.eye(3, 6) if distinct else 0)
    result = found(points[labels], labels, 3, large=large)
    expected = math.sqrt(2) if distinct else 0
    assert result.L[0, 2].item() == pytest.approx(expected, rel=1e-7)
    assert scores(result)["literal"] == pytest.approx(expected * 1e12, rel=1e-6)
    assert sum(len(pairs) for pairs in asked) <= 6


def test_a_class_without_samples_is_left_out() -> None:
    points, labels = sample()
    result = found(points, labels)
    assert COUNTS[3] == 0 and result.counts.tolist() == list(COUNTS)
    for value in (result.L[3], result.L[:, 3], result.sigma[3], result.radius[3]):
        assert value.isnan().all()
    assert result.L.diagonal()[[0, 1, 2, 4, 5]].tolist() == [0] * 5


@pytest.mark.parametrize("value", [math.nan, math.inf])
def test_nan_and_inf_give_nan(value: float) -> None:
    points, labels = sample(torch.float32)
    points[11, 2] = value
    result = found(points, labels)
    assert all(math.isnan(v) for v in scores(result).values())
    assert result.L[0, 4].isnan() and result.sigma[labels[11]].isnan()


def test_what_does_not_fit_is_refused() -> None:
    points, labels = sample()
    with pytest.raises(DataError, match=r"samples of 1 class\(es\) found"):
        scores(found(points[labels == 2], labels[labels == 2]))
    with pytest.raises(DataError, match="features are"):
        found(points, labels[1:])
    with pytest.raises(DataError, match="at least one sample"):
        found(points[:0], labels[:0])
    with pytest.raises(DataError, match="labels run from 0 to 5, expected 0 to 2"):
        found(points, labels, 3)


def test_no_precision_setting_changes_the_result() -> None:
    points, labels = sample(torch.float32)
    expected = found(points, labels, large=0)
    torch.set_float32_matmul_precision("medium")
    try:
        with torch.autocast("cpu", torch.bfloat16):
            got = found(points, labels, large=0)
        assert torch.get_float32_matmul_precision() == "medium"
    finally:
        torch.set_float32_matmul_precision("highest")
    torch.testing.assert_close(got.L, expected.L, rtol=0, atol=0, equal_nan=True)


def test_draw() -> None:
    labels = torch.tensor([0] * 300 + [1] * 20 + [2] * 150 + [4] * 101)[torch.randperm(571)]
    rows = draw(labels, classes=5, seed=4)
    assert labels[rows].bincount(minlength=5).tolist() == [100, 20, 100, 0, 100]
    assert (rows.diff() > 0).all()
    assert rows.equal(draw(labels, classes=5, seed=4))
    assert not rows.equal(draw(labels, classes=5, seed=5))
    assert len(draw(labels, classes=11, seed=4)) == 50 + 20 + 50 + 50
    assert len(draw(labels, classes=5, seed=4, per_class=3)) == 12
    with pytest.raises(RecipeError, match="per-class is 0"):
        draw(labels, classes=5, seed=4, per_class=0)
    with pytest.raises(RecipeError, match=r"per-class is 2.5, expected a whole number"):
        draw(labels, classes=5, seed=4, per_class=2.5)  # type: ignore[arg-type]


class Probe(nn.Module):
    """A model that notes the settings it runs under; its features are batch-normalised means."""

    def __init__(self) -> None:
        super().__init__()
        self.norm, self.head = nn.BatchNorm1d(3), nn.Linear(3, 4)
        self.seen: list[tuple] = []

    def forward(self, images: Tensor) -> Tensor:
        cudnn, autocast = torch.backends.cudnn, torch.is_autocast_enabled("cpu")
        modes = tuple(m.training for m in self.modules())
        self.seen.append((modes, torch.is_grad_enabled(), autocast, cudnn.conv.fp32_precision))
        return self.head(self.norm(images.mean((2, 3))))


def pictures(count: int = 60) -> Images:
    generator = torch.Generator().manual_seed(0)
    pixels = torch.randint(0, 256, (count, 3, 8, 8), dtype=torch.uint8, generator=generator)
    head = header.make("dataset", {}, seed=0, inputs=[], classes=list("abcd"), split="train")
    return Images(pixels, torch.arange(count) % 4, torch.arange(count), head)


def test_measure_leaves_model_and_settings_as_they_were() -> None:
    model, images = Probe(), pictures()
    model.head.eval()  # a mode of its own, to be restored
    before = torch.backends.cudnn.conv.fp32_precision, model.norm.running_mean.clone()
    with torch.autocast("cpu", torch.bfloat16):
        result = measure(model, images.pixels, images.labels, 4, batch_size=7)
    assert set(model.seen) == {((False,) * 3, False, False, "ieee")}
    assert (model.training, model.norm.training, model.head.training) == (True, True, False)
    assert torch.backends.cudnn.conv.fp32_precision == before[0]
    assert model.norm.running_mean.equal(before[1])
    with torch.no_grad():
        features = model.norm.eval()(to_float(images.pixels).mean((2, 3)))
    expected = clusters.clusters(features, images.labels, 4)
    torch.testing.assert_close(result.L, expected.L, rtol=1e-5, atol=1e-6)


def test_acm_of_a_model_is_that_of_its_draw() -> None:
    model, images = Probe(), pictures()
    result = acm.acm(model, images, variant="ratio", per_class=6, seed=2)
    rows = draw(images.labels, classes=4, seed=2, per_class=6)
    expected = measure(model, images.pixels[rows], images.labels[rows], 4)
    assert result.scores == scores(expected) and result.acm == result.scores["ratio"]
    assert result.clusters.counts.tolist() == [6] * 4 and result.per_class == 6
    assert acm.acm(model, images).per_class == 15, "all there are"
    with pytest.raises(RecipeError, match="unknown ACM variant"):
        acm.acm(model, images, variant="cosine")
