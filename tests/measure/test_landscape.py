"""The loss around a model's weights: its centre, its directions, and how it is gone on with."""

import math
from contextlib import closing
from dataclasses import replace

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from stkit import load, models
from stkit.core.errors import ArtifactError, DataError, RecipeError
from stkit.data.images import Images, to_float
from stkit.engine.runtime import Runtime
from stkit.measure.directions import Walk, filters
from stkit.measure.landscape import Landscape, draw, landscape, subject
from stkit.measure.survey import Survey
from stkit.recipes.landscape import Plane

PLANE = Plane(points=3, span=0.5, limit=20)
CPU = Runtime(torch.device("cpu"), "fp32", threads=1)


@pytest.fixture(scope="module")
def digits() -> Images:
    return load("digits", limit=60)


def net(dtype: torch.dtype = torch.float32) -> nn.Module:
    """A small net whose BatchNorms have statistics of their own."""
    model = models.create("small", classes=10, size=32, seed=1).to(dtype)
    with torch.no_grad():
        model(torch.rand(8, 3, 32, 32, generator=torch.Generator().manual_seed(1)).to(dtype))
    return model


def expected(model: nn.Module, images: Images, plane: Plane = PLANE) -> float:
    """The loss of the images that are drawn, in one pass."""
    rows = draw(images.labels, plane)
    dtype = next(model.parameters()).dtype
    with torch.no_grad():
        answers = model.eval()(to_float(images.pixels[rows], dtype))
    return F.cross_entropy(answers, images.labels[rows]).item()


def copied(model: nn.Module) -> dict[str, torch.Tensor]:
    return {name: value.clone() for name, value in model.state_dict().items()}


def same(before: dict[str, torch.Tensor], model: nn.Module) -> bool:
    """To the last bit: -0.0 is not 0.0."""
    return all(
        torch.equal(value.view(-1).view(torch.uint8), now.view(-1).view(torch.uint8))
        for value, now in zip(before.values(), model.state_dict().values(), strict=True)
        if value.ndim
    )


@pytest.mark.parametrize(("dtype", "rel"), [(torch.float64, 1e-13), (torch.float32, 1e-6)])
def test_the_centre_is_the_loss_of_the_model(digits, dtype, rel):
    model = net(dtype)
    next(model.parameters()).data.view(-1)[0] = -0.0
    before, training = copied(model), [module.training for module in model.modules()]
    steps: list[tuple[int, int]] = []
    surface = landscape(
        model, digits, points=3, span=0.5, limit=20, on_progress=lambda *at: steps.append(at)
    )
    assert same(before, model) and [m.training for m in model.modules()] == training
    assert surface.centre == pytest.approx(expected(model, digits), rel=rel)
    assert steps[-1] == (9, 9) and surface.count == 20 and surface.chance == math.log(10)
    losses = surface.losses.view(-1)
    assert len(losses.unique()) == 9 and losses.dtype == torch.float64


def test_a_place_is_the_weights_and_shares_of_both_directions(digits):
    """Columns are alpha, rows beta."""
    model = net(torch.float64)
    surface = landscape(model, digits, points=3, span=0.5, limit=20, seed=3)
    walk, moved = Walk(model, 3), net(torch.float64)
    by_name = zip(filters(moved).values(), walk.origin, *walk.axes, strict=True)
    for weight, at, first, second in by_name:
        weight.data = at + 0.5 * first - 0.5 * second
    assert float(surface.losses[0, 2]) == pytest.approx(
        expected(moved, digits, replace(PLANE, seed=3)), rel=1e-12
    )


def test_directions_have_the_norm_of_each_filter_and_leave_the_rest():
    model = net()
    walk = Walk(model, 0)
    for weight, *axes in zip(walk.weights, *walk.axes, strict=True):
        norms = [t.flatten(1).norm(dim=1) for t in (weight.detach(), *axes)]
        for norm in norms[1:]:
            torch.testing.assert_close(norm, norms[0], rtol=1e-5, atol=0)
    first, second = (torch.cat([d.flatten() for d in axis]) for axis in walk.axes)
    assert abs(F.cosine_similarity(first, second, dim=0)) < 0.05
    before = copied(model)
    walk.to(0.3, -0.2)
    moved = {n for n, v in model.state_dict().items() if not torch.equal(v, before[n])}
    assert moved == {name for name, _ in filters(model).items()}
    assert {name for name, p in model.named_parameters() if p.ndim > 1} == moved
    walk.back()
    assert same(before, model)


def test_the_seed_decides(digits):
    one, again, other = (
        landscape(net(), digits, points=3, limit=20, seed=seed).losses for seed in (0, 0, 1)
    )
    assert torch.equal(one, again) and not torch.equal(one, other)


