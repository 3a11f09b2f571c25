"""The records of a training, an epoch each, as far as reports show them."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from math import nan
from typing import Any


@dataclass(frozen=True)
class Check:
    """A look at ACM: its value as it was judged, nan where that was not recorded.

    tau: after it. scores: ACM in every variant that was recorded. retained_share: in the place of
    ACM, where purified images were looked at.
    """

    step: int
    acm: float
    tau: int
    verdict: str
    scores: Mapping[str, float] = field(default_factory=dict)
    retained_share: float | None = None

    @property
    def kept(self) -> bool:
        """Whether the weights passed."""
        return self.verdict == "keep"


@dataclass(frozen=True)
class Epoch:
    """An epoch; accuracy in [0,1]. rolled_back: the check at its end took it back.

    recorded: what `stkit train --record` measured before that, `{"acm": {LAYER: {VARIANT: x}},
    "gradients": {LAYER: x}}`; empty where nothing was asked for.
    """

    number: int
    accuracy: float | None
    rolled_back: bool
    checks: tuple[Check, ...]
    phase: int = 1
    train_accuracy: float | None = None
    holdout_accuracy: float | None = None
    purified_accuracy: Mapping[str, float] = field(default_factory=dict)  # by purifier
    retained_share: float | None = None
    lr: float | None = None
    loss: float | None = None
    recorded: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)


@dataclass(frozen=True)
class Stage:
    """A roll-back: the stage that began with it, and when."""

    epoch: int
    step: int
    tau: int


def read(records: Iterable[Mapping[str, Any]], recipe: Mapping[str, Any]) -> tuple[Epoch, ...]:
    """The epochs in a checkpoint's records, or those of a result; recipe: the training's."""

    staged = [phase.get("staged") or {} for phase in recipe["phases"]]
    variants = {number: s.get("variant") or "literal" for number, s in enumerate(staged, 1)}

    def check(record: Mapping[str, Any], said: Mapping[str, Any]) -> Check:
        scores = said.get("acm") or {}
        acm = scores.get(variants.get(record["phase"], "literal"), nan)
        return Check(
            said["step"], acm, said.get("tau") or 0, said["verdict"], scores,
            said.get("retained_share"),
        )  # fmt: skip

    return tuple(
        Epoch(
            record["epoch"], record.get("accuracy"), bool(record.get("rolled_back")),
            tuple(check(record, said) for said in record.get("checks") or ()),
            phase=record["phase"], train_accuracy=record.get("train_accuracy"),
            holdout_accuracy=record.get("holdout_accuracy"),
            purified_accuracy=record.get("purified_accuracy") or {},
            retained_share=record.get("retained_share"), lr=record.get("lr"),
            loss=record.get("loss"), recorded=record.get("recorded") or {},
        )
        for record in records
    )  # fmt: skip


def stages(epochs: Iterable[Epoch]) -> tuple[Stage, ...] | None:
    """The roll-backs there were; None where nothing was judged."""
    checked = [(epoch, check) for epoch in epochs for check in epoch.checks]
    if not checked:
        return None
    return tuple(
        Stage(epoch.number, check.step, check.tau) for epoch, check in checked if not check.kept
    )
