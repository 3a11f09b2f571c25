"""EM's and REM's inner loops against plain transcriptions of their authors' style, in one run.

Counts image-steps a second (one forward pass and one gradient with respect to the image). The plain
loops are float32 in the channels-first layout, batch 128: EM as min_min_attack does it, REM as
RobustMinimaxPGDDefender.perturb does it, the transform image by image. Ours are `em.Crafting` and
`rem.Crafting` as `stkit poison` runs them, in float32 and bf16. From REM's rate follows the time of
its whole recipe, 3.9e8 image passes on CIFAR-10. `share` is the part of the arithmetic limit
(`limits.py`: operations of an image-step over the rate of a matrix product) that a loop reaches.

    python benchmarks/poison_speed.py [SOURCE] [--methods em,rem] [--models small,resnet18] [--json]
"""

import argparse
import json
import random
from collections.abc import Callable, Iterator
from time import perf_counter

import limits
import measuring
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from stkit import load, models
from stkit.data.images import Images, to_float
from stkit.engine.process import configure
from stkit.engine.runtime import Runtime, pick
from stkit.poisons import em, rem
from stkit.recipes.poisons import EM, REM

WHOLE_REM = 3.9e8  # image passes: 3.02 million batches of 128
EPSILON, ATTACK = 8 / 255, 4 / 255
COLUMNS = {
    "method": "method", "model": "model", "loop": "loop", "image-steps/s": "rate", "gain": "gain",
    "limit": "limit", "share": "share", "whole recipe h": "whole_recipe_hours",
}  # fmt: skip


def wait(device: torch.device) -> None:
    if device.type == "cuda":
        torch.cuda.synchronize(device)


def rate(work: Iterator[int], seconds: float, device: torch.device) -> float:
    """Image-steps a second over at least `seconds`, after the first unit, which warms up."""
    next(work)
    wait(device)
    start, done = perf_counter(), 0
    while perf_counter() - start < seconds:
        done += next(work)
        wait(device)
    return done / (perf_counter() - start)


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


LONG = 10_000  # steps of noise on the first batch: more than are timed


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


def measure(options: argparse.Namespace, images: Images, model: str) -> list[dict]:
    """The rows of one model."""
    base = pick(options.device, "fp32")
    configure(base)
    x, y = to_float(base.place(images.pixels)), base.place(images.labels)
    classes = len(images.classes)
    count = limits.per_image(model, "gradient", classes=classes, size=images.size)
    device = str(base.device)
    limit = {p: limits.product_rate(device, p, 1) / count for p in limits.PRECISIONS}

    def fresh() -> nn.Module:
        return models.create(model, classes=classes, size=images.size).to(base.device)

    rows = []
    sides: list[tuple[str, Callable, Callable, int]] = [
        ("em", plain_em, our_em, options.em_batch), ("rem", plain_rem, our_rem, options.rem_batch)
    ]  # fmt: skip
    for method, plain, ours, batch in sides:
        if method not in options.methods.split(","):
            continue
        slow = rate(plain(fresh(), x, y), options.seconds, base.device)
        rows.append({
            "method": method, "model": model, "loop": "plain fp32, batch 128", "rate": slow,
            "gain": 1.0, "limit": limit["fp32"],
        })  # fmt: skip
        for precision in ("fp32", "bf16"):
            runtime = pick(options.device, precision)
            configure(runtime)
            found = rate(ours(images, model, runtime, batch), options.seconds, base.device)
            rows.append({
                "method": method, "model": model, "loop": f"stkit {precision}, batch {batch}",
                "rate": found, "gain": found / slow, "limit": limit[precision],
            })  # fmt: skip
    for row in rows:
        row["share"] = row["rate"] / row["limit"]
        if row["method"] == "rem":
            row["whole_recipe_hours"] = WHOLE_REM / row["rate"] / 3600
    return rows


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("source", nargs="?", default="digits", help="as of stkit data")
    parser.add_argument("--methods", default="em,rem", help="by commas")
    parser.add_argument("--models", default="resnet18", help="by commas")
    parser.add_argument("--device", default="auto", help="cpu, cuda or cuda:N")
    parser.add_argument("--limit", type=int, default=2048, help="images of the set")
    parser.add_argument("--em-batch", type=int, default=512, help="stkit's; the plain loop: 128")
    parser.add_argument("--rem-batch", type=int, default=128, help="the same")
    parser.add_argument("--seconds", type=float, default=20, help="of each row")
    parser.add_argument("--json", action="store_true")
    options = parser.parse_args()
    images = load(options.source, limit=options.limit)
    rows = [row for model in options.models.split(",") for row in measure(options, images, model)]
    if options.json:
        print(json.dumps({"models": options.models, "device": options.device, "rows": rows}))
        return
    print(f"{options.device}, {torch.get_num_threads()} threads")
    print(measuring.table(rows, COLUMNS))


if __name__ == "__main__":
    main()
