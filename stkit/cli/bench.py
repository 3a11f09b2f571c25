"""stkit bench: plan a grid, run what is not finished, write one result a cell."""

import time
from collections.abc import Callable
from pathlib import Path
from typing import Annotated, Any

import typer

from stkit.bench import estimate, progress, run
from stkit.bench.tasks import Grid, Stage
from stkit.cli import grids, output
from stkit.cli import options as o
from stkit.core.checks import number
from stkit.core.errors import ArtifactError, Interrupted, RecipeError

HELP = """Run a grid of trainings: poisons x poison rates x frames x models x seeds.

Every stage is a `stkit data`, `poison` or `train` of its own; a poison is made once for all cells
that share it. Each finished cell is one JSON file in FOLDER. What is finished is skipped, what was
stopped is gone on with, what fails is reported at the end (exit 1): run it until nothing is left.
Several runs may share a FOLDER: a cell that one of them is at is skipped by the others, which look
at it again before they end. What is not done then is `left`, see --json.

\b
A grid in TOML (examples/grid.toml has every key):
  models = ["resnet18"]       seeds = [0, 1, 2]      rates = [0.5, 1.0]
  poisons = ["clean", "ops"]  frames = ["nt", "st"]  poison-seed = 0   keep = true
  [data]                      source = "cifar10"; also test, limit, size, name
  [train]                     options of `stkit train` for all cells, such as epochs = 30
  [[poison]]                  name = "em-class"; method = "em"; its options, such as scope = "class"
  [[frame]]                   name = "st-r"; frame = "st"; its options, such as check-every = 49

\b
Example:
  stkit bench examples/grid.toml --dry-run
  stkit bench examples/grid.toml -o grid-out --jobs 2 --time-limit 9
  stkit report grid-out --layout 1"""

PLACE = 100


def register(app: typer.Typer) -> None:
    app.command(help=HELP)(bench)


def bench(
    context: typer.Context,
    path: Annotated[Path, typer.Argument(metavar="GRID", help="A grid in TOML.")],
    out: Annotated[
        Path | None,
        typer.Option(
            "-o", "--output", metavar="FOLDER", help="For results.  [default: GRID's name-results]"
        ),
    ] = None,
    work: Annotated[
        Path | None,
        typer.Option(
            metavar="FOLDER", help="For images, checkpoints and logs.  [default: `work` in -o]"
        ),
    ] = None,
    source: Annotated[
        str | None,
        typer.Option(metavar="SOURCE", help="In the place of the grid's: a copy in a folder."),
    ] = None,
    only: Annotated[
        str | None,
        typer.Option(metavar="PATTERN", help="Only the cells of such a name: 'sp*_nt_*'."),
    ] = None,
    jobs: Annotated[
        int | None, typer.Option(help="Stages side by side.  [default: one a device]")
    ] = None,
    devices: Annotated[
        str, typer.Option(metavar="LIST", help="Where to compute, for instance cuda:0,cuda:1.")
    ] = "auto",
    time_limit: Annotated[
        float | None,
        typer.Option(metavar="MINUTES", help="Stop then; saving takes some seconds more."),
    ] = None,
    data_root: o.DataRoot = None,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Print the cells, their time and disk, and stop.")
    ] = False,
    json: o.Json = False,
    quiet: o.Quiet = False,
) -> None:
    deadline = None
    if time_limit is not None:
        number("time-limit", time_limit, 0, 1_000_000)
        deadline = time.monotonic() + 60 * time_limit
    places = [place.strip() for place in devices.split(",") if place.strip()]
    if not places:
        raise RecipeError("devices is an empty list, expected one or more: cuda:0,cuda:1")
    jobs = len(places) if jobs is None else jobs
    number("jobs", jobs, 1, 1000)
    root: Any = context.find_root().command
    found = grids.read(path, root.commands, source)
    asked = grids.matching(found, only)
    out = out or Path(f"{path.stem}-results")
    work = work or out / "work"
    for folder in (out, work):
        if folder.exists() and not folder.is_dir():
            raise ArtifactError(f"{folder}: found a file, expected a folder; pass another one")
    there = progress.sort(asked, out, work)
    stages = Grid(tuple(there.todo.values()), found.keep).stages()
    grids.check_sources(path, stages, work)
    if dry_run:
        plan = estimate.plan(
            stages, there.todo, there.done, work, keep=found.keep, device=places[0], jobs=jobs
        )
        _show(plan, there, as_json=json, quiet=quiet)
        return
    say: Callable[[str], None] = (lambda line: None) if quiet else output.note
    for name, why in there.blocked.items():
        say(f"failed {name}: {why}")
    running = run.Pool(
        out, work, devices=places, jobs=jobs, deadline=deadline, data_root=data_root,
        finish=progress.Writer(out, work, there.todo.values(), keep=found.keep).finish, say=say,
    )  # fmt: skip
    running.run(stages)
    _end(running, stages, there, out, as_json=json, quiet=quiet)


