"""A row an epoch of each training, for plots of one's own."""

from collections.abc import Iterable
from math import isfinite

from stkit.report.history import Epoch
from stkit.report.result import Result, Row

FIXED = ("file", "data", "frame", "model", "seed", "epoch", "phase")
"""The columns that every row has; the others stand where some epoch has them."""


def rows(results: Iterable[Result]) -> list[Row]:
    """All rows, with the same keys; None where something was not measured. Accuracies in [0,1].

    Accuracies and ACM are those before a roll-back at the epoch's end; of several checks the last.
    """
    made = [_row(result, epoch) for result in results for epoch in result.history]
    keys = dict.fromkeys(key for row in made for key in row)
    some = [key for key in keys if any(row.get(key) is not None for row in made)]
    return [{key: row.get(key) for key in some} for row in made]


def _row(result: Result, epoch: Epoch) -> Row:
    check = epoch.checks[-1] if epoch.checks else None
    row: Row = {
        "file": result.file, "data": result.label, "frame": result.frame, "model": result.model,
        "seed": result.seed, "epoch": epoch.number, "phase": epoch.phase, "lr": epoch.lr,
        "loss": epoch.loss, "train_accuracy": epoch.train_accuracy, "accuracy": epoch.accuracy,
        "holdout_accuracy": epoch.holdout_accuracy, "retained_share": epoch.retained_share,
    }  # fmt: skip
    washed = epoch.purified_accuracy.items()
    row |= {f"purified_accuracy:{name.replace(',', '+')}": share for name, share in washed}
    if check is not None:
        row |= {"step": check.step, "acm": check.acm if isfinite(check.acm) else None,
                "tau": check.tau, "verdict": check.verdict}  # fmt: skip
    return row
