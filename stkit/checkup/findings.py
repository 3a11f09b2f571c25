"""What a check comes to, and when two outcomes are the same."""

from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass
from typing import Any

import torch
from torch import Tensor

OK, WRONG, SKIPPED = "ok", "wrong", "skipped"
TINY = 0.01
"""Of the largest tensor's norm: the least that a difference is divided by, since of what is nearly
zero beside the others nothing but rounding is left."""


@dataclass(frozen=True)
class Finding:
    """What a check came to: `ok`, `wrong` or `skipped`, and in a line what differed, or why.

    difference, tolerance: of what came nearest to being wrong, or of the first that was.
    """

    name: str
    status: str
    about: str
    difference: float | None = None
    tolerance: float | None = None

    @property
    def nearness(self) -> float:
        """How near to being wrong: the difference over its tolerance."""
        return self.difference / self.tolerance if self.difference and self.tolerance else 0.0

    def to_json(self) -> dict[str, Any]:
        """As --json has it."""
        return asdict(self)


@dataclass(frozen=True)
class Quantity:
    """Something that a run leaves behind: tensors by name, on the CPU, in float64.

    apart: numbers that differ by more are other numbers, and their share is what is compared; None:
    the tensors are compared by their norms.
    """

    name: str
    values: Mapping[str, Tensor]
    apart: float | None = None


Outcome = tuple[Quantity, ...]
"""In the order in which one comes of the other: the first that is wrong is nearest to the cause."""


@dataclass(frozen=True)
class Tolerance:
    """How far outcomes may be apart: a norm relative to that of the reference, a share of numbers.

    others: for quantities of these names instead.
    """

    relative: float
    share: float
    others: Mapping[str, float]

    def of(self, quantity: Quantity) -> float:
        """What holds for this quantity."""
        usual = self.relative if quantity.apart is None else self.share
        return self.others.get(quantity.name, usual)


def quantity(name: str, values: Mapping[str, Tensor], apart: float | None = None) -> Quantity:
    """A copy of these values, on the CPU."""
    kept = {
        key: value.detach().to("cpu", torch.float64, copy=True) for key, value in values.items()
    }
    return Quantity(name, kept, apart)


def compare(name: str, checked: Outcome, reference: Outcome, tolerance: Tolerance) -> Finding:
    """Whether an outcome is that of the reference; what only one of them has is left out."""
    nearest: Finding | None = None
    for one, other in zip(checked, reference, strict=True):
        if not (one.values and other.values):
            continue
        gap, where = difference(one, other)
        limit = tolerance.of(one)
        about = f"{_differing(one, where)} {gap:.1e}, expected at most {limit:.0e}"
        if not gap <= limit:  # NaN too
            return Finding(name, WRONG, about, gap, limit)
        here = Finding(name, OK, about, gap, limit)
        if nearest is None or here.nearness > nearest.nearness:
            nearest = here
    assert nearest is not None, "nothing was compared"
    return nearest


def _differing(quantity: Quantity, where: str) -> str:
    if quantity.apart is not None:
        return f"share of {quantity.name} that differ"
    return f"{quantity.name}{f' of {where}' if where else ''} apart by"


def difference(checked: Quantity, reference: Quantity) -> tuple[float, str]:
    """How far a quantity is from the reference's, and in which tensor; infinite where one of them
    holds a NaN, and of other names or shapes."""
    ours, theirs = checked.values, reference.values
    if ours.keys() != theirs.keys() or any(ours[k].shape != theirs[k].shape for k in ours):
        return float("inf"), "another set of tensors"
    gaps = {name: ours[name] - theirs[name] for name in ours}
    if reference.apart is not None:
        every = torch.cat([gap.flatten() for gap in gaps.values()])
        return float((~(every.abs() <= reference.apart)).double().mean()), ""
    floor = TINY * max(float(value.norm()) for value in theirs.values())
    relative = {
        name: float(gap.norm()) / max(float(theirs[name].norm()), floor, 1e-300)
        for name, gap in gaps.items()
    }
    where = max(relative, key=lambda name: relative[name] if relative[name] >= 0 else float("inf"))
    worst = relative[where]
    return (worst if worst >= 0 else float("inf")), where


def tried(name: str, check: Callable[[], Finding]) -> Finding:
    """What a check comes to; what it raises is something wrong, too, and ends nothing."""
    try:
        return check()
    except Exception as error:  # whatever the device, its driver or its libraries may raise
        return Finding(name, WRONG, said(error))


def said(error: BaseException) -> str:
    """An error in one line."""
    lines = str(error).split("\n")
    return f"{type(error).__name__}: {' '.join(lines[0].split())[:300]}"
