"""mixup and CutMix against loops, the choice among copies, and dropout on the classifier."""

import math
from dataclasses import replace

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from stkit import dropout, mix, models
from stkit.errors import RecipeError
from stkit.rng import stream


def batch(count: int = 6, size: int = 8) -> tuple[torch.Tensor, torch.Tensor]:
    pixels = torch.rand(
        count, 3, size, size, generator=stream(0, "images"), dtype=torch.float64
    )  # fmt: skip
    return pixels, torch.arange(count) % 4


@pytest.mark.parametrize("seed", range(5))
def test_mixup_blends_pairs(seed: int) -> None:
    images, labels = batch()
    draws = mix.draw("mixup", 6, 8, stream(seed, "mix"))
    mixed = mix.apply(images, labels, draws)
    share = draws.box[0].item()
    assert 0 <= share < 1 and mixed.share.item() == share
    assert sorted(draws.order.tolist()) == list(range(6))
    for k, other in enumerate(draws.order.tolist()):
        wanted = share * images[k] + (1 - share) * images[other]
        torch.testing.assert_close(mixed.images[k], wanted, rtol=0, atol=1e-12)
        assert (mixed.labels[k], mixed.others[k]) == (labels[k], labels[other])


@pytest.mark.parametrize("seed", range(20))
def test_cutmix_puts_in_a_box_and_counts_its_share(seed: int) -> None:
    """The authors' box: its side from lambda, halved to whole pixels, clipped at the border."""
    images, labels = batch(size=11)
    generator = stream(seed, "mix")
    torch.randperm(6, generator=generator)
    size, row, column = torch.rand(3, generator=generator).tolist()
    half = int(11 * math.sqrt(1 - size)) // 2
    row, column = int(row * 11), int(column * 11)
    draws = mix.draw("cutmix", 6, 11, stream(seed, "mix"))
    mixed = mix.apply(images, labels, draws)
    area = 0
    for k, other in enumerate(draws.order.tolist()):
        for y in range(11):
            for x in range(11):
                inside = row - half <= y < row + half and column - half <= x < column + half
                area += inside
                source = other if inside else k
                assert torch.equal(mixed.images[k, :, y, x], images[source, :, y, x])
    assert mixed.share.item() == pytest.approx(1 - area / 6 / 121, abs=1e-7)


def test_lambda_is_uniform_and_boxes_lie_everywhere() -> None:
    generator = stream(0, "mix")
    boxes = torch.stack([mix.draw("mixup", 2, 32, generator).box for _ in range(3000)])
    share = torch.histc(boxes[:, 0], 5, 0, 1) / 3000
    assert (share - 0.2).abs().max() < 0.03
    boxes = torch.stack([mix.draw("cutmix", 2, 32, generator).box for _ in range(3000)])
    assert boxes.min() == 0 and boxes.max() == 32
    assert (boxes[:, 1] <= boxes[:, 2]).all() and (boxes[:, 3] <= boxes[:, 4]).all()
    assert (boxes[:, 1::2].mean(0) + boxes[:, 2::2].mean(0) - 32).abs().max() < 1.5


@pytest.mark.parametrize("name", ["mixup", "cutmix"])
def test_the_loss_is_that_of_the_soft_label(name: str) -> None:
    images, labels = batch()
    mixed = mix.apply(images, labels, mix.draw(name, 6, 8, stream(1, "mix")))
    logits = torch.randn(6, 4, generator=stream(2, "logits"), dtype=torch.float64)
    own, other = F.one_hot(mixed.labels, 4), F.one_hot(mixed.others, 4)
    soft = mixed.share * own + (1 - mixed.share) * other
    wanted = F.cross_entropy(logits, soft)
    torch.testing.assert_close(mix.cross_entropy(logits, mixed), wanted, rtol=0, atol=1e-12)
    right = (soft.gather(1, logits.argmax(1, keepdim=True))).sum()
    torch.testing.assert_close(mix.hits(logits, mixed), right)


def test_gradients_pass_to_both_images() -> None:
    images, labels = batch(size=3)
    for name in ("mixup", "cutmix"):
        draws = mix.draw(name, 6, 3, stream(3, "mix"))
        inputs = images.clone().requires_grad_()
        assert torch.autograd.gradcheck(lambda x, d=draws: mix.apply(x, labels, d).images, inputs)


def test_equal_streams_equal_mixes_and_nothing_waits() -> None:
    for name in ("mixup", "cutmix"):
        one, two, other = (mix.draw(name, 6, 8, stream(s, "mix")) for s in (0, 0, 1))
        assert torch.equal(one.order, two.order) and torch.equal(one.box, two.box)
        assert not torch.equal(one.box, other.box)
        ghost = replace(one, order=one.order.to("meta"), box=one.box.to("meta"))
        images, labels = (value.to("meta") for value in batch())
        mixed = mix.apply(images, labels, ghost)
        assert mixed.images.shape == images.shape
        logits = torch.empty(6, 4, device="meta")
        assert mix.cross_entropy(logits, mixed).shape == mix.hits(logits, mixed).shape == ()


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
    copies = torch.rand(5, 4, 12, generator=stream(0, "copies"), dtype=torch.float64)
    labels = torch.tensor([0, 1, 2, 0])
    net = nn.Linear(12, 3).double()
    losses = torch.stack([F.cross_entropy(net(c), labels, reduction="none") for c in copies])
    wanted = torch.autograd.grad(losses.max(0).values.mean(), net.weight)[0]
    worst = mix.choose(losses.detach(), copies)
    found = torch.autograd.grad(F.cross_entropy(net(worst), labels), net.weight)[0]
    torch.testing.assert_close(found, wanted)


def test_an_unknown_mix_is_a_recipe_error() -> None:
    with pytest.raises(RecipeError, match="did you mean 'mixup'"):
        mix.draw("mixupp", 2, 8, stream(0, "mix"))


def test_dropout_masks_keep_the_mean() -> None:
    mask = dropout.draw(0.25, 400, 100, stream(0, "dropout"))
    assert set(mask.unique().tolist()) == {0.0, torch.tensor(1 / 0.75).item()}
    assert abs(mask.mean() - 1) < 0.02
    assert torch.equal(mask, dropout.draw(0.25, 400, 100, stream(0, "dropout")))
    assert (dropout.draw(0.0, 4, 4, stream(0, "dropout")) == 1).all()


def test_dropout_acts_on_the_classifiers_input_while_it_lasts() -> None:
    model = models.create("small", classes=3, size=8).eval()
    images = torch.rand(4, 3, 8, 8, generator=stream(0, "images"))
    last = models.classifier(model)
    mask = dropout.draw(0.5, 4, last.in_features, stream(0, "dropout"))
    with torch.no_grad():
        plain, seen = model(images), models.features(model, images)
        with dropout.dropped(model, mask):
            found = model(images)
        with dropout.dropped(model, None):
            assert torch.equal(model(images), plain)
        assert torch.equal(model(images), plain)
        assert torch.equal(found, last(seen * mask)) and not torch.equal(found, plain)
    with pytest.raises(RuntimeError), dropout.dropped(model, mask):
        raise RuntimeError
    assert not last._forward_pre_hooks
