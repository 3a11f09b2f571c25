"""How long `stkit.clusters` takes and how much memory, against the number of samples.

Each row runs in its own process, whose peak memory is the system's count for the whole process,
PyTorch included (on a GPU: PyTorch's count on the device). `pairs` is the plain transcription of
Eq. 3-5, one `torch.cdist` for each pair of classes. Run: python benchmarks/acm_scaling.py [--json]
"""

import argparse
import json
import subprocess
import sys
from typing import TYPE_CHECKING

if TYPE_CHECKING:  # PyTorch is imported by the rows only: a parent's memory counts for its children
    from torch import Tensor

    from stkit.clusters import Clusters

DIM = 512  # ResNet-18's features
COLUMNS = (
    ("method", 9), ("classes", 8), ("n", 8), ("seconds", 9), ("cpu_seconds", 12),
    ("peak_mb", 9), ("literal", 13),
)  # fmt: skip


def row(method: str, n: int, classes: int, device: str) -> dict:
    """One measurement, in this process: wall and CPU seconds, peak MB, and the score."""
    import resource
    import time

    import torch

    from stkit import acm_score

    generator = torch.Generator().manual_seed(0)
    labels = torch.arange(n) % classes
    centres = torch.randn(classes, DIM, generator=generator)
    features = (centres[labels] + torch.randn(n, DIM, generator=generator)).relu_().to(device)
    run = {"stkit": acm_score.clusters, "pairs": pairs}[method]
    run(features[: 10 * classes], labels[: 10 * classes], classes)  # start-up is not measured
    wall, cpu = time.perf_counter(), time.process_time()
    found = run(features, labels, classes)
    score = acm_score.score(found)  # waits for the device
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1e3
    if device != "cpu":
        peak = torch.cuda.max_memory_allocated() / 1e6
    return {
        "method": method, "classes": classes, "n": n, "seconds": time.perf_counter() - wall,
        "cpu_seconds": time.process_time() - cpu, "peak_mb": peak, "literal": score,
    }  # fmt: skip


def pairs(features: "Tensor", labels: "Tensor", classes: int) -> "Clusters":
    """Eq. 3-5 read aloud: a loop over the pairs of classes, in the features' own precision."""
    import torch

    from stkit.acm_score import Clusters

    sets = [features[labels.to(features.device) == i] for i in range(classes)]
    spread = [(A - A.mean(0)).norm(dim=1) for A in sets]
    L = torch.zeros(classes, classes)
    for i in range(classes):
        for j in range(classes):
            if i != j:
                L[i, j] = torch.cdist(sets[i], sets[j]).min()
    return Clusters(
        L.double(),
        torch.stack([s.mean() for s in spread]).double().cpu(),
        torch.stack([s.max() for s in spread]).double().cpu(),
        labels.bincount(minlength=classes),
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--n", type=int, nargs="+", default=[1000, 5000, 10000, 20000, 50000])
    parser.add_argument("--classes", type=int, nargs="+", default=[10, 100])
    parser.add_argument("--pairs-n", type=int, nargs="*", default=[1000, 10000])
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--json", action="store_true", help="one JSON list on stdout")
    parser.add_argument("--row", nargs=3, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.row:
        method, n, classes = options.row
        print(json.dumps(row(method, int(n), int(classes), options.device)))
        return
    todo = [("stkit", n, k) for k in options.classes for n in options.n]
    todo += [("pairs", n, k) for k in options.classes for n in options.pairs_n]
    rows = []
    if not options.json:
        print("".join(name.rjust(width) for name, width in COLUMNS))
    for case in todo:
        command = [sys.executable, __file__, "--device", options.device, "--row", *map(str, case)]
        text = subprocess.run(command, check=True, capture_output=True, text=True).stdout
        rows.append(json.loads(text))
        if not options.json:
            cells = (rows[-1][name] for name, _ in COLUMNS)
            shown = (f"{cell:.4g}" if isinstance(cell, float) else str(cell) for cell in cells)
            print("".join(c.rjust(w) for c, (_, w) in zip(shown, COLUMNS, strict=True)), flush=True)
    if options.json:
        print(json.dumps(rows, indent=1))


if __name__ == "__main__":
    main()
