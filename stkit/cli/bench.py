"""stkit bench: plan a grid, run what is not finished, write one result a training."""

import os
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from stkit.cli import numbers, output
from stkit.cli import options as o
from stkit.core.checks import number
from stkit.core.errors import ArtifactError, RecipeError
from stkit.recipes.frames import FRAMES
from stkit.recipes.poisons import METHODS
from stkit.recipes.training import TrainingRecipe

if TYPE_CHECKING:
    from stkit.bench.run import Host, Places

POISON, FRAME = next(iter(METHODS)), next(iter(FRAMES))
HELP = f"""Run a grid of trainings: poisons x poison rates x frames x models x seeds.

Every task is a `stkit data`, `poison` or `train` of its own; a poison is made once for all runs,
the trainings, that share it. Each finished run is one JSON file in FOLDER. What is finished is
skipped, what was stopped is gone on with, what fails is reported at the end (exit 1); what is not
done then is `left`, see --json: bench again until nothing is. One bench at a time holds FOLDER, a
second one is told so. To share a grid over machines, see examples/snakemake.

\b
A grid in TOML (examples/grid.toml has every key):
  seeds = [0, 1, 2]  rates = [0.5, 1.0]  poison-seed = 0  keep = true
  models = ["{TrainingRecipe.model}"]  poisons = ["clean", "{POISON}"]  frames = ["{FRAME}"]
  [data]      source = "cifar10"; also test, limit, size, holdout, name
  [train]     options of `stkit train` for all runs, such as epochs = 30
  [[poison]]  name = "{POISON}-4"; method = "{POISON}"; its options, such as epsilon = "4/255"
  [[frame]]   name = "{FRAME}-wd"; frame = "{FRAME}"; its options, such as weight-decay = 1e-3

\b
A queue in TOML, whose runs are taken in this order; each grid has its folder in FOLDER:
  [[grid]]  file = "a.toml"; only = ["{POISON}*_{FRAME}_*", "*_s0"], all its runs without it

\b
Example:
  stkit bench examples/grid.toml --dry-run
  stkit bench examples/grid.toml -o grid-out --jobs 2 --time-limit 9
  stkit report grid-out --layout 1"""

Grid = Annotated[Path, typer.Argument(metavar="GRID", help="A grid in TOML, or a queue of them.")]
Out = Annotated[
    Path | None,
    typer.Option(
        "-o", "--output", metavar="FOLDER", help="For results.  [default: GRID's name-results]"
    ),
]
Work = Annotated[
    Path | None,
    typer.Option(
        metavar="FOLDER", help="For images, checkpoints and logs.  [default: `work` in -o]"
    ),
]
Source = Annotated[
    list[str] | None,
    typer.Option(
        "--source", metavar="[NAME=]SOURCE",
        help="In the place of the grid's: a copy in a folder. A queue's grids may name several: "
        "NAME=SOURCE is for those that name NAME, SOURCE for those that name what the first does.",
    ),
]  # fmt: skip
Test = Annotated[
    list[str] | None,
    typer.Option(
        "--test", metavar="[NAME=]SOURCE",
        help="The same for the test images; needed where --source is a file, which has one split.",
    ),
]  # fmt: skip
Only = Annotated[
    list[str] | None,
    typer.Option(
        metavar="PATTERN",
        help=f"Only the runs of such a name: '{POISON}*_{FRAME}_*'; may be given again.",
    ),
]
Jobs = Annotated[
    int | None,
    typer.Option(
        parser=numbers.whole,
        help="Tasks side by side; on a CPU each has one thread, or [train] threads.  "
        "[default: one a GPU, or one a core]",
    ),
]
Devices = Annotated[
    str, typer.Option(metavar="LIST", help="Where to compute, for instance cuda:0,cuda:1.")
]
TimeLimit = Annotated[
    float | None,
    typer.Option(
        parser=numbers.real, metavar="MINUTES", help="Stop then; saving takes some seconds more."
    ),
]
DryRun = Annotated[
    bool, typer.Option("--dry-run", help="Print the runs, their time and disk, and stop.")
]

