"""A training's weights of an epoch on the way, as a checkpoint file like any other."""

from pathlib import Path

from stkit.core import artifact
from stkit.training.loop import Training


def save(training: Training, path: Path, *, replace: bool) -> None:
    """Write the state at the end of the epoch that has just been recorded; of several ranks all
    call this, and the first writes.

    The weights are those that the epoch left, after a roll-back at its end. `kept` in the header
    says of which epoch, of how many. Taken where a file is, unless it may be replaced.
    """
    head = training.head()
    steps, of = training.progress
    head["progress"] = {"done": True, "step": steps, "steps": of}
    head["kept"] = {"epoch": training.epochs[-1].epoch, "epochs": training.plan.epochs}
    with training.runtime.together():
        if training.runtime.first:
            artifact.write(path, dict(training.model.state_dict()), head, replace=replace)
