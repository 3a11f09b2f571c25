"""Seconds of the OPS search against a plain transcription of the authors' loop, in one run.

    python benchmarks/ops_speed.py [SOURCE] [--classes N] [--rounds 3] [--json]

The loop evaluates mean and standard deviation for every class, pixel and colour in NumPy, as the
authors' code does. It runs once, over all classes or the first N; ours runs several times over the
same classes and the best counts, because other work on the machine can only slow it down. `poison`
is the whole call on the whole source, with copying, writing the pixels and statistics.
"""

import argparse
import json
import time
from collections.abc import Callable

import numpy as np
import torch

from stkit.data import load
from stkit.poisons import ops, poison
from stkit.recipes.poisons import OPS


def authors_search(images: np.ndarray, labels: np.ndarray, classes: int) -> list[int]:
    """The best pair of each class, 8 * pixel + colour, of uint8 [N,H,W,3], one score at a time."""
    height, width = images.shape[1:3]
    picks: list[int] = []
    for label in range(classes):
        members = images[labels == label] / 255
        scores = np.zeros(height * width * 8)
        for pair in range(len(scores)):
            pixel, code = divmod(pair, 8)
            colour = np.array([code // 4, code // 2 % 2, code % 2], float)
            if pair not in picks:
                apart = np.abs(colour - members[:, pixel // width, pixel % width, :])
                mean, deviation = np.mean(apart), np.std(apart)
                # 0/0 is 0 and x/0 infinite here too, where theirs is NaN and a warning.
                scores[pair] = mean / deviation if deviation else np.inf if mean else 0
        picks.append(int(scores.argmax()))
    return picks


def best(work: Callable[[], object], rounds: int) -> float:
    """The fewest seconds of several runs."""
    taken = []
    for _ in range(rounds):
        start = time.perf_counter()
        work()
        taken.append(time.perf_counter() - start)
    return min(taken)


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("source", nargs="?", default="digits")
    parser.add_argument("--classes", type=int, help="time the first N only")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--json", action="store_true")
    options = parser.parse_args()
    source = load.load(options.source)
    classes = min(len(source.classes), options.classes or len(source.classes))
    chosen = source.rows((source.labels < classes).nonzero()[:, 0])
    pixels, labels = chosen.pixels.permute(0, 2, 3, 1).contiguous().numpy(), chosen.labels

    def search() -> list[int]:
        return ops.search(chosen.pixels, labels, classes, OPS())[:, 0].tolist()

    start = time.perf_counter()
    theirs = authors_search(pixels, labels.numpy(), classes)
    row = {
        "source": options.source, "images": len(chosen), "classes": classes,
        "authors_search": round(time.perf_counter() - start, 3),
        "search": round(best(search, options.rounds), 4),
        "poison": round(best(lambda: poison(source, OPS()), options.rounds), 4),
        "same_picks": sum(a == b for a, b in zip(theirs, search(), strict=True)),
        "threads": torch.get_num_threads(),
    }  # fmt: skip
    row["times"] = round(row["authors_search"] / row["search"], 1)
    if options.json:
        print(json.dumps(row))
        return
    for key, value in row.items():
        print(f"{key:16}{value}")


if __name__ == "__main__":
    main()