PLACE = 100
MEMORY = 2 << 30  # bytes that a task on a CPU is taken to need


def register(app: typer.Typer) -> None:
    """Add the command."""
    app.command(help=HELP)(bench)


def bench(
    context: typer.Context,
    path: Grid,
    out: Out = None,
    work: Work = None,
    source: Source = None,
    test: Test = None,
    only: Only = None,
    jobs: Jobs = None,
    devices: Devices = "auto",
    time_limit: TimeLimit = None,
    data_root: o.DataRoot = None,
    dry_run: DryRun = False,
    json: o.Json = False,
    quiet: o.Quiet = False,
) -> None:
    """Plan or run a grid. `context.obj` may be the host to run it on, a `run.Host`."""
    from stkit.bench import estimate, locks, noise, progress, run
    from stkit.bench.tasks import folders as folders_of
    from stkit.bench.tasks import tasks_of
    from stkit.cli import grids, runs, watching

    host = context.obj or run.Host(cores=_cores())
    deadline = _deadline(time_limit, host)
    places = _places(devices, jobs, host.cores)
    asked = grids.matching(grids.asked(path, source or (), test or ()), only or ())
    out = _folder(out or Path(f"{path.stem}-results"))
    work = _folder(work or out / "work")
    folders = [_folder(out / name) for name in dict.fromkeys(run.folder for run in asked)]
    there = progress.look(asked, out, work)
    tasks = tasks_of(there.todo)
    grids.check_sources(path, tasks, work)

    def plan() -> "estimate.Estimate":
        device = places.devices[0]
        timed = there.timed(gpu=estimate.on_gpu(device))
        return estimate.plan(tasks, there.todo, timed, work, device=device, jobs=places.jobs)

    if dry_run:
        runs.show(plan(), there, as_json=json, quiet=quiet)
        return
    say: Callable[[str], None] = (lambda line: None) if quiet else output.note
    with locks.held(*folders, work) as files:
        there = progress.look(asked, out, work)  # again, now that nobody else changes it
        for name, why in there.blocked.items():
            say(f"failed {name}: {why}")
        tasks = tasks_of(there.todo)
        for line in noise.bring(tasks, folders_of(asked), out, work):
            say(line)
        finish = progress.Writer(out, work, there.todo).finish
        with watching.watched(there, tasks, plan, quiet=quiet) as watch:
            pool = run.Pool(
                work, replace(places, locks=files), finish=finish, say=say, deadline=deadline,
                data_root=data_root, host=host, watch=watch,
            )  # fmt: skip
            outcome = pool.run(tasks)
    runs.end(outcome, tasks, there, out, as_json=json, quiet=quiet)


def _folder(path: Path) -> Path:
    if path.exists() and not path.is_dir():
        raise ArtifactError(f"{path}: found a file, expected a folder; pass another one")
    return path


def _deadline(minutes: float | None, host: "Host") -> float | None:
    """When to stop, on the host's clock."""
    if minutes is None:
        return None
    number("time-limit", minutes, 0, 1_000_000)
    return host.clock() + 60 * minutes


def _cores() -> int:
    """How many tasks of one thread this CPU and its memory take side by side."""
    from stkit.core.arrays import available

    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    return max(1, min(cores or 1, available() // MEMORY, 1000))


def _places(devices: str, jobs: int | None, cores: int) -> "Places":
    from stkit.bench.estimate import on_gpu
    from stkit.bench.run import Places

    names = [device.strip() for device in devices.split(",") if device.strip()]
    if not names:
        raise RecipeError("devices is an empty list, expected one or more: cuda:0,cuda:1")
    if jobs is None:
        apple = names == ["auto"] and sys.platform == "darwin"
        cpu = set(names) <= {"auto", "cpu"} and not on_gpu(names[0]) and not apple
        jobs = max(cores, len(names)) if cpu else len(names)
    number("jobs", jobs, 1, 1000)
    return Places(names, jobs)
