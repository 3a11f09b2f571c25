"""How long a grid will take and how much it will write: from finished runs, else from a rule.

The unit of work is an image once through a training step. A run takes its images times epochs
times the passes that its frame makes in a step (11 for PGD-10). Seconds for it come from the
finished runs of the same model; while there are none, from `RATES`, which are rough.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import median
from typing import Any

from stkit.bench.tasks import Options, Run, Task, called, folders, tasks_of
from stkit.core import header
from stkit.core.errors import StkitError
from stkit.recipes import carried
from stkit.recipes.catalogue import MODELS
from stkit.recipes.frames import FRAMES, default_epochs
from stkit.recipes.poisons import METHODS, resolve
from stkit.recipes.settings import Costly, Recipe, settings
from stkit.recipes.training import TrainingRecipe

SIZES = {
    "cifar10": (50_000, 10), "cifar100": (50_000, 100),
    "digits": (1_437, 10), "shapes": (5_000, 10),
}  # fmt: skip
"""Training images and classes of the data sets that are 32x32."""
RATES = {"cuda": {"resnet18": 40_000, "small": 60_000}, "cpu": {"resnet18": 30, "small": 1_800}}
"""Images a second in training, when nothing is known; another model is as the default one. Measured
by `nt` at batch 128 on one H200 and on one CPU thread (docs/performance.md), but small on a GPU.
"""
PASS = 2 / 3
"""What noise's pass costs of a step: a gradient of the images, none of the weights. By arithmetic;
the H200 needed 0.6."""
START = {"cuda": 8.0, "cpu": 2.0}
"""Seconds until a worker has begun: imports, and CUDA's start. Two idle cores: 1.1 for the first of
these (results/benchmarks/cpu-train-speed-2-threads.jsonl, `stkit_parts`), busy ones twice that. An
H200: 9.7 for both (gpu-train-speed.jsonl), of which 2 to 3 were an import that is gone since."""
EACH = {"cuda": 2.5, "cpu": 0.5}
"""Seconds until a task computes in a worker that has begun: reading, choosing kernels, recording.
In the same files `first step`: 2.4 on the H200, 0.1 to 0.2 on the CPU."""


@dataclass(frozen=True)
class Data:
    """What the estimates need to know of the training images."""

    count: int
    classes: int
    side: int

    @property
    def nbytes(self) -> int:
        """Bytes of the images."""
        return 3 * self.count * self.side**2


@dataclass(frozen=True)
class Estimate:
    """What is left to do of a grid; what is half done counts as to be done."""

    runs: dict[str, float]  # name of a run -> seconds
    images: dict[str, float]  # name of a task that makes images -> seconds
    seconds: float  # of all, side by side
    disk_bytes: int  # to be written
    basis: str  # of the seconds, for people


def plan(
    tasks: Sequence[Task], todo: Sequence[Run], finished: Iterable[tuple[Run, float]], work: Path,
    *, device: str, jobs: int,
) -> Estimate:  # fmt: skip
    """Seconds and bytes of the runs to do and of what else their tasks make, and on what basis.

    tasks: of the runs to do. finished: runs with their seconds. device: `auto` is a GPU where
    NVIDIA's driver is there. Of checkpoints that are not kept only those count that are there at a
    time.
    """
    by_file = {run.task.file: run for run in todo}
    if not by_file:
        return Estimate({}, {}, 0.0, 0, "nothing is left to do")
    speed = Speed([(run, trained_on(run, work), seconds) for run, seconds in finished], device)
    images: dict[str, Data] = {}
    for run in todo:
        trained = trained_on(run, work)
        images |= {task.file: trained for task in tasks_of([run])}
    left = [task for task in tasks if not (work / task.file).exists()]
    models = {task.file: _model(task, by_file) for task in left}
    seconds = {
        task.file: speed.seconds(_effort(task, by_file, images[task.file]), models[task.file])
        for task in left
    }
    trainings = [task.file for task in left if task.file in by_file]
    others = {task.file: task.name for task in left if task.file not in by_file}
    where = folders(todo)
    disk = sum(images[file].nbytes for file in others)
    kept = [models[file] for file in trainings if by_file[file].keep]
    disk += _checkpoint_bytes([models[file] for file in trainings], kept, jobs=jobs)
    return Estimate(
        {run.called: seconds[run.task.file] for run in todo if run.task.file in seconds},
        {called(name, where[file][0]): seconds[file] for file, name in others.items()},
        speed.start + sum(seconds.values()) / jobs, disk,
        speed.basis({models[task.file] for task in left if task.resumable}),
    )  # fmt: skip


def trained_on(run: Run, work: Path) -> Data:
    """The images that a run is trained on, or the clean ones that they stem from."""
    first = run.task
    while isinstance(first.source, Task):
        first = first.source
    clean = first.verb == ("data",)  # else a poison that is a file
    return data(work / first.file if clean else Path(str(first.source)), run.settings["data"])


def _effort(task: Task, by_file: Mapping[str, Run], images: Data) -> float:
    """Images through a step, of any task."""
    if task.file in by_file:
        return effort(by_file[task.file], images)
    if task.verb[0] != "poison":
        return 0.0
    return PASS * poison_effort(task, _options(task), images)


def _model(task: Task, by_file: Mapping[str, Run]) -> str:
    """The model that a task trains; the default one where it trains none."""
    if task.file in by_file:
        return by_file[task.file].model
    return str(_options(task).get("model", TrainingRecipe.model))


def _checkpoint_bytes(models: Sequence[str], kept: Sequence[str], *, jobs: int) -> int:
    """Bytes on disk of the checkpoints of trainings of these models, of which some are kept, those
    unfinished beside them."""
    at_a_time = sum(sorted(map(_weights, models), reverse=True)[:jobs])
    # unfinished, one is up to three times as large
    return 2 * at_a_time + max(at_a_time, sum(map(_weights, kept)))


def _weights(model: str) -> int:
    """Bytes of a model's checkpoint."""
    return 4 * MODELS.get(model, MODELS[TrainingRecipe.model]).parameters


