"""Rounds of a surrogate and its noise in turn: which was the best, and when they end."""

from dataclasses import asdict, dataclass
from typing import Any


@dataclass(frozen=True)
class Round:
    """A finished round: its number, from 1, and the error of the surrogate on its noise, 0 to 1."""

    round: int
    error: float

    def to_json(self) -> dict[str, Any]:
        """As it stands in headers."""
        return asdict(self)


class Rounds:
    """The rounds so far, which of them is the best, and whether another one follows."""

    def __init__(self, stop_error: float, max_rounds: int) -> None:
        self.stop_error, self.max_rounds = stop_error, max_rounds
        self.all: list[Round] = []

    def add(self, error: float) -> bool:
        """Log a round; whether it is the best so far."""
        best = not self.all or error < self.best.error
        self.all.append(Round(len(self.all) + 1, error))
        return best

    @property
    def best(self) -> Round:
        """The first of those with the smallest error."""
        return min(self.all, key=lambda each: each.error)

    @property
    def converged(self) -> bool:
        """Whether a round has reached the error."""
        return bool(self.all) and self.best.error <= self.stop_error

    @property
    def done(self) -> bool:
        """Whether the last round has reached the error, or was the last allowed."""
        return self.converged or len(self.all) >= self.max_rounds

    def about(self) -> dict[str, Any]:
        """What the header of the images says of them."""
        best = self.best.to_json()
        return {"rounds": len(self.all), "best": best, "converged": self.converged}
