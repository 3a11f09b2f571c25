"""Seconds and peak memory of SP and OPS on a source, each in a process of its own.

    python benchmarks/poison_cpu.py SOURCE [--methods sp ops] [--rounds 3] [--json]

`first` is the first call of `poison` in the process (SP's imports scikit-learn), `best` the best of
several; loading the source comes before both. `peak_gb` is the process's highest resident memory
(ru_maxrss) in 10^9 bytes with everything in it: Python, torch, the source, the result.
"""

import argparse
import json
import resource
import subprocess
import sys
import time

from stkit.data import load
from stkit.poisons import poison
from stkit.recipes.poisons import METHODS


def measure(method: str, source: str, rounds: int) -> dict[str, str | int | float]:
    """One row, measured in this process."""
    clean = load.load(source)
    taken = []
    for _ in range(rounds):
        start = time.perf_counter()
        found = poison(clean, METHODS[method]())
        taken.append(time.perf_counter() - start)
        del found
    unit = 1 if sys.platform == "darwin" else 1024
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit
    return {
        "method": method, "images": len(clean), "first": round(taken[0], 3),
        "best": round(min(taken), 3), "peak_gb": round(peak / 1e9, 3),
    }  # fmt: skip


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("source")
    parser.add_argument("--methods", nargs="+", default=["sp", "ops"], choices=list(METHODS))
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--here", action="store_true", help="in this process, first method only")
    parser.add_argument("--json", action="store_true")
    options = parser.parse_args()
    if options.here:
        print(json.dumps(measure(options.methods[0], options.source, options.rounds)))
        return
    rows = []
    for method in options.methods:
        command = [sys.executable, __file__, options.source, "--here", "--methods", method]
        command += ["--rounds", str(options.rounds)]
        done = subprocess.run(command, stdout=subprocess.PIPE, check=True, text=True)
        rows.append(json.loads(done.stdout))
    if options.json:
        print(json.dumps({"source": options.source, "rows": rows}))
        return
    print(f"{'method':8}{'images':>10}{'first s':>10}{'best s':>10}{'peak GB':>10}")
    for method, images, first, best, peak in (row.values() for row in rows):
        print(f"{method:8}{images:>10,}{first:>10}{best:>10}{peak:>10}")


if __name__ == "__main__":
    main()
