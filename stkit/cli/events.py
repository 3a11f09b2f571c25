"""TensorBoard's event files of a training (`stkit train --log-dir`), a step of which is an epoch.

They are written by torch.utils.tensorboard, which needs the package `tensorboard`; nothing of them
is read, and no file of stkit's knows of them. After `--resume` the epochs that come again take the
place of those that an interrupted run had logged but not saved.
"""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

from stkit.core.errors import RecipeError

if TYPE_CHECKING:
    from stkit.training.schedule import Epoch

EVENTS = "events.out.tfevents.*"


class Writer(Protocol):
    """What of torch's SummaryWriter is used."""

    def add_scalar(self, tag: str, value: float, step: int) -> object:
        """Log a number."""

    def flush(self) -> object:
        """Bring what was logged to the disk."""

    def close(self) -> object:
        """Be done."""


def check(folder: Path | None, *, resume: bool, force: bool) -> None:
    """RecipeError where events cannot be written to the folder; before any work."""
    if folder is None:
        return
    if find_spec("tensorboard") is None:
        raise RecipeError(
            "--log-dir needs the package tensorboard, which is not installed; pip install "
            "tensorboard, or leave out --log-dir"
        )
    if folder.exists() and not folder.is_dir():
        raise RecipeError(f"--log-dir is {folder}, which is no folder; pass a new one")
    if folder.is_dir() and not (resume or force) and any(folder.glob(EVENTS)):
        raise RecipeError(
            f"--log-dir {folder} has the events of another run; pass a new folder, or --force to "
            "show these in their place"
        )


@contextmanager
def logged(
    folder: Path | None, *, past: int, open: Callable[[Path, int], Writer] | None = None
) -> Iterator[Callable[["Epoch"], object]]:
    """A function that logs the record of an epoch; it does nothing where no folder is given.

    past: the epochs that are logged already. open: makes the writer, of the folder and the first
    epoch that is to come; what was logged of that and later ones is no longer shown.
    """
    if folder is None:
        yield lambda record: None
        return
    writer = (open or _opened)(folder, past + 1)
    try:
        yield lambda record: _log(writer, record)
    finally:
        writer.close()


def _opened(folder: Path, first: int) -> Writer:
    from torch.utils.tensorboard import SummaryWriter

    writer: Writer = SummaryWriter(str(folder), purge_step=first)
    return writer


def _log(writer: Writer, record: "Epoch") -> None:
    for tag, value in scalars(record).items():
        writer.add_scalar(tag, value, record.epoch)
    writer.flush()


def scalars(record: "Epoch") -> dict[str, float]:
    """The numbers of an epoch by their tags; what was not measured is left out.

    Of several checks the last; a roll-back is a 1 in its epoch.
    """
    values: dict[str, float | None] = {
        "train/loss": record.loss, "train/accuracy": record.train_accuracy,
        "train/learning rate": record.lr, "test/accuracy": record.accuracy,
        "holdout/accuracy": record.holdout_accuracy,
        "holdout/retained share": record.retained_share,
    }  # fmt: skip
    for name, value in (record.purified_accuracy or {}).items():
        values[f"holdout/accuracy, {name}"] = value
    for check in record.checks[-1:]:
        values |= {f"ACM/{variant}": value for variant, value in check.acm.items()}
        values |= {"stage/tau": check.tau, "stage/rolled back": int(record.rolled_back)}
    return {tag: value for tag, value in values.items() if value is not None}
