"""What comparing the digest costs of a training's start, on a CPU.

    python benchmarks/digest_cost.py

Makes a file as large as CIFAR-10's training set in a temporary folder and prints, as JSON, the
seconds from before the imports to the end of the first step of ResNet-18, and those of the digest.
"""

import json
import tempfile
import time
from pathlib import Path

BEGUN = time.perf_counter()

import torch  # noqa: E402

from stkit import Images, load  # noqa: E402
from stkit.core import artifact  # noqa: E402
from stkit.engine.process import configure  # noqa: E402
from stkit.engine.runtime import pick  # noqa: E402
from stkit.recipes.options import frame_with  # noqa: E402
from stkit.recipes.training import TrainingRecipe  # noqa: E402
from stkit.training.loop import Training  # noqa: E402


def main() -> None:
    """Measure and print."""
    imports = time.perf_counter() - BEGUN
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, "images")
        pixels = torch.randint(0, 256, (50_000, 3, 32, 32), dtype=torch.uint8)
        Images.from_tensors(pixels, torch.arange(50_000) % 10).save(path)
        start = time.perf_counter()
        images = load(path)
        training = Training(images, TrainingRecipe(frame_with("nt")), runtime=prepared())
        next(training.steps())
        whole = imports + time.perf_counter() - start
        start = time.perf_counter()
        artifact.digest(images.tensors())
        digest = time.perf_counter() - start
    print(json.dumps({"start": whole, "digest": digest, "share": digest / whole}))


def prepared():
    """The runtime of a CPU, for which the process is configured."""
    runtime = pick("cpu")
    configure(runtime)
    return runtime


if __name__ == "__main__":
    main()
