"""stkit's own loops, as its commands run them, in turns that a benchmark times."""

import time
from collections.abc import Iterator
from typing import Any

import torch

from stkit.data.images import Images
from stkit.engine.process import configure
from stkit.engine.runtime import pick
from stkit.measure.accuracy import Evaluator
from stkit.recipes.frames import FRAMES, NATURAL
from stkit.recipes.options import frame_with
from stkit.recipes.training import TrainingRecipe
from stkit.training.loop import Training
from stkit.training.staged import measured

EPOCH = 50_000  # images, for what is done once an epoch
WARM = 5  # steps before anything counts


class Side:
    """One task on one set, with the methods of `plain.Plain`."""

    def __init__(self, case: dict[str, Any], images: Images) -> None:
        self.task = case["task"]
        self.runtime = pick(case["device"], case["precision"], step=case["step"])
        configure(self.runtime)
        frame = self.task if self.task in FRAMES else NATURAL
        recipe = TrainingRecipe(
            frame_with(frame, epochs=100_000), case["model"], case["batch_size"]
        )
        self.training = Training(images, recipe, runtime=self.runtime)
        self.steps: Iterator = self.training.steps()
        self.evaluator = Evaluator(self.training.model, images, runtime=self.runtime)
        self.count = len(images)

    def warm(self) -> None:
        for _ in range(WARM if self.task in FRAMES else 1):
            self.unit()
        self.wait()

    def open(self) -> None: ...

    def close(self) -> None: ...

    def wait(self) -> None:
        if self.runtime.device.type == "cuda":
            torch.cuda.synchronize()

    def unit(self) -> int:
        if self.task == "eval":
            self.evaluator.confusion()
            return self.count
        if self.task == "acm":
            probe = self.training.sets.probe
            measured(self.training.model, *probe, runtime=self.runtime)
            return len(probe[1])
        next(self.steps)
        return self.training.plan.batch_size

    def turn(self, seconds: float) -> dict[str, float]:
        """Images a second. Steps that end an epoch are timed apart and count once in EPOCH.

        A staged frame goes on until there is one, as its check is part of the price.
        """
        todo = self.training.plan
        steps = ends = count = 0
        stepping = ending = 0.0
        self.wait()
        begun = start = time.perf_counter()
        staged = self.task in FRAMES and FRAMES[self.task].train.staged is not None
        while time.perf_counter() - begun < seconds or not count or (staged and not ends):
            last = self.task in FRAMES and (
                (self.training.executed + 1) % todo.steps_per_epoch == 0
            )
            if last:
                self.wait()
                stepping, start = stepping + time.perf_counter() - start, time.perf_counter()
            found = self.unit()
            count += found
            if last:
                self.wait()
                ending, start = ending + time.perf_counter() - start, time.perf_counter()
                ends += 1
            else:
                steps += found
        self.wait()
        stepping += time.perf_counter() - start
        if not ends or not steps:
            return {"rate": count / (stepping + ending)}
        image = stepping / steps
        end = max(0.0, ending / ends - todo.batch_size * image)
        return {"rate": EPOCH / (EPOCH * image + end), "epoch_end_seconds": end}
