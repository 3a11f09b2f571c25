"""What a finished file says in one row: read from headers alone, no torch."""

from pathlib import Path
from typing import Any

from stkit.core import header
from stkit.core.errors import ArtifactError


def rows(paths: list[Path]) -> list[dict]:
    """One row a file: checkpoints, evaluations, ACM measurements, data sets."""
    return [{"file": str(path), **_row(path)} for path in paths]


def _row(path: Path) -> dict[str, Any]:
    try:
        return summary(header.read(path))
    except (KeyError, IndexError, TypeError):
        raise ArtifactError(f"{path}: its header is incomplete; make the file again") from None


def summary(head: dict) -> dict[str, Any]:
    """The row of one header; keys that do not apply are left out."""
    if head["kind"] == "checkpoint":
        return _checkpoint(head)
    parents = [p for p in head["inputs"] if p["kind"] == "checkpoint"]
    trained = {}
    if parents:
        recipe = parents[0]["recipe"]
        trained = {"frame": recipe["frame"], "model": recipe["model"]}
        trained["data"] = data_name(parents[0]["inputs"][0])
    shown = {
        "eval": ("accuracy", "robust_accuracy", "n"),
        "acm": ("acm", "variant", "per_class"),
        "dataset": ("method", "split", "n"),
    }.get(head["kind"], ())
    if head["kind"] == "dataset":
        trained = {"data": data_name(head)}
    found = {key: head[key] for key in shown if head.get(key) is not None}
    return {"kind": head["kind"], **trained, "seed": head["seed"], **found}


def data_name(head: dict) -> str:
    """What a data set is called in a table: its poison and rate, or the clean source's name."""
    recipe = head["recipe"]
    if "method" in recipe:
        rate = recipe.get("poison_rate", 1.0)
        name = recipe["method"] + ("-fast" if recipe.get("fast") else "")
        return name + ("" if rate == 1 else f" {rate:g}")
    if recipe.get("source") == "file" and head["inputs"]:
        return data_name(head["inputs"][0])
    return f"clean ({recipe.get('source', 'unknown')})"


def _checkpoint(head: dict) -> dict[str, Any]:
    """Last accuracies are those of the weights in the file; the best epoch's decides nothing."""
    records, recipe = head["records"], head["recipe"]
    last: dict[str, Any] = records[-1] if records else {}
    row: dict[str, Any] = {
        "kind": "checkpoint", "data": data_name(head["inputs"][0]), "frame": head["frame"],
        "model": head["model"], "epochs": sum(p["epochs"] for p in recipe["phases"]),
        "seed": head["seed"], "train_accuracy": last.get("train_accuracy"),
    }  # fmt: skip
    final = last.get("final", last)
    if "accuracy" in final:
        best = max(records, key=lambda record: record["accuracy"])
        row |= {"accuracy": final["accuracy"], "best_accuracy": best["accuracy"]}
        if best.get("rolled_back"):
            row["best_rolled_back"] = True
    if "holdout_accuracy" in final:
        row["holdout_accuracy"] = final["holdout_accuracy"]
    checks = [(record, check) for record in records for check in record.get("checks", [])]
    if checks:
        record, check = checks[-1]
        staged = recipe["phases"][record["phase"] - 1]["staged"]
        row["acm"] = check["acm"][staged["variant"]]
        if check["verdict"] == "stop":
            row["epochs"] = record["epoch"]
        row["stages"] = [
            {"epoch": record["epoch"], "step": check["step"], "tau": check["tau"]}
            for record, check in checks
            if check["verdict"] != "keep"
        ]
    if not head["progress"]["done"]:
        row["unfinished"] = f"{head['progress']['step']}/{head['progress']['steps']}"
    return row
