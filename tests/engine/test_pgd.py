"""PGD against closed forms and a literal transcription; what it must leave alone."""

import torch
from torch import nn

import reference
from stkit.core.rng import stream
from stkit.engine import pgd
from stkit.recipes.frames import Adversary

EPSILON = 8 / 255


def pixels(*shape: int, dtype: torch.dtype = torch.float32, seed: int = 0) -> torch.Tensor:
    return torch.rand(*shape, generator=stream(seed, "test"), dtype=dtype)


def small_model(dtype: torch.dtype = torch.float32) -> nn.Module:
    with torch.random.fork_rng():
        torch.manual_seed(0)
        model = nn.Sequential(
            nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4), nn.Tanh(), nn.Flatten(), nn.Linear(144, 5)
        )
        model(torch.rand(64, 3, 8, 8))  # running statistics that are not the initial ones
    return model.to(dtype)


def random(images: torch.Tensor, purpose: str) -> torch.Tensor:
    return pgd.random_start(images.shape, Adversary().epsilon, stream(0, purpose))


def test_a_linear_loss_ends_at_the_corner_of_the_ball_and_box() -> None:
    images = pixels(4, 3, 5, 5)
    images[0], images[1] = 0, 1  # on the box's faces
    weights = torch.randn(3, 5, 5, generator=stream(0, "w"))
    weights[0, 0, 0] = 0
    for ascend, sign in ((True, weights.sign()), (False, -weights.sign())):
        noise = pgd.pgd(
            lambda x: (weights * x).sum(), images,
            epsilon=EPSILON, step_size=0.8 / 255, steps=11, ascend=ascend,
        )  # fmt: skip
        found = pgd.perturbed(images, noise)
        assert torch.equal(found, (images + EPSILON * sign).clamp(0, 1))
        assert noise.abs().max() <= EPSILON
        assert not noise[:, 0, 0, 0].any()  # sign(0) = 0


def test_equal_to_the_transcription_in_float64() -> None:
    model = small_model(torch.float64).eval()
    images = pixels(3, 3, 8, 8, dtype=torch.float64)
    images[0] = (images[0] * 3 - 1).clamp(0, 1)  # many pixels on the faces of the box
    labels = torch.tensor([0, 3, 4])

    def loss(x: torch.Tensor) -> torch.Tensor:
        return nn.functional.cross_entropy(model(x), labels, reduction="sum")

    def gradient(flat: list[float]) -> list[float]:
        x = torch.tensor(flat, dtype=torch.float64).view_as(images).requires_grad_()
        return torch.autograd.grad(loss(x), x)[0].flatten().tolist()

    start = pgd.random_start(images.shape, EPSILON, stream(0, "start"))
    for ascend in (True, False):
        found = pgd.pgd(
            loss, images, start, epsilon=EPSILON, step_size=2 / 255, steps=7, ascend=ascend
        )
        slow = reference.pgd(
            gradient, images.flatten().tolist(), start.flatten().tolist(),
            EPSILON, 2 / 255, 7, ascend, 0.0, 1.0,
        )  # fmt: skip
        wanted = torch.tensor(slow, dtype=torch.float64).view_as(images)
        torch.testing.assert_close(found, wanted, rtol=0, atol=1e-15)


def test_noise_alone_can_be_stepped_without_a_box() -> None:
    """REM's defender: the loss owns the images, so a pixel held by the range keeps its noise."""
    images = torch.tensor([[0.0, 0.5, 1.0]])
    start = torch.tensor([[-0.01, 0.01, 0.02]])
    noise = pgd.pgd(
        lambda d: (images + d).clamp(0, 1).sum(), torch.zeros_like(images), start,
        epsilon=0.03, step_size=0.01, steps=5, ascend=False, low=-torch.inf, high=torch.inf,
    )  # fmt: skip
    torch.testing.assert_close(noise, torch.tensor([[-0.01, -0.03, 0.02]]), rtol=0, atol=1e-8)


