"""EM's and REM's inner loops: as their authors write them, and stkit's. See `poison_speed.py`.

Each is an iterator that does one step on the device and yields how many image-steps that was.
"""

import random
from collections.abc import Callable, Iterator

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from stkit.data.images import Images
from stkit.engine.runtime import Runtime
from stkit.poisons import em, rem
from stkit.recipes.poisons import EM, REM

EPSILON, ATTACK = 8 / 255, 4 / 255
LONG = 10_000  # steps of noise on the first batch: more than are timed


def plain_em(model: nn.Module, x: Tensor, y: Tensor) -> Iterator[int]:
    """Twenty steps on one batch of 128, then the next: Variables, retain_grad, a full backward."""
    for parameter in model.parameters():
        parameter.requires_grad_(False)
    model.eval()
    while True:
        for start in range(0, max(1, len(x) - 127), 128):
            images, labels = x[start : start + 128], y[start : start + 128]
            moved = images.clone().requires_grad_()
            for _ in range(20):
                model.zero_grad()
                moved.retain_grad()
                F.cross_entropy(model(moved), labels).backward()
                eta = -0.8 / 255 * moved.grad.data.sign()
                eta = torch.clamp(moved.data + eta - images, -EPSILON, EPSILON)
                moved = torch.clamp(images + eta, 0, 1).requires_grad_()
                yield len(images)


def plain_rem(model: nn.Module, x: Tensor, y: Tensor) -> Iterator[int]:
    """Defender steps on batches of 128: five draws one after another, images one by one."""
    for parameter in model.parameters():
        parameter.requires_grad_(False)
    model.eval()

    def transform(images: Tensor) -> Tensor:
        out = []
        for image in images:
            if random.random() < 0.5:
                image = image.flip(2)
            top, left = random.randrange(9), random.randrange(9)
            padded = F.pad(image, (4, 4, 4, 4))
            out.append(padded[:, top : top + image.shape[1], left : left + image.shape[2]])
        return torch.stack(out)

    while True:
        images, labels = x[:128], y[:128]
        noise = torch.empty_like(images).uniform_(-EPSILON, EPSILON)
        for _ in range(10):
            leaf = noise.clone().requires_grad_()
            for _ in range(5):
                u = transform((images + leaf).clamp(0, 1))
                a = (u.detach() + torch.empty_like(u).uniform_(-ATTACK, ATTACK)).clamp(0, 1)
                for _ in range(10):
                    a.requires_grad_()
                    (g,) = torch.autograd.grad(F.cross_entropy(model(a), labels), a)
                    a = torch.max(torch.min(a.detach() + 0.8 / 255 * g.sign(), u + ATTACK),
                                  u - ATTACK).detach().clamp(0, 1)  # fmt: skip
                    yield len(images)
                a.requires_grad_()
                (g,) = torch.autograd.grad(F.cross_entropy(model(a), labels), a)
                u.backward(g)
                yield len(images)
            noise = (noise - 1.6 / 255 * leaf.grad.sign()).clamp(-EPSILON, EPSILON)


def our_em(images: Images, model: str, runtime: Runtime, batch: int) -> Iterator[int]:
    """Steps of EM's noise, after the surrogate's first."""
    recipe = EM(model=model, batch_size=batch, model_steps=1, steps=LONG)
    crafting = em.Crafting(images, recipe, seed=0, runtime=runtime)
    for number, _ in enumerate(crafting.steps()):
        if number:
            yield min(batch, len(images))


def our_rem(images: Images, model: str, runtime: Runtime, batch: int) -> Iterator[int]:
    """Steps of REM's noise; each is eot * (adversary steps + 1) passes of its batch."""
    recipe = REM(model=model, batch_size=batch, steps=LONG)
    crafting = rem.Crafting(images, recipe, seed=0, runtime=runtime)
    for _ in crafting.steps():
        yield crafting.batch * crafting.recipe.eot * (crafting.recipe.adversary_steps + 1)


PLAIN: dict[str, Callable[[nn.Module, Tensor, Tensor], Iterator[int]]] = {
    "em": plain_em, "rem": plain_rem
}  # fmt: skip
OURS: dict[str, Callable[[Images, str, Runtime, int], Iterator[int]]] = {
    "em": our_em, "rem": our_rem
}  # fmt: skip