def test_images_are_drawn_class_balanced_and_by_the_seed():
    labels = torch.arange(100) % 10
    rows = [draw(labels, Plane(limit=20, seed=seed)) for seed in (0, 1)]
    assert [labels[each].bincount().tolist() for each in rows] == [[2] * 10] * 2
    assert not torch.equal(*rows)
    assert torch.equal(draw(labels, Plane(limit=500)), torch.arange(100))


def survey(digits: Images, plane: Plane = PLANE) -> Survey:
    """Of two models, as in a picture."""
    second = net()
    second.get_parameter("fc.bias").data += 1
    return Survey([subject(m, digits, plane) for m in (net(), second)], plane, runtime=CPU)


@pytest.fixture(scope="module")
def whole(digits) -> Survey:
    made = survey(digits)
    for _ in made.steps():
        pass
    return made


@pytest.mark.parametrize("stop", [5, 9])
def test_resumed_equals_uninterrupted(digits, whole, stop):
    begun = survey(digits)
    before = [copied(each.module) for each in begun.subjects]
    with closing(begun.steps()) as steps:
        while begun.at < stop:
            next(steps)
    assert all(same(b, each.module) for b, each in zip(before, begun.subjects, strict=True))
    resumed = survey(digits)
    resumed.resume(begun.head(), {k: v.clone() for k, v in begun.tensors().items()})
    assert resumed.at == stop
    for _ in resumed.steps():
        pass
    assert resumed.done and torch.equal(resumed.losses, whole.losses)


@pytest.mark.parametrize(
    ("other", "said"),
    [
        ({"points": 5}, "recipe.points was 3, now 5"), ({"span": 1.0}, "recipe.span was 0.5"),
        ({"limit": 30}, "recipe.limit was 20, now 30"), ({"seed": 1}, "seed was 0, now 1"),
    ],
)  # fmt: skip
def test_other_settings_do_not_go_on(digits, other, said):
    with pytest.raises(ArtifactError, match=f"made with other settings: {said}"):
        survey(digits, replace(PLANE, **other)).resume(survey(digits).head(), {})


def test_other_weights_or_images_do_not_go_on(digits):
    head = survey(digits).head()
    other = survey(digits)
    images = subject(net(), digits.rows(torch.arange(50)), PLANE)
    other.subjects = [images, other.subjects[1]]
    with pytest.raises(ArtifactError, match=r"inputs\.1\.digest was"):
        other.resume(head, {})
    one = net()
    one.get_parameter("fc.bias").data += 1
    other.subjects = [subject(one, digits, PLANE), survey(digits).subjects[1]]
    with pytest.raises(ArtifactError, match=r"inputs\.0\.digest was"):
        other.resume(head, {})


def test_losses_may_be_anything_far_away(digits):
    surface = landscape(net(), digits, points=3, span=1e6, limit=20)
    assert math.isfinite(surface.centre)
    values = torch.tensor([[1.0, math.nan, 9.0], [math.inf, 0.5, 2.0], [3.0, 4.0, 0.25]])
    made = Landscape(values.double(), Plane(points=3), math.log(10), 20)
    assert made.lowest == (0.25, 1.0, 1.0) and made.centre == 0.5
    assert made.below(2.5) == 4 / 9
    assert made.around(1.0) == 3.0  # of 0.25, 1, 2, 3, 4, 9, inf and nan
    assert math.isnan(made.around(5.0))


def test_bad_input(digits):
    for settings, said in (
        ({"points": 20}, "points is 20, expected an odd number"), ({"points": 1}, "points is 1"),
        ({"span": 0}, "span is 0"), ({"span": math.nan}, "span is nan"), ({"limit": 0}, "limit is"),
    ):  # fmt: skip
        with pytest.raises(RecipeError, match=said):
            landscape(net(), digits, **settings)
    broken = net()
    broken.get_parameter("fc.weight").data[0, 0] = math.nan
    with pytest.raises(DataError, match=r"'fc\.weight' holds NaN or infinity"):
        landscape(broken, digits, limit=20)
    with pytest.raises(DataError, match="the data set has 10 classes"):
        landscape(models.create("small", classes=5, size=32), digits, limit=20)
    with pytest.raises(RecipeError, match="no weights of two dimensions"):
        landscape(nn.BatchNorm2d(3), digits, limit=20)


def test_a_recorded_pass_measures_the_same(digits):
    """As on a GPU: a recording replayed for each batch, the ragged rest by hand."""
    calls: list[int] = []

    def record(run, restore):
        run()
        restore()
        calls.append(1)
        return run

    plain = landscape(net(), digits, points=3, limit=20, runtime=CPU)
    runtime = replace(CPU, record=record)
    assert torch.equal(
        landscape(net(), digits, points=3, limit=20, runtime=runtime).losses, plain.losses
    )
    assert calls == [1]
