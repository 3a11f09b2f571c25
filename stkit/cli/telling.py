"""What `stkit train` tells of a training: before it, at an epoch's end, when it is done."""

import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from time import perf_counter
from typing import TYPE_CHECKING, Any

from stkit.cli import keeping, output
from stkit.core.checks import as_dict
from stkit.recipes.acm import VARIANTS
from stkit.recipes.frames import described
from stkit.training.schedule import Verdict

APART = 1.0
"""Seconds that are measured, at least, and on a GPU those that it takes to settle."""
QUICK, LONG = "small", 600
"""The model that is quick on a CPU, and seconds from which on it is named."""

if TYPE_CHECKING:
    from stkit.training.loop import Training
    from stkit.training.schedule import Epoch


@dataclass
class Beginning:
    """Says in one line what computes, how many steps, and about how long they will take.

    It waits until some steps have been measured: the first one warms up, on a GPU those after it
    too. now: tells the time in seconds.
    """

    training: "Training"
    now: Callable[[], float] = perf_counter

    def __post_init__(self) -> None:
        self.first, self.said = self.training.executed, False
        self.marks = [(self.first, self.now())]  # steps done, and when; then from which on it runs

    def look(self, *, epoch_is_over: bool = False) -> None:
        """Say it, if it has not been said and enough has been seen; at an epoch's end it has."""
        done, now = self.training.executed, self.now()
        if self.said or done == self.first:
            return
        warm = len(self.marks) == (2 if self.training.runtime.device.type == "cpu" else 3)
        apart = len(self.marks) == 1 or now - self.marks[-1][1] >= APART
        if epoch_is_over or (warm and apart):
            before, then = self.marks[-1 if warm and apart else 0]
            self.said = True
            self._say((now - then) / (done - before))
        elif apart:
            self.marks.append((done, now))

    def _say(self, seconds_a_step: float) -> None:
        training, runtime = self.training, self.training.runtime
        left = training.plan.steps - self.first
        needed = seconds_a_step * left
        said = (
            f"{runtime.machine}, {runtime.precision}: {left:,} steps of "
            f"{training.plan.batch_size} images, about {output.duration(needed)}"
        )
        if runtime.device.type == "cpu" and training.recipe.model != QUICK and needed > LONG:
            said += f"; much faster on a CPU: --model {QUICK}"
        output.note(said)


def note_left_out(training: "Training") -> None:
    """Name the purifiers that do not judge, and why."""
    if training.sets.purified is not None:
        for purifier, why in training.sets.purified.left_out.items():
            output.note(f"note: purifier {purifier} does not judge: it {why}")


def explain(training: "Training") -> None:
    """Say once what the lines of the epochs count: both phases of a frame; on a terminal also what
    tau is."""
    first, *after = training.plan.phases
    for fine_tune in after:
        epochs = f"{first.epochs} epoch{'s' * (first.epochs > 1)}{' staged' * bool(first.staged)}"
        output.note(
            f"{training.recipe.frame.name}: {epochs}, then a fine-tune of {fine_tune.epochs}, "
            "which --fine-tune-epochs changes"
        )
    if sys.stderr.isatty() and any(phase.staged for phase in training.plan.phases):
        output.note(
            "tau: the stage, 0 at first; each roll-back adds 1, and shallow layers learn slower"
        )


def explain_acm(training: "Training") -> None:
    """Say of which weights the ACM that came out is, where the file has others, and its variant."""
    last = next((epoch for epoch in reversed(training.epochs) if epoch.checks), None)
    if last is None or not last.checks[-1].acm:
        return
    check, staged = last.checks[-1], training.plan.phases[last.phase - 1].staged
    assert staged is not None
    whose = ""
    if check.verdict is not Verdict.KEEP:
        whose = ", before it rolled back: the file holds the weights that came back"
    elif check.step < training.executed:
        whose = (
            f", at step {check.step:,} of {training.executed:,}: the file holds the last weights"
        )
    if whose or staged.variant != next(iter(VARIANTS)):
        output.note(f"note: acm is {staged.variant}, of the last check{whose}")


def line(record: "Epoch", training: "Training") -> str:
    """An epoch's record in one line."""
    words = [
        f"epoch {record.epoch}/{training.plan.epochs}",
        f"loss {record.loss:.3f}",
        f"train {record.train_accuracy:.4f}",
    ]
    if record.holdout_accuracy is not None:
        words.append(f"holdout {record.holdout_accuracy:.4f}")
    judged = record.checks[-1].retained_share if record.checks else None
    if record.retained_share is not None and record.retained_share != judged:
        words.append(f"retained {record.retained_share:.2f}")
    if record.accuracy is not None:
        words.append(f"test {record.accuracy:.4f}")
    for check in record.checks[-1:]:
        staged = training.plan.phases[record.phase - 1].staged
        assert staged is not None
        if not staged.purified:
            acm, gamma = check.acm[staged.variant], staged.threshold
            words.append(f"ACM {acm:.2e} (gamma {gamma:.2e}), tau {check.tau}")
        else:
            share = "nothing" if judged is None else f"{judged:.2f}"
            at = "" if judged == record.retained_share else f" at step {check.step}"
            words.append(f"retained {share}{at}, tau {check.tau}")
        if check.verdict is not Verdict.KEEP:
            words.append(check.verdict.value)
    if training.climb is not None:
        falls = [each for each in training.climb.chosen.switches if each.epoch == record.epoch]
        words += [f"fell, back to epoch {fall.back_to} and on to {fall.after}" for fall in falls]
        kept = all(check.verdict is Verdict.KEEP for check in record.checks[-1:])
        if record.rolled_back and kept and not falls:  # at the end of the budget
            words.append("fell, back to the best epoch")
    if record.final and "accuracy" in record.final:
        words.append(f"test after it {record.final['accuracy']:.4f}")
    return "  ".join(words)


def summary(head: dict[str, Any], out: Path) -> dict[str, Any]:
    """What came out of a training, from its checkpoint's header."""
    from stkit.report import result

    return {"output": str(out)} | result.summary(head)


def plan(training: "Training", out: Path, kept: keeping.Kept) -> dict[str, Any]:
    """What `--dry-run` says: the schedule resolved, and what it takes."""
    weights = sum(v.nbytes for v in training.tensors().values())
    more: dict[str, Any] = {"kept": [*map(str, kept.paths.values())]} if kept.paths else {}
    if training.recipe.init is not None:
        taken = {"parameters": training.transplant.parameters}
        more["init"] = as_dict(training.recipe.init) | taken
    if training.climb is not None:
        more["pilots"] = as_dict(training.climb.pilots.size)
    return {
        "output": str(out), "frame": training.recipe.frame.name, "model": training.recipe.model,
        "phases": [described(phase) for phase in training.plan.phases],
        "n": len(training.plan.train_rows), "batch_size": training.plan.batch_size,
        "epochs": training.plan.epochs, "steps": training.plan.steps,
        "layers": len(training.layers), "device": str(training.runtime.device),
        "precision": training.runtime.precision,
        "memory_bytes": training.images.pixels.nbytes + 2 * weights,
        "disk_bytes": weights * (1 + len(kept.paths)),
    } | more  # fmt: skip
