"""mixup and CutMix against loops, the choice among copies, and dropout on the classifier."""

import math

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from stkit import models
from stkit.core.errors import RecipeError
from stkit.core.rng import stream
from stkit.engine import mix
from stkit.models import dropout
from stkit.recipes.carried import MIXES


def batch(count: int = 6, size: int = 8) -> tuple[Tensor, Tensor]:
    generator = stream(0, "images")
    pixels = torch.rand(count, 3, size, size, generator=generator, dtype=torch.float64)
    return pixels, torch.arange(count) % 4


@pytest.mark.parametrize("seed", range(5))
def test_mixup_blends_each_image_with_its_neighbour(seed: int) -> None:
    images, labels = batch()
    table = mix.draw("mixup", 6, 8, stream(seed, "mix"))
    mixed = mix.apply("mixup", images, labels, table)
    share = table[0, 0].item()
    assert 0 <= share < 1 and (table == table[0]).all()
    assert mixed.share.tolist() == [share] * 6
    for k in range(6):
        wanted = share * images[k] + (1 - share) * images[k - 1]
        torch.testing.assert_close(mixed.pixels[k], wanted, rtol=0, atol=1e-12)
        assert (mixed.labels[k], mixed.others[k]) == (labels[k], labels[k - 1])


@pytest.mark.parametrize("seed", range(20))
def test_cutmix_puts_in_a_box_and_counts_its_share(seed: int) -> None:
    """The authors' box: its side from lambda, halved to whole pixels, clipped at the border."""
    images, labels = batch(size=11)
    size, row, column = torch.rand(3, generator=stream(seed, "mix")).tolist()
    half = int(11 * math.sqrt(1 - size)) // 2
    row, column = int(row * 11), int(column * 11)
    mixed = mix.apply("cutmix", images, labels, mix.draw("cutmix", 6, 11, stream(seed, "mix")))
    area = 0
    for k in range(6):
        for y in range(11):
            for x in range(11):
                inside = row - half <= y < row + half and column - half <= x < column + half
                area += inside
                source = k - 1 if inside else k
                assert torch.equal(mixed.pixels[k, :, y, x], images[source, :, y, x])
    assert mixed.share[0].item() == pytest.approx(1 - area / 6 / 121, abs=1e-7)


def test_lambda_is_uniform_and_boxes_lie_everywhere() -> None:
    generator = stream(0, "mix")
    rows = torch.stack([mix.draw("mixup", 2, 32, generator)[0] for _ in range(3000)])
    share = torch.histc(rows[:, 0], 5, 0, 1) / 3000
    assert (share - 0.2).abs().max() < 0.03
    rows = torch.stack([mix.draw("cutmix", 2, 32, generator)[0] for _ in range(3000)])
    assert rows.min() == 0 and rows.max() == 32
    assert (rows[:, 1] <= rows[:, 2]).all() and (rows[:, 3] <= rows[:, 4]).all()
    assert (rows[:, 1::2].mean(0) + rows[:, 2::2].mean(0) - 32).abs().max() < 1.5


@pytest.mark.parametrize("name", ["mixup", "cutmix"])
def test_the_loss_is_that_of_the_soft_label(name: str) -> None:
    images, labels = batch()
    mixed = mix.apply(name, images, labels, mix.draw(name, 6, 8, stream(1, "mix")))
    logits = torch.randn(6, 4, generator=stream(2, "logits"), dtype=torch.float64)
    own, other = F.one_hot(mixed.labels, 4), F.one_hot(mixed.others, 4)
    soft = mixed.share[:, None] * own + (1 - mixed.share[:, None]) * other
    wanted = F.cross_entropy(logits, soft, reduction="none")
    torch.testing.assert_close(mix.losses(logits, mixed), wanted, rtol=0, atol=1e-12)
    right = soft.gather(1, logits.argmax(1, keepdim=True)).sum()
    assert mix.hits(logits, mixed).item() == pytest.approx(right.item(), abs=1e-5)


