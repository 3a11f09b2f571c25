"""The loops of REM, EM, AT and evaluation as stkit runs them, with the net they ask exchangeable.

A `Work` is a loop that is timed by the unit; `made` is what one making step comes to (noise, or the
attacked images), `signs` what a net says of the direction of the noise.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace

import torch
import torch.nn.functional as F
from frozen import Frozen, Ways
from torch import Tensor, nn

from stkit import models
from stkit.core.rng import stream
from stkit.data.images import Images, to_float
from stkit.engine import pgd
from stkit.engine.runtime import Runtime
from stkit.engine.step import Step
from stkit.measure.accuracy import Evaluator
from stkit.poisons import em, rem
from stkit.recipes.frames import FRAMES
from stkit.recipes.poisons import EM, REM, resolve
from stkit.recipes.poisons.rem import ResolvedREM

METHODS = ("rem", "em", "at", "eval")
LONG = 10_000  # steps of noise on the first batch: more than are timed
MEAN = {"rem": 0.5}  # what the surrogate subtracts
TOLERANCE = 1e-4  # of a pixel: far below a step, far above rounding


@dataclass(frozen=True)
class Bench:
    """What all works of a method share. small: fewer and shorter steps, for tests."""

    method: str
    model: str
    images: Images
    runtime: Runtime
    batch: int
    small: bool = False
    whole: int = 0  # the batch of the work, where this is a smaller one that is compared

    def times(self, factor: float) -> "Bench":
        return replace(self, batch=max(1, int(self.batch * factor)))

    def net(self, weights: dict[str, Tensor] | None = None) -> nn.Module:
        size, classes = self.images.size, len(self.images.classes)
        mean = (MEAN.get(self.method, 0.0),) * 3
        net = models.create(self.model, classes=classes, size=size, mean=mean)
        net = net.to(self.runtime.device, memory_format=torch.channels_last)
        if weights is not None:
            net.load_state_dict(weights)
        return net

    def recipe(self, steps: int | None = None) -> EM | REM:
        """steps: of the noise; None: as the authors have it."""
        few = steps or (2 if self.small else None)
        if self.method == "em":
            return EM(model=self.model, batch_size=self.batch, steps=few)
        if not self.small:
            return REM(model=self.model, batch_size=self.batch, steps=few)
        return REM(model=self.model, batch_size=self.batch, steps=few, eot=2, adversary_steps=2)

    def crafting(self, net: nn.Module, ways: Ways, steps: int | None) -> em.Crafting | rem.Crafting:
        """At the noise of its first batch; REM's at the last pass."""
        made: em.Crafting | rem.Crafting
        recipe, how = self.recipe(steps), {"seed": 0, "runtime": self.runtime, "surrogate": net}
        if isinstance(recipe, EM):
            made = em.Crafting(self.images, recipe, **how)
            made.turn = "noise"
        else:
            made = rem.Crafting(self.images, recipe, **how)
            made.at = made.recipe.model_steps
        made.surrogate.frozen = self.called(made.surrogate.model, ways)
        return made

    def called(self, net: nn.Module, ways: Ways) -> nn.Module:
        """The net to call."""
        if not ways.twin:
            return net
        dtype = torch.float32 if self.runtime.precision == "fp32" else torch.bfloat16
        return Frozen(net, ways, dtype, self.passed, self.method != "eval")

    @property
    def passed(self) -> int:
        """Images that go through the net at a time."""
        count = self.whole or self.batch
        if self.method != "rem":
            return count
        recipe = resolve(self.recipe(), (self.images.size,) * 2, len(self.images.classes))
        assert isinstance(recipe, ResolvedREM)
        return recipe.eot * count

    def step(self, net: nn.Module, ways: Ways) -> Step:
        layers = [list(dict(net.named_parameters()))]
        step = Step(net, net, layers, FRAMES["at"].train, self.runtime, seed=0)
        step.attacked = self.called(net, ways)
        return step

    def evaluator(self, net: nn.Module, ways: Ways, images: Images) -> Evaluator:
        called = self.called(net, ways)
        evaluator = Evaluator(called, images, runtime=self.runtime, batch_size=self.batch)
        evaluator.dtype = next(net.parameters()).dtype  # a twin may hold its own in bf16
        return evaluator

    def first(self, count: int, net: nn.Module) -> tuple[Tensor, Tensor]:
        """Images of the net's type, channels last, and labels."""
        place, dtype = self.runtime.place, next(net.parameters()).dtype
        x = to_float(place(self.images.pixels[:count]), dtype)
        return x.contiguous(memory_format=torch.channels_last), place(self.images.labels[:count])


