"""The steps of `gpu.py`: which there are, in the order of what is worth most, and how far each is.

A step is one process, which makes a file in the folder of results, see `gpu_made.py`.
"""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from gpu_made import Answer, Made, Place, Result, Rows

HERE = Path(__file__).parent
GRIDS = HERE.parent / "results" / "grids"
QUICK_QUEUE = """[[grid]]
file = "quick.toml"
"""
QUICK_GRID = """models = ["small"]
poisons = ["clean"]
frames = ["nt", "nt-cg"]
keep = false
[data]
source = "digits"
limit = 60
[train]
epochs = 1
batch-size = 20
"""


@dataclass(frozen=True)
class Step:
    """One process. command: after `python`, without its time; timed: the option that tells it.

    minutes: at most, None for all that are left; least: fewer are not worth beginning with.
    images: whether it wants those that are decoded.
    """

    name: str
    about: str
    command: tuple[str, ...]
    made: Made
    timed: str = "--minutes"
    minutes: float | None = 2.0
    least: float = 0.7
    images: bool = True


def steps(place: Place) -> list[Step]:
    """Every step, the most valuable first."""
    return [_check(place), *_speed(place), *_results(place), *_rest(place)]


def _check(place: Place) -> Step:
    command = ("-m", "stkit", "env", "--check", "--device", place.device, "--json")
    made = Answer(place.figure("check.json"), here=True)
    return Step("check", "does this machine compute what it should", command, made, timed="",
                images=False)  # fmt: skip


def _rows(
    place: Place, name: str, about: str, module: str, *words: str, file: str = "", **how: Any
) -> Step:
    """A step of a benchmark that writes rows."""
    path = place.figure(f"{file or name}.jsonl")
    words = (*words, "--device", place.device, "--out", str(path))
    command = (str(HERE / f"{module}.py"), *words)
    return Step(name, about, command, Rows(path, module, words), **how)


def _speed(place: Place) -> list[Step]:
    """nt against the plain loop and the limit, nt's accuracy, the poisons' loops."""
    quick = place.quick
    net = ("--models", "small" if quick else "resnet18")
    train: tuple[str, ...] = (place.train, *net, "--tasks", "nt", "--plain-tf32", *_turns(place))
    train += ("--batch-sizes", "16" if quick else "512,128")
    train += ("--precisions", "fp32" if quick else "bf16")
    graph, compiled = ("auto", "eager") if quick else ("graph", "compile")
    poison: tuple[str, ...] = (place.train, *net, "--plain-tf32", *_turns(place, images=False))
    poison += ("--precisions", "fp32" if quick else "bf16", *_small_poisons(place))
    return [
        _rows(place, "train", "nt: plain loop, CUDA graph, limit", "train_speed", *train,
              "--steps", graph),
        _rows(place, "compile", "nt: plain loop, torch.compile, limit", "train_speed", *train,
              "--steps", compiled, file="train", least=1.3),
        _training(place),
        _rows(place, "poison", "EM's and REM's loops, the authors' with TF32", "poison_speed",
              *poison),
    ]  # fmt: skip


def _turns(place: Place, *, images: bool = True) -> tuple[str, ...]:
    """How long and how often sides take turns."""
    if not place.quick:
        return ("--rounds", "3", "--seconds", "2")
    small = ("--images", "100", "--workers", "0", "--threads", "1", "--together")
    return ("--rounds", "1", "--seconds", "0.05", *(small if images else ()))


def _small_poisons(place: Place) -> tuple[str, ...]:
    return ("--limit", "20", "--em-batch", "10", "--rem-batch", "4") if place.quick else ()


def _bench(place: Place, grid: Path, out: Path) -> tuple[str, ...]:
    """A bench whose tasks lie in one folder, so that images and poisons are made once."""
    return ("-m", "stkit", "bench", str(grid), "-o", str(out), "--work", str(place.work / "bench"),
            "--source", place.train, "--test", place.test, "--devices", place.device,
            "--json")  # fmt: skip


def _training(place: Place) -> Step:
    """nt on clean images for 60 epochs."""
    grid, name = GRIDS / "cifar10.toml", "clean_nt_resnet18_s0"
    if place.quick:
        grid, name = place.work / "quick.toml", "clean_nt_small_s0"
    folder = place.out / grid.stem
    command = (*_bench(place, grid, folder), "--only", name)
    return Step("nt", "nt on clean images, 60 epochs, seed 0", command,
                Result(folder / f"{name}.json"), timed="--time-limit")  # fmt: skip


def _results(place: Place) -> list[Step]:
    """The queue of trainings, which takes what time there is."""
    grid = place.work / "queue.toml" if place.quick else GRIDS / "queue.toml"
    command = _bench(place, grid, place.out)
    made = Answer(place.figure("queue.json"))
    return [Step("queue", "trainings in the order of what they give", command, made,
                 timed="--time-limit", minutes=None)]  # fmt: skip


def _rest(place: Place) -> list[Step]:
    """What is nice to know. After the queue, which is longer than anyone's patience: ask for these
    with --only, or for all of them with --skip queue."""
    quick = place.quick
    model = "small" if quick else "resnet18"
    turns = (place.train, "--models", model, "--plain-tf32", *_turns(place))
    turns += ("--steps", "auto" if quick else "graph")
    batches, large = ("16", "16") if quick else ("128,512", "128")
    both = ("--precisions", "fp32" if quick else "fp32,bf16")
    small = ("--models", "small", "--limit", "40", "--batch-size", "20") if quick else ()
    exact = ("--limit", "40", "--model", "small", "--batch-size", "20", "--epochs", "1",
             "--quick", "--together", "--cases", "nt,em") if quick else ()  # fmt: skip
    grow: tuple[str, ...] = ("--full",)
    if quick:
        grow = ("--kinds", "train", "--axes", "images", "--values", "20", "--batch", "4",
                "--seconds", "0")  # fmt: skip
    start = ("--rounds", "1", "--batch-size", "16") if quick else ()
    candidates = place.figure("candidates.jsonl")
    tried: tuple[str, ...] = (str(HERE / "candidates.py"), place.train, "--out", str(candidates))
    tried += ("--device", place.device, "--patience", "150")  # within the step's three minutes
    if quick:
        tried += ("--quick", "--model", "small", "--methods", "em", "--candidates", "fold")
    return [
        Step("candidates", "what might make REM and EM faster", tried,
             Answer(place.figure("candidates.json"))),
        _rows(place, "epochs", "an epoch of each network by nt and st", "epochs", place.train,
              "--test", place.test, *small),
        _rows(place, "tasks", "at, evaluation and ACM against the plain loop", "train_speed",
              *turns, *both, "--tasks", "nt,eval,acm" if quick else "nt,at,eval,acm",
              "--batch-sizes", batches, file="train"),
        _rows(place, "224", "nt at 224 pixels, from files", "train_speed", *turns,
              "--tasks", "nt", "--precisions", "fp32" if quick else "bf16",
              "--batch-sizes", large, "--sizes", "72" if quick else "224", file="train"),
        _rows(place, "poison-fp32", "EM's and REM's loops without TF32", "poison_speed",
              place.train, "--models", model, *both, *_turns(place, images=False),
              *_small_poisons(place), file="poison"),
        _rows(place, "growth", "how cost grows", "growth", *grow, images=False),
        _rows(place, "start-up", "what a command spends before its first step", "startup",
              "--models", model, *start, images=False),
        _rows(place, "deterministic", "the same bytes twice, and at what price", "deterministic",
              place.train, *exact),
    ]  # fmt: skip
