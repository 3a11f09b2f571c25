"""What a command spends before the first step of work, in processes of its own.

    python benchmarks/startup.py [--device cuda] [--models small,resnet18] [--rounds 3]
        [--minutes 30] [--out FILE.jsonl] [--json]

Whole commands, from the start of the process to its end: Python alone, `stkit --help`, the imports
of a command that computes, and `stkit train` with one step; the last less the imports is reading,
creating and placing, compiling or recording, the step and the file. The parts within a process, and
those of the plain loop, are in the rows of `train_speed.py`. The least of several rounds counts,
because other work on the machine can only slow a command down. `cold` is the first round, and means
something on a machine that was just started. With --out a command is a line of the file, and is not
measured again; exit 3 where --minutes ran out before all were there.
"""

import argparse
import shlex
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path

import measuring
import rows
from rows import Case

COLUMNS = {"what": "name", "model": "model", "cold s": "cold", "least s": "seconds"}
IMPORTS = "import stkit.cli.train, stkit.training.loop, stkit.cli.saving"


class Commands:
    """Times commands; a folder for their files."""

    def __init__(self, options: argparse.Namespace, folder: Path) -> None:
        self.options, self.images = options, folder / "images.safetensors"
        self.model = folder / "model.safetensors"

    def words(self, case: Case) -> list[str]:
        """A case's command line."""
        stkit = [sys.executable, "-m", "stkit"]
        match case["name"]:
            case "python":
                return [sys.executable, "-c", ""]
            case "stkit --help":
                return [*stkit, "--help"]
            case "imports":
                return [sys.executable, "-c", IMPORTS]
        self._make_images()
        return [
            *stkit, "train", str(self.images), "--frame", "nt", "--model", case["model"],
            "--epochs", "1", "--batch-size", str(self.options.batch_size),
            "--device", case["device"], "--step", case["step"], "--force", "-q",
            "-o", str(self.model),
        ]  # fmt: skip

    def _make_images(self) -> None:
        if not self.images.exists():
            from stkit import load

            load(self.options.source, limit=self.options.batch_size).save(self.images)

    def measure(self, case: Case) -> Case:
        """What a row has besides its case."""
        words = self.words(case)
        taken = [seconds(words) for _ in range(self.options.rounds)]
        machine = measuring.machine(case["device"])
        return {"cold": taken[0], "seconds": min(taken), "rounds": len(taken), **machine}


def seconds(command: list[str]) -> float:
    """That a command takes, from its start to its end. RuntimeError where it fails."""
    start = time.perf_counter()
    done = subprocess.run(command, stdout=subprocess.DEVNULL)
    if done.returncode:
        raise RuntimeError(f"exit {done.returncode}: {shlex.join(command)}")
    return time.perf_counter() - start


def cases(options: argparse.Namespace) -> list[Case]:
    kinds = [(name, "-") for name in ("python", "stkit --help", "imports")]
    kinds += [("train, one step", model) for model in options.models]
    same = {"device": options.device, "step": options.step}
    return [{"name": name, "model": model, **same} for name, model in kinds]


def parse(words: Sequence[str] | None = None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("source", nargs="?", default="digits", help="as of stkit data")
    parser.add_argument(
        "--models", type=measuring.listed(str), default=["small", "resnet18"], help="by commas"
    )
    parser.add_argument("--batch-size", type=int, default=128, help="and images")
    parser.add_argument("--device", default="cpu", help="cpu, cuda or cuda:N")
    parser.add_argument("--step", default="auto", help="auto, eager, graph or compile")
    parser.add_argument("--rounds", type=int, default=3, help="of a command; the least counts")
    parser.add_argument("--minutes", type=float, default=30, help="begin no command later")
    parser.add_argument("--out", type=Path, help="one line of JSON a command; go on from it")
    parser.add_argument("--json", action="store_true")
    return parser.parse_args(words)


def main(words: Sequence[str] | None = None) -> int:
    options = parse(words)
    with tempfile.TemporaryDirectory() as folder:
        measure = Commands(options, Path(folder)).measure
        return rows.run(cases(options), measure, COLUMNS, options, by=rows.command(__file__, words))


if __name__ == "__main__":
    sys.exit(main())
