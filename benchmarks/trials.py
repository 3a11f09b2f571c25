"""One candidate against today's code on a device: `candidates.py`'s child."""

import argparse
import gc
import sys
import time
from dataclasses import replace
from typing import Any

import candidates
import torch
import works
from frozen import Ways
from torch import Tensor

from stkit import load
from stkit.engine.process import configure
from stkit.engine.runtime import Runtime, pick

IMAGES = 2048
TODAY = Ways()
OTHER_DRAWS = ("times", "streams")


def reason(error: BaseException) -> str:
    """An error, and what it came of, in one line."""
    said: list[str] = []
    cause: BaseException | None = error
    while cause is not None and len(said) < 3:
        said.append(f"{type(cause).__name__}: {' '.join(str(cause).split())[:200]}")
        cause = cause.__cause__ or cause.__context__
    return " <- ".join(dict.fromkeys(said))


class Side:
    """What takes turns: a work, or several on streams of their own."""

    def __init__(self, bench: works.Bench, weights: dict[str, Tensor], ways: Ways) -> None:
        self.device, self.ways = bench.runtime.device, ways
        self.cuda = self.device.type == "cuda"
        self._search()
        self.works = [works.Work(bench, weights, ways) for _ in range(ways.streams)]
        for work in self.works:  # one after another, as each may be recorded here
            work.unit()
            work.unit()
        self.wait()
        self.streams = [torch.cuda.Stream(self.device) for _ in self.works if len(self.works) > 1]

    def _search(self) -> None:
        if self.cuda:
            torch.backends.cudnn.benchmark = self.ways.search

    def wait(self) -> None:
        if self.cuda:
            torch.cuda.synchronize(self.device)

    def unit(self) -> int:
        if not self.streams:
            return self.works[0].unit()
        now, count = torch.cuda.current_stream(self.device), 0
        for work, stream in zip(self.works, self.streams, strict=True):
            stream.wait_stream(now)
            with torch.cuda.stream(stream):
                count += work.unit()
        for stream in self.streams:
            now.wait_stream(stream)
        return count

    def rate(self, seconds: float) -> float:
        """Image passes a second, on a CPU of its own time, over at least so many seconds."""
        self._search()
        clock = time.perf_counter if self.cuda else time.process_time
        self.wait()
        start, begun, count = clock(), time.perf_counter(), 0
        while not count or time.perf_counter() - begun < seconds:
            count += self.unit()
            self.wait()
        return count / (clock() - start)

    def refresh_seconds(self, calls: int = 5) -> float:
        """What it takes to make the twin's weights anew."""
        self.wait()
        start = time.perf_counter()
        for _ in range(calls):
            self.works[0].refresh()
        self.wait()
        return (time.perf_counter() - start) / calls


def shares(found: tuple[Tensor, Tensor | None], truth: tuple[Tensor, Tensor | None]) -> dict:
    """How far gradient (or predicted classes) and noise are from the truth."""
    (mine, noise), (theirs, right) = found, truth
    if not theirs.is_floating_point():
        return {"answers": float((mine != theirs).double().mean())}
    wrong = mine.sign() != theirs.sign()
    size = theirs.abs()
    out = {"signs": float(wrong.double().mean()), "weight": float(size[wrong].sum() / size.sum())}
    if noise is not None and right is not None:
        out["noise"] = float(((noise - right).abs() > works.TOLERANCE).double().mean())
    return out


class Trial:
    """Today's side of a method, and the truth, made once for all its candidates."""

    def __init__(self, options: argparse.Namespace) -> None:
        self.options = options
        if options.threads and not options.device.startswith("cuda"):
            torch.set_num_threads(options.threads)
        self.runtime = pick(options.device, options.precision)
        for each in (pick(options.device, "fp32"), self.runtime):  # float32 is not TF32 then
            configure(each)
        images = load(options.source, limit=None if options.source == "digits" else IMAGES)
        most = 4 * max(options.batches.values())
        self.images = images.rows(torch.arange(max(most, options.count)) % len(images))
        self.method = ""

    def begin(self, method: str, batch: int) -> None:
        """Weights, truth, and today's code."""
        if method == self.method:
            return
        options = self.options
        small = options.quick or (options.model == "resnet18" and self.runtime.device.type == "cpu")
        images = self.images.rows(torch.arange(max(4 * batch, options.count)))
        self.bench = works.Bench(method, options.model, images, self.runtime, batch, small)
        exact = replace(self.bench, runtime=self._eager("fp32"))
        self.weights = works.learned(exact, options.warm)
        self.truth = self.numbers(exact, TODAY, torch.float64)
        self.known: dict[str, Any] = {
            f"{name}_{key}": value
            for name, how in (("today", self.bench), ("float32", exact))
            for key, value in shares(self.numbers(how, TODAY), self.truth).items()
        }
        self.today = Side(self.bench, self.weights, TODAY)
        self.method = method

    def _eager(self, precision: str) -> Runtime:
        return replace(self.runtime, precision=precision, how="eager")

    def numbers(
        self, bench: works.Bench, ways: Ways, dtype: torch.dtype = torch.float32
    ) -> tuple[Tensor, Tensor | None]:
        """What the net says of the noise, and what one making step comes to."""
        count = self.options.count
        found = works.said(bench, bench.net(self.weights).to(dtype), ways, count)
        if any(getattr(ways, key) != getattr(TODAY, key) for key in OTHER_DRAWS):
            return found, None
        return found, works.made(bench, bench.net(self.weights).to(dtype), ways, count)

    def row(self, method: str, batch: int, changed: dict[str, Any]) -> dict[str, Any]:
        """Rates and shares of a candidate."""
        self.begin(method, batch)
        ways, options, begun = Ways(**changed), self.options, time.perf_counter()
        bench = self.bench.times(ways.times)
        compared = {**shares(self.numbers(bench, ways), self.truth), **self.known}
        if ways.fp8:
            return compared
        side = Side(bench, self.weights, ways)
        start = time.perf_counter() - begun
        turns = []
        for number in range(options.rounds):
            order = [self.today, side] if number % 2 == 0 else [side, self.today]
            rates = [each.rate(options.seconds) for each in order]
            turns.append((rates[0], rates[1]) if number % 2 == 0 else (rates[1], rates[0]))
        found = {
            **candidates.summary(turns), "start_seconds": start,
            "refresh_seconds": side.refresh_seconds(), **compared,
        }  # fmt: skip
        del side
        gc.collect()
        if "torch._dynamo" in sys.modules:
            torch._dynamo.reset()  # else it keeps what it compiled
        if self.runtime.device.type == "cuda":
            torch.cuda.empty_cache()
        return found
