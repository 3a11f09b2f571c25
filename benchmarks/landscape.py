"""How long a loss landscape takes: ResNet-18 at 51 x 51 places of 2,000 images on a GPU.

    python benchmarks/landscape.py
    python benchmarks/landscape.py --model small --points 21 --limit 1000 --device cpu

The aims: two minutes on a GPU, and one minute for the second, on two idle cores.
Weights and images are random, for which a pass takes as long as for others. The first landscape, of
3 x 3 places, is not counted: a GPU's libraries choose their kernels in it.
"""

import argparse
import resource
import sys
import time

import torch

from stkit import Images, configure, landscape, models, pick


def main(argv: list[str] | None = None) -> int:
    """Print seconds, images a second, and a CPU's seconds of this process."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--model", default="resnet18")
    parser.add_argument("--points", type=int, default=51)
    parser.add_argument("--limit", type=int, default=2000)
    parser.add_argument("--size", type=int, default=32)
    parser.add_argument("--device", default="auto")
    parser.add_argument("--precision", default="auto")
    parser.add_argument("--threads", type=int)
    asked = parser.parse_args(argv)
    runtime = pick(asked.device, asked.precision, threads=asked.threads)
    configure(runtime)
    pixels = torch.randint(0, 256, (asked.limit, 3, asked.size, asked.size), dtype=torch.uint8)
    images = Images.from_tensors(pixels, torch.arange(asked.limit) % 10)
    model = models.create(asked.model, classes=10, size=asked.size)
    model = model.eval().to(runtime.device, memory_format=torch.channels_last)

    def run(points: int) -> float:
        start = time.perf_counter()
        landscape(model, images, points=points, limit=asked.limit, runtime=runtime)
        return time.perf_counter() - start

    run(3)
    before = resource.getrusage(resource.RUSAGE_SELF).ru_utime
    seconds = run(asked.points)
    used = resource.getrusage(resource.RUSAGE_SELF).ru_utime - before
    count = asked.points**2 * asked.limit
    print(
        f"{asked.model}, {asked.points} x {asked.points} places of {asked.limit:,} images on "
        f"{runtime.machine} in {runtime.precision}: {seconds:.1f} s, {count / seconds:,.0f} "
        f"images/s; {used:.1f} s of CPU, {count / used:,.0f} images each"
    )
    return 0


if __name__ == "__main__":
    sys.exit(main())
