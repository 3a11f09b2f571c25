"""The commands that the harnesses disturb: small, each with one output, from a few given files."""

import json
import os
import shutil
from dataclasses import dataclass
from pathlib import Path

import traps
import warm

FRAMES = (
    "nt", "nt-cg", "at", "st", "st-cg", "st-full", "gray", "jpeg", "gauss", "orthogonal", "cutout",
    "coin", "autoaugment", "mixup", "cutmix", "dropout", "ueraser-lite", "ueraser-max", "nt-stop",
)  # fmt: skip
JUDGED = {"nt-stop": "--check-every 1"}
"""Frames that look at ACM less often than these trainings have steps."""
SMALL = "--model small --batch-size 10"
GRID = """models = ["small"]
poisons = ["clean", "ops"]
frames = ["nt"]
[data]
source = "GIVEN/d.safetensors"
test = "GIVEN/t.safetensors"
[train]
epochs = 1
batch-size = 10
"""
OFTEN = ("seconds", "attempts", "images_per_second", "peak_memory", "timed", "total_seconds")
"""Keys of a result that depend on the clock, or on how often it was begun."""


@dataclass(frozen=True)
class Job:
    """A command. line: GIVEN stands for the folder of inputs, OUT for the output, SEED for a seed.

    resumes: it takes --resume. forces: it takes --force. folder: its output is a folder.
    """

    name: str
    line: str
    out: str = "o.safetensors"
    resumes: bool = False
    forces: bool = True
    folder: bool = False

    def words(self, given: Path, *more: str, seed: int = 0) -> list[str]:
        """The arguments, in a folder that is the place of the output."""
        line = self.line.replace("GIVEN", str(given)).replace("SEED", str(seed))
        return [*line.replace("OUT", self.out).split(), *more]


def _jobs() -> list[Job]:
    data = [
        Job("data", "data digits --size 16 --limit 30 --holdout 3 --seed SEED -o OUT"),
        Job("data-folder", "data GIVEN/photos --size 16 --holdout 3 --seed SEED -o OUT"),
        Job("sp", "poison sp GIVEN/d.safetensors --seed SEED -o OUT"),
        Job("ops", "poison ops GIVEN/d.safetensors --poison-rate 0.5 --seed SEED -o OUT"),
        Job("rate", "rate GIVEN/sp.safetensors --clean GIVEN/d.safetensors --poison-rate 0.5 "
            "-o OUT"),
        Job("import-pt", "import GIVEN/noise.pt --clean GIVEN/d.safetensors --seed SEED -o OUT"),
        Job("import-pkl", "import GIVEN/noise.pkl --clean GIVEN/d.safetensors --seed SEED -o OUT"),
        Job("import-npz", "import GIVEN/images.npz --clean GIVEN/d.safetensors --seed SEED -o OUT"),
        Job("import-png", "import GIVEN/png --clean GIVEN/d.safetensors --seed SEED -o OUT"),
        Job("eval", "eval GIVEN/nt.safetensors GIVEN/t.safetensors -o OUT"),
        Job("acm", "acm GIVEN/nt.safetensors GIVEN/d.safetensors -o OUT"),
        Job("report", "report GIVEN/nt.safetensors --format csv -o OUT", out="o.csv"),
    ]  # fmt: skip
    export = [
        Job("export-folder", "export GIVEN/f.safetensors -o OUT", out="o", forces=False,
            folder=True),
        Job("export-png", "export GIVEN/sp.safetensors --format png -o OUT", out="o", forces=False,
            folder=True),
        Job("export-npz", "export GIVEN/sp.safetensors --format npz -o OUT", out="o.npz"),
        Job("export-em", "export GIVEN/sp.safetensors --format em --clean GIVEN/d.safetensors "
            "-o OUT", out="o.pt"),
        Job("export-rem", "export GIVEN/sp.safetensors --format rem --clean GIVEN/d.safetensors "
            "-o OUT", out="o.pkl"),
    ]  # fmt: skip
    rounds = f"poison em GIVEN/d.safetensors {SMALL} --max-rounds 2 --model-steps 2 --steps 2"
    long = [
        Job("em-sample", f"{rounds} --seed SEED -o OUT", resumes=True),
        Job("em-class", f"{rounds} --scope class --seed SEED -o OUT", resumes=True),
        Job("rem", f"poison rem GIVEN/d.safetensors {SMALL} --model-steps 3 --steps 2 --eot 1 "
            "--adversary-steps 2 --seed SEED -o OUT", resumes=True),
        *(Job(f"train-{frame}", f"train GIVEN/d.safetensors --frame {frame} {SMALL} --epochs 1 "
              f"{JUDGED.get(frame, '')} --seed SEED -o OUT", resumes=True) for frame in FRAMES),
        Job("train-test", f"train GIVEN/sp.safetensors --test GIVEN/t.safetensors {SMALL} "
            "--frame st --epochs 2 --check-every 2 --seed SEED -o OUT", resumes=True),
    ]  # fmt: skip
    bench = Job("bench", "bench GIVEN/grid.toml -o OUT", out="o", forces=False, folder=True)
    return [*data, *export, *long, bench]


