"""What the header of each kind of file holds, as far as any reader relies on it.

Files come from strangers and from broken disks. So a header is checked once, where it is read, and
whoever has one takes what stands here as given; what is not named here may be anything, or absent.
"""

from collections.abc import Iterator
from typing import Any

from stkit.core import schema

COUNT, SHARE, NUMBER, SOME, TEXT = (
    schema.COUNT, schema.SHARE, schema.NUMBER, schema.SOME, schema.TEXT,
)  # fmt: skip
WHOLE = (float, -1e30, 1e30)  # no nan, no infinity


KEPT = {"epoch": COUNT, "epochs": COUNT}
"""Of a checkpoint from the way: which epoch it is of how many."""

RENAMED = {"grey": "random-gray"}
"""Augmentations by the names that older files have for them -> today's."""


def today(value: Any) -> Any:
    """A header's value with the names of today, so that older work can be gone on with."""
    if isinstance(value, dict):
        return {
            key: [RENAMED.get(str(name), name) for name in inner]
            if key == "augment" and isinstance(inner, list)
            else today(inner)
            for key, inner in value.items()
        }
    return [today(inner) for inner in value] if isinstance(value, list) else value


def _parent() -> dict[str, Any]:
    """A file that another was made of, with its own parents."""
    return {
        "kind": str, "recipe": dict, "seed?": COUNT, "digest": str, "inputs": [_parent],
        "kept?": KEPT,
    }  # fmt: skip


COMMON = {**_parent(), "seed": COUNT, "versions": {str: str}}
"""The common part; the format and the kind have been looked at before."""
READ = {
    "method?": str, "scope?": str, "fast?": bool, "poison_rate?": SHARE, "source?": str,
    "limit?": COUNT, "holdout?": COUNT, "part?": str, "imported?": str,
}  # fmt: skip
"""The recipe of images: how they were read, and poisoned."""
PHASE = {"adversary?": {"epsilon": SHARE}, "staged?": {"variant?": str}}
TRAINED = {
    "frame": str, "phases": [PHASE, SOME], "init?": {"layers?": str, "freeze": bool},
}  # fmt: skip
"""The recipe of a training, as a report relies on it."""
RECIPES: dict[str, dict[str, Any]] = {
    "dataset": READ, "checkpoint": {**TRAINED, "model": str}, "state": READ, "class-noise": READ,
}  # fmt: skip
RETAINED = (float, 0, 1e30)
"""The share of an accuracy that is left on washed images; it may be above 1."""
WASHED = {
    "holdout_accuracy?": SHARE,
    "purified_accuracy?": {str: SHARE},
    "retained_share?": RETAINED,
}
"""Accuracies on what was held out, and on it washed, by purifier."""
CHECK = {
    "step": COUNT, "acm?": {str: NUMBER}, "tau": COUNT, "verdict": str, "lr_scales": [NUMBER],
    **WASHED,
}  # fmt: skip
"""A look at ACM, or at washed images."""
HELD = {"accuracy?": SHARE, **WASHED}
RECORDED = {"acm?": {str: {str: NUMBER}}, "gradients?": {str: NUMBER}}
"""What `--record` measured, by layer."""
EPOCH = {
    "epoch": COUNT, "phase": COUNT, "lr": NUMBER, "loss": NUMBER, "train_accuracy": NUMBER,
    "checks?": [CHECK], "rolled_back?": bool, "final?": HELD, **HELD,
    "recorded?": RECORDED,
}  # fmt: skip
"""What a checkpoint records of an epoch."""
CHOSEN = {
    "rung?": str, "skipped?": {str: str}, "probe?": {str: NUMBER}, "mirrored?": NUMBER,
    "note?": str,
    "pilots": [
        {"rung": str, "holdout_accuracy": SHARE, "purified_accuracy": {str: SHARE},
         "retained_share": NUMBER, "least_share": NUMBER, "passed": bool}
    ],
    "switches": [{"epoch": COUNT, "from": str, "to": str, "back_to": COUNT}],
}  # fmt: skip
"""What was decided on the way up a ladder of preparations."""
KINDS: dict[str, dict[str, Any]] = {
    "dataset": {"classes": [TEXT], "split": str, "method?": str, "statistics?": {}},
    "class-noise": {
        "classes": [TEXT], "split": str, "method": str, "statistics": {}, "images": str,
    },
    "checkpoint": {
        "frame": str, "model": str, "classes": [TEXT, SOME], "size": (int, 1, 1 << 16),
        "mean": [WHOLE, 3], "std": [WHOLE, 3], "records": [EPOCH], "chosen?": CHOSEN,
        "recipe": {
            "holdout": COUNT, "phases": [{"prepare": [str], "epochs": COUNT}, SOME],
        },
        "left_out?": {str: str},
        "progress": {
            "done": bool, "step": COUNT, "steps": COUNT, "tau?": COUNT, "loss?": NUMBER,
            "hits?": NUMBER, "since?": COUNT, "checks?": [CHECK],
        },
    },
    "acm": {"acm": NUMBER, "variant": str, "per_class?": COUNT},
    "eval": {"accuracy": NUMBER, "per_class": [NUMBER], "n": COUNT, "robust_accuracy?": NUMBER},
    "state": {
        "progress": {"stage?": str, "at": COUNT, "wrong?": NUMBER}, "records": [dict],
    },
}  # fmt: skip
"""What a kind of file has besides."""
UNFINISHED = {
    "tau": COUNT, "loss": NUMBER, "hits": NUMBER, "since": COUNT, "checks": [CHECK],
}  # fmt: skip
"""What the progress of an unfinished checkpoint has besides."""


def check(head: dict[str, Any]) -> None:
    """ArtifactError that names the first place where a header of a known kind is damaged."""
    schema.check(head, COMMON)
    schema.check(head, KINDS[head["kind"]])
    for each in _family(head):
        schema.check(each["recipe"], RECIPES.get(each["kind"], {}), "recipe")
        if each["kind"] == "checkpoint":
            schema.check(each["inputs"], [dict, SOME], "inputs")
    if head["kind"] == "checkpoint" and not head["progress"]["done"]:
        schema.check(head["progress"], UNFINISHED, "progress")


def _family(head: dict[str, Any]) -> Iterator[dict[str, Any]]:
    """A header, those of its parents, and of theirs."""
    yield head
    for parent in head["inputs"]:
        yield from _family(parent)
