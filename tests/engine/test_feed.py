"""Feeds: the same batches whether a set lies on the device or is sent ahead of its use."""

import threading
from dataclasses import dataclass

import pytest
import torch

from stkit.data.load import load
from stkit.engine import feed as feeding
from stkit.engine.feed import Feed
from stkit.engine.runtime import Runtime, pick
from stkit.recipes.options import frame_with
from stkit.recipes.training import TrainingRecipe
from stkit.training.loop import Training

CPU = pick("cpu", "fp32")


@dataclass(frozen=True)
class Narrow(Runtime):
    """A runtime with so many bytes free."""

    free: float = 0.0

    def room(self) -> float:
        return self.free


def narrow(free: float) -> Runtime:
    return Narrow(CPU.device, CPU.precision, free=free)


def make(count: int, runtime: Runtime = CPU, **how) -> Feed:
    images = torch.arange(count * 12).remainder(251).to(torch.uint8).view(count, 3, 2, 2)
    return Feed(images, torch.arange(count), runtime, **how)


def test_batches_are_those_asked_for_in_order():
    order = torch.randperm(50, generator=torch.Generator().manual_seed(0))
    batches = [*order.split(7), order[:1], torch.tensor([3, 3, 3])]
    for feed in (make(50), make(50, ahead=True)):
        found = list(feed.batches(iter(batches)))
        assert len(found) == len(batches)
        for rows, (pixels, labels) in zip(batches, found, strict=True):
            assert torch.equal(labels, rows) and torch.equal(pixels, make(50).images[rows])
            assert torch.equal(feed.take(rows)[0], pixels)


def test_only_some_batches_are_under_way():
    asked = []

    def batches():
        for i in range(100):
            asked.append(i)
            yield torch.tensor([i])

    found = make(100, ahead=True).batches(batches())
    next(found)
    assert len(asked) <= feeding.AHEAD + 1
    before = threading.active_count()
    found.close()
    assert threading.active_count() <= before
    assert len(asked) <= feeding.AHEAD + 1, "an abandoned feed asks for no more"


def test_an_error_while_sending_arrives_where_the_batch_is_used():
    found = make(10, ahead=True).batches([torch.tensor([1]), torch.tensor([99])])
    next(found)
    with pytest.raises(IndexError):
        next(found)


def test_what_fits_into_a_part_of_the_free_memory_is_resident():
    runtime = narrow(120 / feeding.ROOM)
    assert make(10, runtime).resident
    assert not make(11, runtime).resident


def test_a_training_sent_ahead_ends_with_the_same_weights(tmp_path):
    """From a memory-mapped file, as a set that fits nowhere."""
    load("digits", limit=60).save(tmp_path / "digits")
    images = load(tmp_path / "digits")
    recipe = TrainingRecipe(frame_with("st", epochs=2, gamma=0.5), "small", 20, holdout=10)
    states = []
    for room in (float("inf"), 0):
        run = Training(images, recipe, runtime=narrow(room), test=load("digits", "test", limit=20))
        assert run.sets.feed.resident == (room > 0)
        for _ in run.steps():
            pass
        states.append((run.model.state_dict(), run.epochs))
    assert states[0][1] == states[1][1]
    assert all(torch.equal(v, states[1][0][k]) for k, v in states[0][0].items())