def test_adversary_raises_the_loss_inside_ball_and_box() -> None:
    model = small_model()
    images, labels = pixels(32, 3, 8, 8), torch.arange(32) % 5
    found = pgd.adversarial(model, images, labels, Adversary(), random(images, "adversary"))
    assert not found.requires_grad and found.min() >= 0 and found.max() <= 1
    assert (found.double() - images.double()).abs().max() <= 4 / 255 + 1e-7  # rounding of the sum
    model.eval()
    with torch.no_grad():
        losses = [
            nn.functional.cross_entropy(model(x), labels, reduction="none") for x in (images, found)
        ]
    assert (losses[1] > losses[0]).all()


def test_weights_gradients_statistics_and_modes_are_left_alone() -> None:
    model = small_model().train()
    model[1].eval()  # a module with a mode of its own
    before = {name: value.clone() for name, value in model.state_dict().items()}
    modes = [module.training for module in model.modules()]
    model[0].weight.grad = torch.ones_like(model[0].weight)
    images, labels = pixels(8, 3, 8, 8), torch.zeros(8, dtype=torch.long)
    with torch.no_grad():  # as evaluation calls it
        pgd.adversarial(model, images, labels, Adversary(steps=2), random(images, "adversary"))
    for name, value in model.state_dict().items():
        assert torch.equal(value, before[name]), name
    assert [module.training for module in model.modules()] == modes
    assert all(p.requires_grad for p in model.parameters())
    assert torch.equal(model[0].weight.grad, torch.ones_like(model[0].weight))
    assert all(p.grad is None for p in list(model.parameters())[1:])
    assert images.grad is None


def test_modes_come_back_after_an_error() -> None:
    model = small_model().train()
    try:
        with pgd.evaluating(model):
            assert not any(module.training for module in model.modules())
            raise KeyError
    except KeyError:
        assert all(module.training for module in model.modules())


def test_batch_norm_uses_running_statistics() -> None:
    model, images = small_model().train(), pixels(8, 3, 8, 8)
    labels = torch.arange(8) % 5
    start = pgd.random_start(images.shape, EPSILON, stream(0, "start"))
    one = Adversary(epsilon=EPSILON, step_size=0.01, steps=3)
    whole = pgd.adversarial(model, images, labels, one, start)
    half = pgd.adversarial(model, images[:4], labels[:4], one, start[:4])
    torch.testing.assert_close(whole[:4], half)  # so an image does not see its batch


def test_under_bf16_autocast_images_stay_float32() -> None:
    model, images = small_model(), pixels(16, 3, 8, 8)
    labels = torch.arange(16) % 5

    def autocast() -> torch.autocast:
        return torch.autocast("cpu", torch.bfloat16)

    found = pgd.adversarial(model, images, labels, Adversary(), random(images, "a"), autocast)
    exact = pgd.adversarial(model, images, labels, Adversary(), random(images, "a"))
    assert found.dtype == torch.float32
    assert (found == exact).float().mean() > 0.8  # signs of tiny gradients differ


def test_random_start_is_uniform_in_the_ball_and_keeps_the_layout() -> None:
    images = pixels(50, 3, 32, 32).contiguous(memory_format=torch.channels_last)
    noise = pgd.random_start(images.shape, EPSILON, stream(1, "start"))
    assert noise.abs().max() <= EPSILON
    counts = torch.histc(noise, 10, -EPSILON, EPSILON) / noise.numel()
    torch.testing.assert_close(counts, torch.full((10,), 0.1), rtol=0, atol=0.004)
    assert torch.equal(noise, pgd.random_start(images.shape, EPSILON, stream(1, "start")))
    found = pgd.pgd(torch.sum, images, noise, epsilon=EPSILON, step_size=0.01, steps=1)
    assert pgd.perturbed(images, found).is_contiguous(memory_format=torch.channels_last)


def test_no_steps_and_no_start_change_nothing() -> None:
    images = pixels(2, 3, 4, 4)
    noise = pgd.pgd(torch.sum, images, epsilon=EPSILON, step_size=0.01, steps=0)
    assert torch.equal(pgd.perturbed(images, noise), images)
