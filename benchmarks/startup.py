"""What a command spends before the first step of work, in processes of its own.

    python benchmarks/startup.py [--device cuda] [--models small,resnet18] [--rounds 3] [--json]

Whole commands, from the start of the process to its end: Python alone, `stkit --help`, the imports
of a command that computes, and `stkit train` with one step; the last less the imports is reading,
creating and placing, compiling or recording, the step and the file. The parts within a process, and
those of the plain loop, are in the rows of `train_speed.py`. Commands take turns; the least of
several rounds counts, because other work on the machine can only slow them down. `cold` is the
first round, and means something on a machine that was just started.
"""

import argparse
import json
import shlex
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import measuring

COLUMNS = {"command": "command", "model": "model", "cold s": "cold", "least s": "seconds"}
IMPORTS = "import stkit.cli.train, stkit.training.loop, stkit.cli.saving"


def commands(options: argparse.Namespace, folder: Path) -> dict[tuple[str, str], list[str]]:
    """(name, model) -> the command line."""
    python = [sys.executable]
    found = {
        ("python", "-"): [*python, "-c", ""],
        ("stkit --help", "-"): [*python, "-m", "stkit", "--help"],
        ("imports", "-"): [*python, "-c", IMPORTS],
    }
    data = str(folder / "images.safetensors")
    for model in options.models.split(","):
        found["train, one step", model] = [
            *python, "-m", "stkit", "train", data, "--frame", "nt", "--model", model,
            "--epochs", "1", "--batch-size", str(options.batch_size), "--device", options.device,
            "--step", options.step, "--force", "-q", "-o", str(folder / "model.safetensors"),
        ]  # fmt: skip
    return found


def seconds(command: list[str]) -> float:
    start = time.perf_counter()
    run(command)
    return time.perf_counter() - start


def run(command: list[str]) -> None:
    """Ends here where the command fails: it has said why."""
    code = subprocess.run(command, stdout=subprocess.DEVNULL).returncode
    if code:
        sys.exit(f"exit {code}: {shlex.join(command)}")


def measure(options: argparse.Namespace) -> list[dict[str, Any]]:
    with tempfile.TemporaryDirectory() as folder:
        todo = commands(options, Path(folder))
        data = [
            sys.executable, "-m", "stkit", "data", options.source, "--limit",
            str(options.batch_size), "-q", "-o", str(Path(folder, "images.safetensors")),
        ]  # fmt: skip
        run(data)
        taken: dict[tuple[str, str], list[float]] = {key: [] for key in todo}
        for _ in range(options.rounds):
            for key, command in todo.items():
                taken[key].append(seconds(command))
    return [
        {"command": name, "model": model, "cold": found[0], "seconds": min(found)}
        for (name, model), found in taken.items()
    ]


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("source", nargs="?", default="digits", help="as of stkit data")
    parser.add_argument("--models", default="small,resnet18", help="by commas")
    parser.add_argument("--batch-size", type=int, default=128, help="and images")
    parser.add_argument("--device", default="cpu", help="cpu, cuda or cuda:N")
    parser.add_argument("--step", default="auto", help="auto, eager, graph or compile")
    parser.add_argument("--rounds", type=int, default=3, help="of all commands; the least counts")
    parser.add_argument("--json", action="store_true")
    options = parser.parse_args()
    rows = measure(options)
    if options.json:
        print(json.dumps({"rows": rows, **measuring.machine(options.device)}))
        return
    print(measuring.table(rows, COLUMNS))


if __name__ == "__main__":
    main()
