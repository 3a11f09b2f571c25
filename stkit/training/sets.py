"""What a training reads, on its device: batches, D^s, and the sets that it is measured on."""

from collections.abc import Callable, Iterator
from functools import partial

import torch
from torch import Tensor, nn

from stkit.core import rng
from stkit.core.errors import RecipeError
from stkit.data import prepare
from stkit.data.images import Images, to_float
from stkit.engine.feed import Batch, Feed
from stkit.engine.runtime import Runtime
from stkit.measure import acm
from stkit.measure.accuracy import Evaluator, accuracy
from stkit.recipes.staged import Staged
from stkit.recipes.training import TrainingRecipe
from stkit.training.plan import Plan
from stkit.training.purified import Purified
from stkit.training.recording import Recording
from stkit.training.schedule import Held
from stkit.training.staged import Measure, measured

Augment = Callable[[Tensor, torch.Generator], Tensor]
"""(images float [B,3,H,W] in [0,1], the step's own generator) -> images of the same shape."""


class Sets:
    """The images of a training, prepared; `probe` is D^s: uint8 images and labels; `recording`
    measures on it.

    model: whose accuracy is measured, on the images held out and on the test set, if there are any.
    """

    def __init__(
        self,
        images: Images,
        recipe: TrainingRecipe,
        todo: Plan,
        *,
        model: nn.Module,
        runtime: Runtime,
        test: Images | None,
        augment: Augment | None,
    ) -> None:
        self.recipe, self.plan, self.runtime = recipe, todo, runtime
        self.model, self.augment = model, augment
        prepared = prepare.prepare(images, todo.phases[0].prepare, seed=recipe.seed)
        self.feed = Feed(prepared.pixels, prepared.labels, runtime)
        rows, classes = todo.train_rows, len(images.classes)
        chosen = acm.draw(prepared.labels[rows], classes=classes, seed=recipe.seed)
        self.probe = self.feed.take(rows[chosen])
        self.recording = Recording(
            recipe.record, model, self.probe, classes=classes, runtime=runtime
        )
        self.purified: Purified | None = None
        self.holdout: Evaluator | None = None
        if recipe.purified:
            self.purified = Purified(
                model, images.rows(todo.holdout_rows), prepared=todo.phases[0].prepare,
                runtime=runtime,
            )  # fmt: skip
        elif recipe.holdout:
            self.holdout = Evaluator(model, images.rows(todo.holdout_rows), runtime=runtime)
        self.test = None if test is None else Evaluator(model, test, runtime=runtime)

    def batches(self, epoch: int, offset: int) -> Iterator[Batch]:
        """This rank's parts of an epoch's batches, in the epoch's own order, from `offset` on.

        Images uint8 [b,3,H,W], or float in [0,1] where the user's function augments them.
        """
        generator = rng.stream(self.recipe.seed, "order", epoch)
        order = torch.randperm(len(self.plan.train_rows), generator=generator)
        rows = self.feed.rows(self.plan.train_rows[order])
        size, steps = self.plan.batch_size, self.plan.steps_per_epoch
        part = self.runtime.part(size)
        batches = self.feed.batches(
            rows[start * size : (start + 1) * size][part] for start in range(offset, steps)
        )
        if self.augment is None:
            yield from batches
            return
        for clock, (pixels, labels) in enumerate(batches, epoch * steps + offset):
            yield self._augmented(pixels, self.augment, clock), labels

    def _augmented(self, pixels: Tensor, augment: Augment, clock: int) -> Tensor:
        """What the user's function makes of them; torch's own generator is seeded for it too."""
        purpose = f"own augment, rank {self.runtime.rank}"
        generator = rng.stream(self.recipe.seed, purpose, clock, pixels.device)
        rng.reseed(self.recipe.seed, purpose, clock, torch.device("cpu"))
        images = augment(to_float(pixels), generator)
        if not isinstance(images, Tensor):
            raise RecipeError(
                f"augment returned a {type(images).__name__}, expected a tensor: float images of "
                "the same shape"
            )
        if images.shape != pixels.shape or not images.is_floating_point():
            raise RecipeError(
                f"augment made {images.dtype} {tuple(images.shape)} of float "
                f"{tuple(pixels.shape)}, expected float images of the same shape"
            )
        return images

    def judged(self, staged: Staged) -> tuple[Batch, Measure]:
        """What a schedule looks at, and how it is measured, on all ranks alike: D^s for ACM of a
        layer, or the images held out."""
        if staged.purified:
            assert self.purified is not None, "as a recipe sees to"
            feed = self.purified.evaluator.feed
            return (feed.images, feed.labels), lambda *_: self.held_out()
        count = self.recording.classes
        measure = partial(measured, layer=staged.layer, classes=count, runtime=self.runtime)
        return self.probe, measure

    def accuracies(self) -> Held:
        """The model's accuracy on each set; an answer that is not finite is a wrong one."""
        held = self.held_out()
        if self.test is not None:
            held["accuracy"] = accuracy(self.test.confusion(), self.test.count)
        return held

    def held_out(self) -> Held:
        """The model's accuracy on the images held out, washed too where that is asked for."""
        self.runtime.broadcast_(*self.model.buffers())
        if self.purified is not None:
            return self.purified()
        if self.holdout is None:
            return Held()
        return Held(holdout_accuracy=accuracy(self.holdout.confusion(), self.holdout.count))
