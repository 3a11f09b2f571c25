"""Images per second of `stkit.augment` against torchvision's transforms, image by image.

    python benchmarks/augment_speed.py [--device cuda] [--batch-size 128] [--threads N] [--json]

Both take the same float32 batch; torchvision's are the tensor transforms of a usual training loop,
one call an image, then a stack. The two take turns; the best of several turns counts, because
other work on the machine can only slow them down.
"""

import argparse
import json
import time
from collections.abc import Callable
from functools import partial

import torch
from torch import Tensor
from torchvision import transforms

from stkit.core.rng import stream
from stkit.engine.augment import augment

CROP_FLIP = [transforms.RandomCrop(32, padding=4), transforms.RandomHorizontalFlip()]
JITTER_GREY = [
    transforms.RandomApply([transforms.ColorJitter(0.4, 0.4, 0.4, 0.1)], p=0.8),
    transforms.RandomGrayscale(p=0.2),
]
ROWS = {
    "crop flip": (("crop", "flip"), CROP_FLIP),
    "crop flip jitter random-gray": (
        ("crop", "flip", "jitter", "random-gray"),
        CROP_FLIP + JITTER_GREY,
    ),
}


def seconds(work: Callable[[], Tensor], calls: int) -> float:
    """Mean seconds of a call, the device's own work included."""
    start = time.perf_counter()
    for _ in range(calls):
        made = work()
    if made.is_cuda:
        torch.cuda.synchronize()
    return (time.perf_counter() - start) / calls


def image_by_image(images: Tensor, transform: Callable[[Tensor], Tensor]) -> Tensor:
    return torch.stack([transform(image) for image in images])


def measure(device: str, batch_size: int, rounds: int) -> list[dict[str, str | float]]:
    """One row for each set of augmentations; the first of the rounds only warms up."""
    images = torch.rand(batch_size, 3, 32, 32, generator=stream(0, "benchmark")).to(device)
    rows: list[dict[str, str | float]] = []
    for name, (names, steps) in ROWS.items():
        batched = partial(augment, images, names, seed=0)
        loop = partial(image_by_image, images, transforms.Compose(steps))
        turns = [(seconds(batched, 10), seconds(loop, 1)) for _ in range(rounds + 1)][1:]
        ours, theirs = (batch_size / min(turn) for turn in zip(*turns, strict=True))
        rows.append(
            {
                "augmentations": name,
                "stkit_images_per_second": round(ours),
                "torchvision_images_per_second": round(theirs),
                "times": round(ours / theirs, 1),
            }
        )
    return rows


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--batch-size", type=int, default=128)
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--threads", type=int, default=torch.get_num_threads())
    parser.add_argument("--json", action="store_true")
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    # As after any model's first step: glibc hands small frees back to the system, at 2800 page
    # faults a batch, until the process has freed something larger
    torch.zeros(7_500_000)
    rows = measure(options.device, options.batch_size, options.rounds)
    if options.json:
        print(json.dumps({**vars(options), "torch": torch.__version__, "rows": rows}))
        return
    print(f"{'augmentations':24}{'stkit':>12}{'torchvision':>14}{'times':>8}   (images/s)")
    for name, ours, theirs, times in (row.values() for row in rows):
        print(f"{name:24}{ours:>12,}{theirs:>14,}{times:>8}")


if __name__ == "__main__":
    main()
