"""A pilot of `auto` on every rung of its ladder: the tables of docs/experiments.md.

    python docs/rungs.py sp.safetensors --test test.safetensors [--rungs plain gray] [--epochs 20]

A pilot stays what it is in a training of so many epochs with batches of 128; only that none ends
the search, and no training follows. `test` is accuracy on clean images, which decides nothing; the
last line is what random convolutions read on each rung.
"""

import argparse
import sys
from unittest import mock

import stkit
from stkit.measure.accuracy import Evaluator, accuracy
from stkit.recipes.ladder import RUNGS
from stkit.training import pilots


class Done(Exception):
    """All pilots were run."""


def main(argv: list[str] | None = None) -> int:
    """Print a line a rung."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("images")
    parser.add_argument("--test", required=True)
    parser.add_argument("--rungs", nargs="+", default=RUNGS, choices=RUNGS)
    parser.add_argument("--epochs", type=int, default=20)
    asked = parser.parse_args(argv)
    test, judged, steps = stkit.load(asked.test), pilots.Pilots._judged, pilots.Pilots.steps

    def following(_ladder, tried, _skipped, *, most):
        return next((r for r in asked.rungs if r not in {pilot.rung for pilot in tried}), None)

    def told(self, model, name):
        evaluator = Evaluator(model, test, runtime=self.runtime)
        right = accuracy(evaluator.confusion(), evaluator.count)
        pilot = judged(self, model, name)
        passed = "+" if pilot.passed else ""
        print(
            f"{name:20} knows {pilot.holdout_accuracy:.3f}  retains {pilot.retained_share:.2f}"
            f"{passed:1}  test {right:.4f}",
            flush=True,
        )
        return pilot

    def all_of_them(self):
        yield from steps(self)
        print({name: round(read, 3) for name, read in self.chosen.probe.items()})
        raise Done

    patched = {"steps": all_of_them, "_judged": told}
    with (
        mock.patch.multiple(pilots.Pilots, **patched),
        mock.patch.object(pilots, "to_try", following),
    ):
        try:
            stkit.train(
                stkit.load(asked.images), "auto", model="small", epochs=asked.epochs, batch_size=128
            )
        except Done:
            return 0
    return 1


if __name__ == "__main__":
    sys.exit(main())
