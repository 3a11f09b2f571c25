"""EM's and REM's inner loops against plain transcriptions of their authors' style, in one run.

Counts image-steps a second (one forward pass and one gradient with respect to the image). The plain
loops are float32 in the channels-first layout, batch 128: EM as min_min_attack does it, REM as
RobustMinimaxPGDDefender.perturb does it, the transform image by image. Ours are `em.Crafting` and
`rem.Crafting` as `stkit poison` runs them. The two take turns, several rounds; the gain is the
median over rounds of the ratio of neighbouring turns. From REM's rate follows the time of its whole
recipe, 3.9e8 image passes on CIFAR-10. `share` is the part of the arithmetic limit (`limits.py`:
operations of an image-step over the rate of a matrix product) that stkit reaches.

    python benchmarks/poison_speed.py [SOURCE] [--methods em,rem] [--models small,resnet18]
        [--precisions fp32,bf16] [--plain-tf32] [--minutes 30] [--out FILE.jsonl] [--json]

A case is a method, model, precision, batch and whether the plain loop may use TF32. With --out a
finished case is a line of the file, and is not measured again; exit 3 where --minutes ran out
before all cases were there.
"""

import argparse
import functools
import itertools
import statistics
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from time import perf_counter
from typing import TYPE_CHECKING

import measuring
import rows
from rows import Case

if TYPE_CHECKING:
    from stkit.data.images import Images

WHOLE_REM = 3.9e8  # image passes: 3.02 million batches of 128
COLUMNS = {
    "method": "method", "model": "model", "batch": "batch_size", "stkit in": "precision",
    "plain in": "plain_in", "plain steps/s": "plain", "stkit steps/s": "stkit", "gain": "gain",
    "least": "gain_least", "most": "gain_most", "limit": "limit", "share": "share",
    "plain recipe h": "plain_hours", "stkit recipe h": "stkit_hours",
}  # fmt: skip


def rate(work: Iterator[int], seconds: float, device: str) -> float:
    """Image-steps a second over at least `seconds`, after a unit that warms up."""
    next(work)
    measuring.wait(device)
    start, done = perf_counter(), 0
    while (taken := perf_counter() - start) < seconds or not done:
        done += next(work)
        measuring.wait(device)
    return done / taken


class Speed:
    """Measures cases on one set of images, in this process."""

    def __init__(self, options: argparse.Namespace) -> None:
        self.options = options

    @functools.cached_property
    def images(self) -> "Images":
        from stkit import load

        return load(self.options.source, limit=self.options.limit)

    def measure(self, case: Case) -> Case:
        """What a row has besides its case: the two loops take turns."""
        import plain
        import poison_loops

        from stkit.engine.process import configure
        from stkit.engine.runtime import pick

        device, rounds = case["device"], self.options.rounds
        runtime = pick(device, case["precision"])
        configure(runtime)
        ours = poison_loops.OURS[case["method"]](
            self.images, case["model"], runtime, case["batch_size"]
        )
        theirs = self._plain(case)
        slow, fast = [], []
        for number in range(rounds):
            for which in ("plain", "ours") if number % 2 == 0 else ("ours", "plain"):
                if which == "ours":
                    fast.append(rate(ours, self.options.seconds, device))
                else:
                    with plain.tf32(case["tf32"]):
                        slow.append(rate(theirs, self.options.seconds, device))
        del ours, theirs
        measuring.free()
        return {
            "rounds": rounds, "plain_in": "TF32" if case["tf32"] else "fp32",
            **summary(case, slow, fast, self._limit(case)), **measuring.machine(device),
        }  # fmt: skip

    def _plain(self, case: Case) -> Iterator[int]:
        import poison_loops

        from stkit import models
        from stkit.data.images import to_float

        images, device = self.images, case["device"]
        model = models.create(case["model"], classes=len(images.classes), size=images.size)
        x, y = to_float(images.pixels.to(device)), images.labels.to(device)
        return poison_loops.PLAIN[case["method"]](model.to(device), x, y)

    def _limit(self, case: Case) -> float:
        """Image-steps a second at the rate of a matrix product."""
        import limits

        images = self.images
        count = limits.per_image(
            case["model"], "gradient", classes=len(images.classes), size=images.size
        )
        return limits.product_rate(case["device"], case["precision"], self.options.seconds) / count


def summary(case: Case, plain: Sequence[float], ours: Sequence[float], limit: float) -> Case:
    """Medians over rounds; of REM also the hours of its whole recipe."""
    row = {
        "plain": statistics.median(plain), "stkit": statistics.median(ours), "limit": limit,
        "share": statistics.median(ours) / limit, **measuring.gain(ours, plain),
    }  # fmt: skip
    if case["method"] == "rem":
        row |= {f"{name}_hours": WHOLE_REM / row[name] / 3600 for name in ("plain", "stkit")}
    return row


def cases(options: argparse.Namespace) -> list[Case]:
    batches = {"em": options.em_batch, "rem": options.rem_batch}
    return [
        {"method": method, "model": model, "batch_size": batches[method], "precision": precision,
         "device": options.device, "tf32": options.plain_tf32}
        for model, precision, method in itertools.product(
            options.models, options.precisions, options.methods
        )
    ]  # fmt: skip


def parse(words: Sequence[str] | None = None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("source", nargs="?", default="digits", help="as of stkit data")
    listed = measuring.listed(str)
    parser.add_argument("--methods", type=listed, default=["em", "rem"], help="by commas")
    parser.add_argument("--models", type=listed, default=["resnet18"], help="by commas")
    parser.add_argument("--precisions", type=listed, default=["fp32", "bf16"], help="stkit's")
    parser.add_argument("--device", default="cpu", help="cpu, cuda or cuda:N")
    parser.add_argument("--plain-tf32", action="store_true", help="TF32, torch's own default")
    parser.add_argument("--limit", type=int, default=2048, help="images of the set")
    parser.add_argument("--em-batch", type=int, default=512, help="stkit's; the plain loop: 128")
    parser.add_argument("--rem-batch", type=int, default=128, help="the same")
    parser.add_argument("--seconds", type=float, default=5, help="of each loop's turn")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--minutes", type=float, default=30, help="begin no case later")
    parser.add_argument("--out", type=Path, help="one line of JSON a case; go on from it")
    parser.add_argument("--json", action="store_true")
    return parser.parse_args(words)


def main(words: Sequence[str] | None = None) -> int:
    options = parse(words)
    by = rows.command(__file__, words)
    return rows.run(cases(options), Speed(options).measure, COLUMNS, options, by=by)


if __name__ == "__main__":
    sys.exit(main())
