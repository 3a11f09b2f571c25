"""Results of cells that nobody trained: any accuracy in any place of a table, without torch."""

from pathlib import Path
from typing import Any

from stkit.core.checks import as_dict
from stkit.recipes.frames import FRAMES
from stkit.report import files


def images(poison: str, rate: float = 1.0, source: str = "cifar10") -> dict:
    """The header's common part of a data set; poison: clean, sp, ops, em-class, rem-fast, ..."""
    root: dict[str, Any] = {
        "kind": "dataset", "recipe": {"source": source, "size": None, "limit": None}, "seed": 0,
        "digest": f"clean of {source}", "inputs": [],
    }  # fmt: skip
    if poison == "clean":
        return root
    method, _, kind = poison.partition("-")
    recipe: dict[str, Any] = {"method": method, "poison_rate": rate}
    if method == "em":
        recipe["scope"] = kind
    if method == "rem":
        recipe["fast"] = kind == "fast"
    return {**root, "recipe": recipe, "digest": f"{poison} {rate} of {source}", "inputs": [root]}


def cell(
    accuracy: float | None, *, poison: str = "clean", rate: float = 1.0, frame: str = "nt",
    model: str = "resnet18", seed: int = 0, epochs: int = 2, source: str = "cifar10",
    dataset: str | None = None, label: str | None = None, versions: dict | None = None,
    chosen: dict | None = None, **staged: Any,
) -> dict:  # fmt: skip
    """The result of a cell; label: the frame's name in the grid; chosen: by a ladder; staged: of
    its schedule.
    """
    of, bare, _ = frame.partition("+none")
    phases = [as_dict(phase) | {"epochs": epochs} for phase in FRAMES[of].phases]
    if bare:
        phases = [phase | {"augment": []} for phase in phases]
    if staged:
        phases[0]["staged"] |= staged
    records: list[dict] = []
    for epoch in range(1, epochs + 1):
        record: dict[str, Any] = {"epoch": epoch, "phase": 1, "train_accuracy": 0.9, "loss": 0.1}
        if accuracy is not None:
            record["accuracy"] = accuracy if epoch == epochs else 0.5
        if phases[0]["staged"]:
            record["checks"] = [
                {"step": 10 * epoch, "acm": {"literal": 1e-3, "sum": 1e-5, "ratio": 0.2},
                 "tau": 1, "verdict": "roll back" if epoch == 1 else "keep", "lr_scales": [1.0]}
            ]  # fmt: skip
        records.append(record)
    head = {
        "kind": "checkpoint", "frame": frame, "model": model, "seed": seed, "classes": ["a", "b"],
        "digest": f"d of {accuracy} {seed}",
        "recipe": {"frame": frame, "model": model, "phases": phases, "batch_size": 128},
        "inputs": [images(poison, rate, source), images("clean", source=source)],
        "records": records, "progress": {"done": True},
        "versions": versions or {"stkit": "0.1.0", "torch": "2.9"},
    }  # fmt: skip
    if chosen is not None:
        head["chosen"] = chosen
    name = f"{poison}-r{rate:g}_{label or frame}_{model}_s{seed}_{source}_{epochs}"
    settings = {
        "data": {"name": dataset or source, "limit": None, "size": None},
        "poison": {"name": poison, "rate": rate, "seed": 0},
        "frame": {"name": label or frame, "frame": frame}, "model": model, "seed": seed,
        "train": {},
    }  # fmt: skip
    return files.run(name, settings, head, {"seconds": 60.0}, attempts=1)


def by_share(made: dict, gamma: float = 0.55) -> dict:
    """A staged result as if purified images had been judged by, whose first check rolled back."""
    staged = {"indicator": "purified", "gamma": gamma}
    phase = made["recipe"]["phases"][0]
    phase["staged"] = {k: v for k, v in phase["staged"].items() if k != "variant"} | staged
    for record in made["history"]:
        for check in record.get("checks", ()):
            del check["acm"]
            share = 0.3 if check["verdict"] == "roll back" else 0.9
            check |= {"holdout_accuracy": 0.8, "purified_accuracy": {"jpeg-10": 0.8 * share}}
            check["retained_share"] = share
    return {k: v for k, v in made.items() if k != "acm"}


def write(folder: Path, *cells: dict) -> Path:
    """Write results into a folder and return it."""
    for found in cells:
        files.write(folder / f"{found['name'].replace('/', '')}.json", found)
    return folder