JOBS = {job.name: job for job in _jobs()}


def make_given(folder: Path) -> Path:
    """The inputs of all jobs."""
    folder.mkdir(parents=True)
    (folder / "grid.toml").write_text(GRID.replace("GIVEN", str(folder)))
    for line in (
        "data digits --size 16 --limit 30 -o d.safetensors",
        "data digits --split test --size 16 --limit 20 -o t.safetensors",
        "poison sp d.safetensors -o sp.safetensors",
        f"train d.safetensors --frame nt {SMALL} --epochs 1 -o nt.safetensors",
        "export sp.safetensors --format em --clean d.safetensors -o noise.pt",
        "export sp.safetensors --format rem --clean d.safetensors -o noise.pkl",
        "export sp.safetensors --format npz -o images.npz",
        "export sp.safetensors --format png -o png",
        "export d.safetensors -o photos",
        "data photos -o f.safetensors",
    ):
        done = warm.run(line.split(), cwd=folder)
        if done.code:
            raise RuntimeError(f"stkit {line}: {done.err}")
    return folder


def tree(folder: Path) -> dict[str, bytes | None]:
    """Every path under a folder with its bytes; None of a folder, and what a link says."""
    found: dict[str, bytes | None] = {}
    for path in sorted(folder.rglob("*")):
        if path.is_symlink():
            found[str(path.relative_to(folder))] = os.fsencode(os.readlink(path))
        else:
            found[str(path.relative_to(folder))] = path.read_bytes() if path.is_file() else None
    return found


def settled(found: dict[str, bytes | None]) -> dict[str, bytes | None]:
    """The same without what depends on the clock: a bench's logs, and times in its results."""
    kept: dict[str, bytes | None] = {}
    for name, data in found.items():
        if "/logs/" in name:
            continue
        if name.endswith(".json") and data is not None:
            try:
                data = json.dumps(_timeless(json.loads(data)), sort_keys=True).encode()
            except ValueError:
                data = b"no JSON: " + data
        kept[name] = data
    return kept


def _timeless(value: object) -> object:
    if isinstance(value, dict):
        return {key: _timeless(inner) for key, inner in value.items() if key not in OFTEN}
    return [_timeless(inner) for inner in value] if isinstance(value, list) else value


@dataclass(frozen=True)
class Undisturbed:
    """What a command does when nothing goes wrong: the folder then, its calls that write, how long
    it takes."""

    tree: dict[str, bytes | None]
    calls: int
    seconds: float


def undisturbed(job: Job, given: Path, home: Path) -> Undisturbed:
    """A command to its end, in the emptied folder `home`."""
    empty(home)
    done = warm.run(job.words(given), cwd=home, trap=traps.Trap(home))
    if done.code:
        raise RuntimeError(f"{job.name}: {done.err}")
    return Undisturbed(settled(tree(home)), done.calls, done.seconds)


def empty(folder: Path) -> Path:
    """An empty folder, whatever was there."""
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    return folder