def _end(
    running: run.Pool, stages: list[Stage], there: progress.Sorted, out: Path, *, as_json: bool,
    quiet: bool,
) -> None:  # fmt: skip
    """Say what became of the cells; exit 1 when some failed."""
    names = {stage.file: stage.name for stage in stages}
    failed = there.blocked | {names[file]: why for file, why in running.failed.items()}
    ended = {*running.done, *running.failed}
    mine = {cell.stage.file: name for name, cell in there.todo.items()}
    found: dict[str, Any] = {
        "output": str(out), "cells": len(there.states),
        "done": len(there.done) + len(mine.keys() & running.done),
        "elsewhere": [names[file] for file in running.elsewhere],
        "left": [name for file, name in mine.items() if file not in ended], "failed": failed,
    }  # fmt: skip
    if running.signal:
        raise Interrupted(
            f"interrupted; {found['done']} of {found['cells']} cells are done, "
            "the same command goes on",
            running.signal,
        )
    if as_json:
        output.result(found, as_json=True, quiet=quiet)
    else:
        counts = {k: len(v) if isinstance(v, list) else v for k, v in found.items()}
        counts["failed"] = len(failed.keys() & there.states.keys())
        output.result(counts, as_json=False, quiet=quiet, brief=out)
        for name, why in failed.items():
            output.note(f"failed {name}: {why}")
        if found["left"] and not quiet:
            others = f", others are at {len(found['elsewhere'])}" if found["elsewhere"] else ""
            output.note(
                f"{len(found['left'])} of {found['cells']} cells are left{others}; "
                "the same command goes on with them"
            )
    if failed:
        raise typer.Exit(1)


def _show(plan: dict[str, Any], there: progress.Sorted, *, as_json: bool, quiet: bool) -> None:
    """What would be done: a row a cell, before them those a set of images, then the sums."""
    seconds, states = plan.pop("cells"), there.states
    rows = [
        {"cell": name, "state": state, "seconds": seconds.get(name)}
        | ({"why": there.blocked[name]} if name in there.blocked else {})
        for name, state in states.items()
    ]
    if as_json:
        output.result({"cells": rows, **plan}, as_json=True, quiet=False)
        return
    if quiet:
        typer.echo("\n".join(states))
        return
    shown = [
        {"stage": name, "state": "to do", "time": _duration(value)}
        for name, value in plan["images"].items()
    ]
    shown += [
        {"stage": row["cell"], "state": row["state"], "time": _duration(row["seconds"])}
        for row in rows
    ]
    typer.echo(output.rows(shown, "table") + "\n")
    for name, why in there.blocked.items():
        typer.echo(f"blocked {name}: {why}")
    sums = {
        "cells": len(rows), "time": _duration(plan["seconds"]),
        "disk": f"{plan['disk_bytes'] / 1e9:.3g} GB", "estimated": f"by {plan['basis']}",
    }  # fmt: skip
    output.result(sums, as_json=False, quiet=False)


def _duration(seconds: float | None) -> str | None:
    """Seconds for people."""
    if seconds is None:
        return None
    if seconds < 120:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 7200 else f"{seconds / 3600:.1f} h"