def data(file: Path, settings: dict[str, Any]) -> Data:
    """The training images: from their file where it is there, else from the data set's name."""
    try:
        head, _ = header.layout(file)
        count, _, side, _ = head["images"]["shape"]
        return Data(count, len(header.read(file)["classes"]), side)
    except (StkitError, KeyError, ValueError):
        count, classes = SIZES.get(settings["name"], SIZES["cifar10"])
        return Data(settings["limit"] or count, classes, settings["size"] or 32)


def effort(run: Run, images: Data) -> float:
    """Images through a training step, of a whole run."""
    options = run.options
    default = options.get("epochs", default_epochs(images.side, images.classes))
    epochs = (float(default), float(options.get("fine-tune-epochs", default)))
    total = 0.0
    augment = options.get("augment")
    for phase, length in zip(FRAMES[run.frame].phases, epochs, strict=False):
        carries = phase if augment is None else carried.read(str(augment))
        pilots = 0.0 if carries.ladder is None else carries.ladder.budget
        adversary = phase.adversary.steps if phase.adversary else 0
        total += length * (carries.copies + adversary + pilots)
    return total * (images.count - float(options.get("holdout", 0)))


def poison_effort(task: Task, options: Options, images: Data) -> float:
    """Images through a step, for a poison with a surrogate; nothing for the others."""
    kind = METHODS[task.verb[1]]
    recipe = resolve(kind(**_of(kind, options)), (images.side, images.side), images.classes)
    return recipe.passes(images.count) if isinstance(recipe, Costly) else 0.0


def _of(kind: type[Recipe[Any]], options: Options) -> Options:
    """The settings among a task's options that decide how long it takes: counts and choices."""
    plain = {k.replace("-", "_"): v for k, v in options.items()}
    return {
        name: plain[name]
        for name, about in settings(kind).items()
        if name in plain and (isinstance(plain[name], int) or plain[name] in about.choices)
    }


def on_gpu(device: str) -> bool:
    """Whether a task on this device computes on a GPU of NVIDIA's, as far as the driver tells."""
    driver = Path("/proc/driver/nvidia/version")
    return device.startswith("cuda") or (device == "auto" and driver.exists())


class Speed:
    """Seconds for an effort, by model: measured where a finished run tells, else by the rule.

    start: of a worker, which are started side by side and do one task after another.
    """

    def __init__(self, finished: Iterable[tuple[Run, Data, float]], device: str) -> None:
        rates: dict[str, list[float]] = {}
        for run, images, seconds in finished:
            rates.setdefault(run.model, []).append(effort(run, images) / seconds)
        self.measured = {model: median(known) for model, known in rates.items()}
        kind = "cuda" if on_gpu(device) else "cpu"
        self.rule, self.start, self.each = RATES[kind], START[kind], EACH[kind]

    def rough(self, model: str) -> int:
        """Images a second by the rule."""
        return self.rule.get(model, self.rule[TrainingRecipe.model])

    def seconds(self, work: float, model: str) -> float:
        """Seconds of a task with so many images through a step."""
        return self.each + work / self.measured.get(model, self.rough(model))

    def basis(self, models: Iterable[str]) -> str:
        """What the seconds of these models are estimated by, for people."""
        guessed = sorted(set(models) - self.measured.keys())
        rates = (f"{model} {self.rough(model):,} images/s" for model in guessed)
        return "finished runs" if not guessed else f"a rough rule: {', '.join(rates)}"


def _options(task: Task) -> Options:
    """A task's options as values."""
    pairs = (option.removeprefix("--").partition("=") for option in task.options)
    return {key: int(v) if v.isdigit() else v if equals else True for key, equals, v in pairs}
