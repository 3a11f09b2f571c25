"""`stkit train --keep`: the weights of chosen epochs, each in a file of its own beside FILE."""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import typer

from stkit.cli import claims, output
from stkit.core import header
from stkit.core.errors import ArtifactError, RecipeError
from stkit.core.files import DIGITS
from stkit.report import commands

if TYPE_CHECKING:
    from stkit.engine.runtime import Runtime
    from stkit.training.loop import Training
    from stkit.training.schedule import Epoch


def spans(text: str) -> tuple[range, ...]:
    """The epochs that `--keep` names: 1,3,10-20, each span with both its ends."""
    return tuple(_span(each.strip()) for each in str(text).split(","))


def _span(text: str) -> range:
    first, dash, last = text.partition("-")
    ends = (first, last if dash else first)
    whole = all(end.isascii() and end.isdigit() and len(end) <= DIGITS for end in ends)
    if not whole or not 1 <= int(ends[0]) <= int(ends[1]):
        raise typer.BadParameter(f"found {text!r}, expected whole numbers from 1, as in 1,3,10-20")
    return range(int(ends[0]), int(ends[1]) + 1)


def files(out: Path, chosen: Sequence[range], budget: int) -> dict[int, Path]:
    """Epoch -> its file, in their order. RecipeError for an epoch beyond the budget."""
    last = max((span[-1] for span in chosen), default=0)
    if last > budget:
        raise RecipeError(
            f"--keep is {last}, expected epochs from 1 to {budget}, all that there are"
        )
    return {
        epoch: commands.kept(out, epoch) for epoch in sorted({e for span in chosen for e in span})
    }


@contextmanager
def held(
    paths: Mapping[int, Path], *, force: bool, resume: bool, runtime: "Runtime"
) -> Iterator[None]:
    """Hold the files as `claims.held` holds FILE: none of them is there, unless it may be."""
    with ExitStack() as stack:
        for path in paths.values():
            stack.enter_context(claims.held(path, force=force or resume, runtime=runtime))
        yield


@dataclass
class Kept:
    """The kept epochs of one training. paths: epoch -> its file. force: may replace others'."""

    paths: Mapping[int, Path]
    force: bool
    own: set[int] = field(default_factory=set)  # epochs whose file an earlier start has written

    def resumed(self, expected: dict[str, Any], past: int, runtime: "Runtime") -> None:
        """Look at what an earlier start has left, where so many epochs are past.

        A past epoch without its file is said. ArtifactError for a file that is not this training's:
        at an epoch to come, unless it may be replaced.
        """
        with runtime.together():
            if runtime.first:
                for epoch, path in self.paths.items():
                    if path.exists() and not (self.force and epoch > past):
                        _same(path, epoch, expected, past)
                        self.own.add(epoch)
        lost = [str(epoch) for epoch in self.paths if epoch <= past and epoch not in self.own]
        if lost:
            output.note(
                f"note: --keep: past already, and no file is there, of epoch {', '.join(lost)}; "
                "only a new training can keep that"
            )

    def take(self, training: "Training", record: "Epoch") -> None:
        """Write the file of the epoch that has just ended, if it is to be kept."""
        from stkit.training import kept

        if record.epoch in self.paths:
            replace = self.force or record.epoch in self.own
            kept.save(training, self.paths[record.epoch], replace=replace)

    def came_out(self, reached: int) -> dict[str, Any]:
        """The files that are there, for --json; a note on those of epochs that never came."""
        if not self.paths:
            return {}
        never = [epoch for epoch in self.paths if epoch > reached]
        if never:
            stale = [f"; {self.paths[e]} is an earlier run's" for e in never
                     if self.paths[e].exists()]  # fmt: skip
            output.note(
                f"note: --keep: the training stopped in epoch {reached}, before epoch "
                f"{', '.join(map(str, never))}{''.join(stale)}"
            )
        there = [str(path) for epoch, path in self.paths.items()
                 if epoch <= reached and path.exists()]  # fmt: skip
        return {"kept": there}


def _same(path: Path, epoch: int, expected: dict[str, Any], past: int) -> None:
    """ArtifactError unless the file is this training's, of this epoch, and whole."""
    from stkit.core import artifact

    head, _ = artifact.read(path, "checkpoint", verify=True)
    other = header.differences(head, expected)
    of = head.get("kept", {}).get("epoch")
    if of != epoch:
        other.append("it is the end of a training" if of is None else f"it is epoch {of}")
    if other:
        remedy = "move it away" if epoch <= past else "pass --force to replace it"
        raise ArtifactError(
            f"{path}: exists already and is not epoch {epoch} of this training: "
            f"{'; '.join(other)}; {remedy}"
        )
