"""An epoch of each network by natural and by staged training, with its test, in this process.

    python benchmarks/epochs.py [SOURCE] [--test SOURCE] [--models resnet18,...] [--frames nt,st]
        [--device cuda] [--minutes 30] [--out FILE.jsonl] [--json]

Two epochs are trained: `first` is the seconds from the start to the end of the first one, with what
is made, recorded and warmed up before, `seconds` those of the second. With --out a finished case is
a line of the file, and is not measured again; exit 3 where --minutes ran out before all were there.
"""

import argparse
import functools
import itertools
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import measuring
import rows
from rows import Case

if TYPE_CHECKING:
    from stkit.data.images import Images

MODELS = "resnet18,resnet50,vgg16-bn,densenet121,wrn-28-10,wrn-34-10"
COLUMNS = {
    "model": "model", "frame": "frame", "batch": "batch_size", "in": "precision",
    "first s": "first", "epoch s": "seconds", "images/s": "images_per_second", "MB": "mb",
    "accuracy": "accuracy",
}  # fmt: skip


class Epochs:
    """Measures cases on one pair of sets."""

    def __init__(self, options: argparse.Namespace) -> None:
        self.options = options

    @functools.cached_property
    def images(self) -> "tuple[Images, Images]":
        from stkit import load

        source, test, limit = self.options.source, self.options.test, self.options.limit
        return load(source, limit=limit), load(test or source, default_split="test", limit=limit)

    def measure(self, case: Case) -> Case:
        """What a row has besides its case."""
        from stkit import pick, train

        train_images, test = self.images
        runtime = pick(case["device"], case["precision"])
        measuring.free()
        memory = measuring.Memory(case["device"], alone=True)
        memory.begin()
        ends = [time.perf_counter()]
        run = train(
            train_images, case["frame"], model=case["model"], test=test, epochs=2,
            batch_size=case["batch_size"], runtime=runtime,
            on_epoch=lambda _: ends.append(time.perf_counter()),
        )  # fmt: skip
        first, second = (b - a for a, b in itertools.pairwise(ends))
        return {
            "first": first, "seconds": second, "images_per_second": len(train_images) / second,
            "mb": memory.end(), "accuracy": run.accuracy, "images": len(train_images),
            **measuring.machine(case["device"]),
        }  # fmt: skip


def cases(options: argparse.Namespace) -> list[Case]:
    same = {key: getattr(options, key) for key in ("device", "precision", "batch_size")}
    return [
        {"model": model, "frame": frame, **same}
        for model, frame in itertools.product(options.models, options.frames)
    ]


def parse(words: Sequence[str] | None = None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("source", nargs="?", default="digits", help="as of stkit data")
    parser.add_argument("--test", help="images; those of the source")
    listed = measuring.listed(str)
    parser.add_argument("--models", type=listed, default=MODELS.split(","), help="by commas")
    parser.add_argument("--frames", type=listed, default=["nt", "st"], help="by commas")
    parser.add_argument("--batch-size", type=int, default=128)
    parser.add_argument("--precision", default="auto", help="auto, fp32 or bf16")
    parser.add_argument("--device", default="cpu", help="cpu, cuda or cuda:N")
    parser.add_argument("--limit", type=int, help="images of each set")
    parser.add_argument("--minutes", type=float, default=30, help="begin no case later")
    parser.add_argument("--out", type=Path, help="one line of JSON a case; go on from it")
    parser.add_argument("--json", action="store_true")
    return parser.parse_args(words)


def main(words: Sequence[str] | None = None) -> int:
    options = parse(words)
    by = rows.command(__file__, words)
    return rows.run(cases(options), Epochs(options).measure, COLUMNS, options, by=by)


if __name__ == "__main__":
    sys.exit(main())
