"""What the harnesses share: their options, their figures, and how a failure is told."""

import argparse
import json
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any


@dataclass
class Campaign:
    """Cases, counted and bounded. Each follows from the seed and its number.

    kinds: what may go wrong; each is 0 in a campaign that holds.
    """

    name: str
    kinds: tuple[str, ...]
    options: argparse.Namespace
    counts: Counter[str] = field(default_factory=Counter)
    failures: list[dict[str, Any]] = field(default_factory=list)
    begun: float = field(default_factory=time.monotonic)

    def numbers(self) -> Iterator[int]:
        """The numbers of the cases, until time or count is up."""
        if self.options.case is not None:
            yield self.options.case
            return
        end = self.begun + 60 * self.options.minutes
        for number in range(self.options.first, self.options.first + self.options.count):
            if time.monotonic() > end:
                return
            yield number

    def fail(self, kind: str, number: int, **about: Any) -> None:
        """A promise that a case broke."""
        assert kind in self.kinds, kind
        self.counts[kind] += 1
        self.failures.append({"kind": kind, "case": number, **about})
        seed = self.options.seed
        print(f"{kind}: --seed {seed} --case {number}: {about}"[:1500], file=sys.stderr, flush=True)

    def end(self, **more: Any) -> int:
        """Print the figures as one JSON object; the exit code, 1 where a promise broke."""
        broken = {kind: self.counts[kind] for kind in self.kinds}
        others = {key: n for key, n in sorted(self.counts.items()) if key not in self.kinds}
        figures = {
            "harness": self.name, "seed": self.options.seed, **others, **broken, **more,
            "seconds": round(time.monotonic() - self.begun),
            "failures": self.failures[:50],
        }  # fmt: skip
        print(json.dumps(figures, indent=1))
        return int(any(broken.values()))


def options(
    about: str | None, *, minutes: float, count: int, more: tuple[str, ...] = ()
) -> argparse.Namespace:
    """The command line of a harness. more: further options that take a text."""
    parser = argparse.ArgumentParser(
        description=about, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--minutes", type=float, default=minutes, help="stop then")
    parser.add_argument("--count", type=int, default=count, help="cases at most")
    parser.add_argument("--seed", type=int, default=0, help="of everything that is drawn")
    parser.add_argument("--case", type=int, help="only this one")
    parser.add_argument("--first", type=int, default=0, help="the case to begin with")
    for name in more:
        parser.add_argument(f"--{name}")
    return parser.parse_args()


def scratch() -> tempfile.TemporaryDirectory[str]:
    """A folder that goes with the harness, in memory where that can be."""
    memory = Path("/dev/shm")
    return tempfile.TemporaryDirectory(
        prefix="stress-", dir=memory if memory.is_dir() else None, ignore_cleanup_errors=True
    )
