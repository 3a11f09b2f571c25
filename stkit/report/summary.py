"""What a file that is no training says in one row: read from headers alone, no torch."""

from typing import Any

from stkit.core import lineage
from stkit.report import names
from stkit.report.result import Row

SHOWN = {
    "eval": ("accuracy", "robust_accuracy", "n"),
    "acm": ("acm", "variant", "per_class"),
    "dataset": ("method", "split", "n"),
    "poison": ("method", "n", "linf", "l2_mean", "l0_max", "seconds", "seed"),
}
"""What is shown of a file, by its kind."""


def row(file: str, head: dict[str, Any]) -> Row:
    """The row of an evaluation, an ACM measurement or a data set; what does not apply is left out.

    head: its header. KeyError and the like where that is incomplete.
    """
    made: Row = {"file": file, "kind": head["kind"]}
    parents = [parent for parent in head["inputs"] if parent["kind"] == "checkpoint"]
    if head["kind"] == "dataset":
        made["data"] = names.label(lineage.of(head))
    elif parents:
        recipe = parents[0]["recipe"]
        made |= {"frame": recipe["frame"], "model": recipe["model"],
                 "data": names.label(lineage.of(parents[0]["inputs"][0]))}  # fmt: skip
    return made | {"seed": head["seed"]} | _shown(head)


def poison(file: str, value: dict[str, Any]) -> Row:
    """The row of a poison that a grid made, from its result."""
    return {"file": file, "kind": "poison", "data": value["name"]} | _shown(value)


def _shown(value: dict[str, Any]) -> Row:
    shown = SHOWN.get(value["kind"], ())
    return {key: value[key] for key in shown if value.get(key) is not None}