class Work:
    """A loop with its own net. unit: does a piece of it, and says how many images have passed."""

    def __init__(self, bench: Bench, weights: dict[str, Tensor], ways: Ways) -> None:
        self.bench, self.ways = bench, ways
        net = bench.net(weights)
        self.refresh: Callable[[], object] = lambda: None
        self.unit: Callable[[], int]
        if bench.method in ("em", "rem"):
            crafting = bench.crafting(net, ways, LONG)
            called, steps = crafting.surrogate.frozen, crafting.steps()
            self.unit = lambda: noise_step(steps, crafting)
        elif bench.method == "at":
            step = bench.step(net, ways)
            called, clocks = step.attacked, iter(range(10**9))
            x, y = (bench.runtime.place(t[: bench.batch]) for t in
                    (bench.images.pixels, bench.images.labels))  # fmt: skip
            passes = FRAMES["at"].train.adversary.steps + 1
            self.unit = lambda: attacked_step(self, step, x, y, next(clocks)) * passes
        else:
            evaluator = bench.evaluator(net, ways, bench.images)
            called = evaluator.model
            self.unit = lambda: evaluated(evaluator)
        if isinstance(called, Frozen) and called.writes:
            self.refresh = called.refresh
            if bench.runtime.replays:
                self.refresh = recorded(called.refresh)


def recorded(call: Callable[[], object]) -> Callable[[], object]:
    """What replays a call that was made before, as a CUDA graph."""
    torch.cuda.synchronize()
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph):
        call()
    return graph.replay


def noise_step(steps: Iterator, crafting: em.Crafting | rem.Crafting) -> int:
    next(steps)
    count = min(crafting.recipe.batch_size, len(crafting.images))
    recipe = crafting.recipe
    return count * (recipe.eot * (recipe.adversary_steps + 1) if isinstance(recipe, REM) else 1)


def attacked_step(work: Work, step: Step, x: Tensor, y: Tensor, clock: int) -> int:
    """The weights change every step, so what was made of them is made anew."""
    work.refresh()
    step(x, y, batch_size=len(x), clock=clock)
    return len(x)


def evaluated(evaluator: Evaluator) -> int:
    evaluator.confusion()
    return evaluator.count


def learned(bench: Bench, steps: int) -> dict[str, Tensor]:
    """Weights after so many steps, so that BatchNorm's statistics are some."""
    some = min(len(bench.images), 64)
    net = bench.net()
    layers = [list(dict(net.named_parameters()))]
    step = Step(net, net, layers, FRAMES["nt"].train, bench.runtime, seed=0)
    x, y = (bench.runtime.place(t) for t in (bench.images.pixels, bench.images.labels))
    for clock in range(steps):
        rows = torch.randperm(len(x), generator=stream(0, "order", clock))[:some].to(x.device)
        step(x[rows], y[rows], batch_size=some, clock=clock)
    return {name: value.clone() for name, value in net.state_dict().items()}


def made(bench: Bench, net: nn.Module, ways: Ways, count: int) -> Tensor | None:
    """Noise of one making step on the first `count` images, step by step; of AT the attacked
    images."""
    runtime, rows = replace(bench.runtime, how="eager"), torch.arange(count)
    few = replace(
        bench, batch=count, whole=bench.batch, images=bench.images.rows(rows), runtime=runtime
    )
    if bench.method == "eval":
        return None
    if bench.method == "at":
        called, adversary = few.called(net, ways), FRAMES["at"].train.adversary
        x, y = few.first(count, net)
        start = pgd.random_start(x.shape, adversary.epsilon, stream(0, "start", 0, x.device))
        return pgd.adversarial(called, x, y, adversary, start, runtime.autocast).double()
    crafting = few.crafting(net, ways, None)
    place = crafting.at, getattr(crafting, "turn", "")
    for _ in crafting.steps():
        if (crafting.at, getattr(crafting, "turn", "")) != place:
            break
    noise = crafting.noise[:count]
    return noise.double() / 255 if noise.dtype == torch.int8 else noise.double()


def said(bench: Bench, net: nn.Module, ways: Ways, count: int) -> Tensor:
    """The loss's gradient with respect to the first images, with noise on them, as `pgd` asks for
    it; for evaluation the predicted classes."""
    x, y = bench.first(count, net)
    called, more = bench.called(net, ways), max(1, int(ways.times))
    x = x + pgd.random_start(x.shape, 8 / 255, stream(0, "point", 0, x.device)).to(x.dtype)
    x = x.clamp(0, 1).repeat(more, 1, 1, 1).contiguous(memory_format=torch.channels_last)
    x.requires_grad_(bench.method != "eval")
    with (
        pgd.evaluating(called),
        torch.set_grad_enabled(x.requires_grad),
        bench.runtime.autocast(),
    ):
        answers = called(x)
    if bench.method == "eval":
        return answers[:count].argmax(1)
    answers = answers.to(torch.promote_types(answers.dtype, torch.float32))
    loss = F.cross_entropy(answers, y.repeat(more), reduction="sum")
    (found,) = torch.autograd.grad(loss, x)
    return found[:count].double()
