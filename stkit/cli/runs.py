"""What is said of the runs of a grid or a queue: the plan before, the sums after."""

from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path

import typer

from stkit.bench.estimate import Estimate
from stkit.bench.progress import Progress, State
from stkit.bench.run import Outcome
from stkit.bench.tasks import Task, called, folders
from stkit.cli import output
from stkit.core import text as harmless
from stkit.core.errors import Interrupted


def end(
    outcome: Outcome, tasks: Sequence[Task], there: Progress, out: Path, *,
    as_json: bool, quiet: bool,
) -> None:  # fmt: skip
    """Say what became of the runs; exit 1 when some failed."""
    failed = there.blocked | _failed(outcome, tasks, there)
    trained = [run for run in there.todo if run.task.file in outcome.done]
    left = [run.called for run in there.todo if run not in trained and run.called not in failed]
    count, done = len(there.statuses), len(there.done) + len(trained)
    if outcome.signal:
        raise Interrupted(
            f"interrupted; {done} of {count} runs are done, the same command goes on",
            outcome.signal,
        )
    if as_json:
        output.result(
            {"output": str(out), "cells": count, "done": done, "left": left, "failed": failed},
            as_json=True, quiet=quiet,
        )  # fmt: skip
    else:
        lost = len(failed.keys() & {status.run.called for status in there.statuses})
        sums = {"output": str(out), "runs": count, "done": done, "left": len(left), "failed": lost}
        output.result(sums, as_json=False, quiet=quiet, brief=out)
        for name, why in failed.items():
            output.note(f"failed {name}: {why}")
        if left and not quiet:
            output.note(f"{len(left)} of {count} runs are left; the same command goes on with them")
    if failed:
        raise typer.Exit(1)


def _failed(outcome: Outcome, tasks: Sequence[Task], there: Progress) -> dict[str, str]:
    """What failed, by the names for people: runs, and what else their tasks make."""
    trainings = {run.task.file for run in there.todo}
    first = {file: named[0] for file, named in folders(there.todo).items()}
    failed = {
        called(task.name, first[task.file]): outcome.failed[task.file]
        for task in tasks
        if task.file in outcome.failed and task.file not in trainings
    }
    return failed | {
        run.called: outcome.failed[run.task.file]
        for run in there.todo
        if run.task.file in outcome.failed
    }


def show(plan: Estimate, there: Progress, *, as_json: bool, quiet: bool) -> None:
    """What would be done: a row a run, before them those a set of images, then the sums."""
    if as_json:
        rows = [
            {
                "cell": status.run.called,
                "state": status.state,
                "seconds": plan.runs.get(status.run.called),
            }
            | ({"why": status.why} if status.why else {})
            for status in there.statuses
        ]
        sums = {key: value for key, value in asdict(plan).items() if key != "runs"}
        output.result({"cells": rows, **sums}, as_json=True, quiet=False)
        return
    if quiet:
        output.say("\n".join(status.run.called for status in there.statuses))
        return
    shown = [
        {"task": name, "state": State.TO_DO, "time": output.duration(seconds)}
        for name, seconds in plan.images.items()
    ]
    shown += [
        {"task": status.run.called, "state": status.state,
         "time": output.duration(plan.runs.get(status.run.called))}
        for status in there.statuses
    ]  # fmt: skip
    output.say(output.rows(shown, "table") + "\n")
    for name, why in there.blocked.items():
        output.say(harmless.plain(f"blocked {name}: {why}"))
    text = {
        "runs": len(there.statuses), "time": output.duration(plan.seconds),
        "disk": f"{plan.disk_bytes / 1e9:.3g} GB", "estimated": f"by {plan.basis}",
    }  # fmt: skip
    output.result(text, as_json=False, quiet=False)
