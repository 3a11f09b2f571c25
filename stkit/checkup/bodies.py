"""A small run of each kind of body, and what it leaves behind.

All of them walk the same few made-up images with the small net, at a small rate. The net is the
user's own for stkit, so that it may be of any type.
"""

from collections.abc import Callable, Iterator, Mapping
from copy import deepcopy
from dataclasses import dataclass
from functools import cache, partial
from itertools import islice
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from stkit import models
from stkit.checkup.findings import Outcome, Quantity, quantity
from stkit.core.rng import stream
from stkit.data.images import Images, to_float
from stkit.engine import pgd
from stkit.engine.runtime import Runtime
from stkit.engine.step import momentum
from stkit.measure import accuracy, acm
from stkit.poisons import em, rem
from stkit.recipes.frames import Adversary
from stkit.recipes.options import frame_with
from stkit.recipes.poisons import EM, REM
from stkit.recipes.training import OWN, TrainingRecipe
from stkit.training.loop import Training

COUNT, BATCH, SIZE, CLASSES = 48, 16, 32, 10
RATE = 0.01
VISIBLE = 1 / 1000
"""Of a pixel: noise moves by whole steps of 0.8/255 or more, rounding by far less."""
FEW = 0.05
"""Of an error: more than two answers in 48."""


@dataclass(frozen=True)
class Body:
    """A kind of body. run: what it does on a runtime, in a type, so many steps long.

    signs, levels: it goes by the signs of gradients, or by whole grey levels, some of which a last
    bit decides. halved: it can be compared in bf16. recorded: it is replayed where steps are.
    """

    name: str
    run: Callable[[Runtime, torch.dtype, int], Outcome]
    signs: bool = False
    levels: bool = False
    halved: bool = True
    recorded: bool = True


def images(count: int = COUNT) -> Images:
    """A few pictures of coarse patches, so that a fresh net tells them apart."""
    coarse = torch.rand(count, 3, 4, 4, generator=stream(0, "images"))
    pixels = F.interpolate(coarse, size=(SIZE, SIZE), mode="bicubic").clamp(0, 1)
    labels = torch.arange(count) % CLASSES
    return Images.from_tensors(pixels, labels, classes=range(CLASSES), name="made up")


def net(dtype: torch.dtype) -> nn.Module:
    """The small net of this type, with the statistics of these images in its norms."""
    return deepcopy(_settled()).to(dtype)


@cache
def _settled() -> nn.Module:
    """The same in float64, so that the number of threads decides nothing; made once, for time."""
    model = models.create("small", classes=CLASSES, size=SIZE).double()
    norms = [module for module in model.modules() if isinstance(module, nn.BatchNorm2d)]
    for norm in norms:
        norm.momentum = None  # the mean over all passes, here the one
    with torch.no_grad():
        model(to_float(images().pixels, torch.float64))
    for norm in norms:
        norm.momentum = 0.1
    return model


def training(name: str, runtime: Runtime, dtype: torch.dtype, **options: Any) -> Training:
    """A training by a frame, before its first step."""
    chosen = frame_with(name, epochs=1, lr=RATE, **options)
    recipe = TrainingRecipe(chosen, f"{OWN}net", BATCH)
    return Training(images(), recipe, runtime=runtime, model=net(dtype))


def framed(name: str, runtime: Runtime, dtype: torch.dtype, steps: int) -> Outcome:
    """The first steps of a frame."""
    return trained(training(name, runtime, dtype), steps)


def staged(runtime: Runtime, dtype: torch.dtype, steps: int) -> Outcome:
    """Both phases of st-full, with a roll-back at the first check, from its first step on."""
    options = {"gamma": 0.0, "check_every": 1, "fine_tune_epochs": 1, "fine_tune_lr": RATE}
    run = training("st-full", runtime, dtype, **options)
    outcome = trained(run, run.plan.steps)
    checks = {f"step {check.step}": check for epoch in run.epochs for check in epoch.checks}
    measures = {step: torch.tensor([*check.acm.values()]) for step, check in checks.items()}
    stages = {step: torch.tensor([float(check.tau)]) for step, check in checks.items()}
    return quantity("ACM", measures), quantity("stages", stages, 0.5), *outcome


def trained(run: Training, steps: int) -> Outcome:
    """What a training leaves behind; its images are what the net saw in the last step."""
    before = weights(run.model)
    seen: dict[str, Tensor] = {}

    def look(module: nn.Module, inputs: tuple[Tensor, ...]) -> None:
        if module.training:
            seen["batch"] = inputs[0].detach()

    one = run.runtime.world_size == 1 and run.runtime.how == "eager" and not run.runtime.record
    if one:  # a recording would have the hook in it, and a rank sees its share alone
        run.model.register_forward_pre_hook(look)
    for _ in islice(run.steps(), steps):
        pass
    losses = {f"epoch {epoch.epoch}": torch.tensor(epoch.loss) for epoch in run.epochs}
    return (
        quantity("images", seen, VISIBLE),
        quantity("loss", losses | {"the rest": run.runtime.sum_(run.step.sums.clone())[0]}),
        *learned(run.model, run.step.sgd, before),
    )