def test_gradients_pass_to_both_images() -> None:
    images, labels = batch(size=3)
    for name in ("mixup", "cutmix"):
        table = mix.draw(name, 6, 3, stream(3, "mix")).double()
        inputs = images.clone().requires_grad_()
        assert torch.autograd.gradcheck(
            lambda x, n=name, t=table: mix.apply(n, x, labels, t).pixels, inputs
        )


def test_equal_streams_equal_mixes_and_nothing_waits() -> None:
    images, labels = (value.to("meta") for value in batch())
    for name in ("mixup", "cutmix"):
        one, two, other = (mix.draw(name, 6, 8, stream(s, "mix")) for s in (0, 0, 1))
        assert torch.equal(one, two) and not torch.equal(one, other)
        mixed = mix.apply(name, images, labels, one.to("meta"))
        assert mixed.pixels.shape == images.shape
        logits = torch.empty(6, 4, device="meta")
        assert mix.losses(logits, mixed).shape == (6,) and mix.hits(logits, mixed).shape == ()


def test_choose_takes_each_images_copy_of_largest_loss() -> None:
    copies = torch.rand(5, 4, 3, 2, 2, generator=stream(0, "copies"))
    losses = torch.rand(5, 4, generator=stream(1, "losses"))
    losses[2, 1] = losses[4, 1] = 9.0
    losses[3, 2] = math.nan
    found = mix.choose(losses, copies)
    assert torch.equal(found[1], copies[2, 1]) and torch.equal(found[2], copies[3, 2])
    for k in (0, 3):
        best = max(range(5), key=lambda i: losses[i, k])
        assert torch.equal(found[k], copies[best, k])
    assert mix.choose(losses.to("meta"), copies.to("meta")).shape == copies.shape[1:]


def test_choosing_first_gives_the_gradient_of_the_largest_loss() -> None:
    """UEraser's own code differentiates the maximum; away from BatchNorm both are one."""
    generator = stream(0, "copies")
    copies = torch.rand(5, 4, 12, generator=generator, dtype=torch.float64)
    weight = torch.randn(3, 12, generator=generator, dtype=torch.float64, requires_grad=True)
    labels = torch.tensor([0, 1, 2, 0])
    losses = torch.stack(
        [F.cross_entropy(c @ weight.T, labels, reduction="none") for c in copies]
    )  # fmt: skip
    wanted = torch.autograd.grad(losses.max(0).values.mean(), weight)[0]
    worst = mix.choose(losses.detach(), copies)
    found = torch.autograd.grad(F.cross_entropy(worst @ weight.T, labels), weight)[0]
    torch.testing.assert_close(found, wanted)


def test_an_unknown_mix_is_a_recipe_error() -> None:
    with pytest.raises(RecipeError, match="did you mean 'mixup'"):
        mix.draw("mixupp", 2, 8, stream(0, "mix"))


def test_every_mix_has_a_blend_of_its_own() -> None:
    assert mix.BLENDS.keys() == set(MIXES) and len(set(mix.BLENDS.values())) == len(MIXES)
    images, labels = batch()
    with pytest.raises(KeyError, match="mixupp"):
        mix.apply("mixupp", images, labels, torch.zeros(6, 5))


def test_dropout_acts_on_the_classifiers_input_in_training_only() -> None:
    model = models.create("small", classes=3, size=8)
    (last,) = models.classifiers(model)
    seen: list[Tensor] = []
    names = list(model.state_dict())
    dropout.put(model, 0.9)
    dropout.put(model, 0.25)  # in the place of the first
    last.register_forward_pre_hook(lambda _, args: seen.append(args[0]))
    features = 1 + torch.rand(200, last.in_features, generator=stream(0, "features"))
    with torch.no_grad(), torch.random.fork_rng():
        last(features)
        last.eval()(features)
        dropout.put(model, 0.0)
        last.train()(features)
    dropped, *whole = seen
    kept = dropped != 0
    assert abs(kept.float().mean() - 0.75) < 0.02
    torch.testing.assert_close(dropped[kept], features[kept] / 0.75)
    assert all(torch.equal(one, features) for one in whole)
    assert list(model.state_dict()) == names and isinstance(last, nn.Linear)