def weights(model: nn.Module) -> dict[str, Tensor]:
    """A copy of a model's weights, by their names."""
    return {name: value.detach().clone() for name, value in model.named_parameters()}


def learned(
    model: nn.Module, sgd: torch.optim.Optimizer, before: Mapping[str, Tensor]
) -> Iterator[Quantity]:
    """What steps of SGD have made of a model, by the names of its tensors."""
    yield quantity("statistics", {k: v for k, v in model.named_buffers() if "running" in k})
    yield quantity("gradients", momentum(model, sgd))
    yield quantity("change of weights", {k: v - before[k] for k, v in model.named_parameters()})


def minimized(runtime: Runtime, dtype: torch.dtype, steps: int) -> Outcome:
    """A round of EM: the turns of the surrogate, of the noise and of the error."""
    recipe = EM(
        batch_size=BATCH, model_steps=steps, steps=steps, max_rounds=1, stop_error=0.0, lr=RATE
    )
    made = em.Crafting(images(), recipe, seed=0, runtime=runtime, surrogate=net(dtype))
    before = weights(made.surrogate.model)
    for _ in made.steps():
        pass
    wrong = torch.tensor([each.error for each in made.rounds.all])
    return (
        *learned(made.surrogate.model, made.surrogate.sgd, before),
        quantity("delta", {"": made.noise}, VISIBLE),
        quantity("error", {"": wrong}, FEW),
    )


def robustly_minimized(runtime: Runtime, dtype: torch.dtype, steps: int) -> Outcome:
    """Steps of REM's surrogate, each with noise of its own, then the final noise of a batch."""
    recipe = REM(
        batch_size=BATCH, model_steps=steps, steps=steps, eot=2, adversary_steps=steps, lr=RATE
    )
    made = rem.Crafting(images(BATCH), recipe, seed=0, runtime=runtime, surrogate=net(dtype))
    before = weights(made.surrogate.model)
    for _ in made.steps():
        pass
    return (
        *learned(made.surrogate.model, made.surrogate.sgd, before),
        quantity("delta", {"": made.noise / 255}, VISIBLE),
    )


def evaluated(
    adversary: Adversary | None, runtime: Runtime, dtype: torch.dtype, steps: int
) -> Outcome:
    """The answers to a batch, and the confusion on all images."""
    model = net(dtype).to(memory_format=torch.channels_last).to(runtime.device)
    judge = accuracy.Evaluator(
        model, images(), runtime=runtime, adversary=adversary, batch_size=BATCH
    )
    for _ in range(steps):
        confusion = judge.confusion()
    pixels, labels = judge.feed.take(torch.arange(BATCH))
    x, start = to_float(pixels, dtype), None
    if adversary is not None:
        start = pgd.random_start(x.shape, adversary.epsilon, stream(0, "checkup", 0, x.device))
    with pgd.evaluating(model):
        answers = accuracy.logits(model, x, labels, runtime, adversary, start)
    return quantity("answers", {"": answers}), quantity("confusion", {"": confusion}, 0.5)


def clustered(runtime: Runtime, dtype: torch.dtype, steps: int) -> Outcome:
    """What ACM is made of."""
    model = net(dtype).to(memory_format=torch.channels_last).to(runtime.device)
    some = images()
    got = acm.measure(model, some.pixels, some.labels, CLASSES)
    spread = {"nearest": got.L, "sigma": got.sigma, "radius": got.radius}
    return (quantity("distances", spread),)


BODIES = (
    Body("nt", partial(framed, "nt")),
    Body("nt-cg", partial(framed, "nt-cg")),
    Body("at", partial(framed, "at"), signs=True),
    Body("ueraser-max", partial(framed, "ueraser-max"), levels=True, halved=False),
    Body("autoaugment", partial(framed, "autoaugment"), levels=True),
    Body("cutmix", partial(framed, "cutmix")),
    Body("dropout", partial(framed, "dropout")),
    Body("st-full", staged, halved=False),
    Body("EM", minimized, signs=True),
    Body("REM", robustly_minimized, signs=True),
    Body("evaluation", partial(evaluated, None)),
    Body("evaluation under PGD", partial(evaluated, Adversary(steps=5)), signs=True),
    Body("ACM", clustered, halved=False, recorded=False),
)
