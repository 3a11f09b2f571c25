"""The sides of a comparison, which measure in turn.

A side is a generator: it says how it started, then answers each question. It runs in a process of
its own (`measuring.Child`), so that sides do not disturb each other's memory, or in this one
(`Here`): on a GPU, where starting a process costs ten seconds and tensors can be told apart.

Nothing here imports torch, see `measuring`.
"""

import argparse
import json
import sys
from collections.abc import Callable, Collection, Generator, Mapping
from typing import Any

import measuring

Answers = Generator[Any, Any, None]
"""A side: says how it started, then answers each question."""


class Here:
    """A side in this process, with the methods of `measuring.Child`."""

    def __init__(self, answers: Answers) -> None:
        self.answers = answers

    def ask(self, question: Any = None) -> Any:
        """Its answer; what it raises is raised here."""
        return next(self.answers) if question is None else self.answers.send(question)

    def close(self) -> None:
        """End it and free what it had."""
        self.answers.close()
        measuring.free()


def serve(answers: Answers) -> None:
    """Be a child's end: a line of JSON for each line of JSON."""
    measuring.answer(next(answers))
    for line in sys.stdin:
        measuring.answer(answers.send(json.loads(line)))
    answers.close()


class Sides:
    """The sides of the case at hand, in processes of their own or all in this one (`together`).

    Those that the next case has too, by what decides them, stay as they are.
    """

    def __init__(
        self, file: str, answers: Callable[[dict[str, Any]], Answers], *, together: bool
    ) -> None:
        self.file, self.answers, self.together = file, answers, together
        self.open: dict[str, tuple[measuring.Child | Here, Any]] = {}

    def take(
        self, cases: Mapping[str, Mapping[str, Any]]
    ) -> dict[str, tuple[measuring.Child | Here, Any]]:
        """Each one's side, and what it said of its start. The others are closed."""
        keys = {name: json.dumps(case, sort_keys=True) for name, case in cases.items()}
        self.close(but=keys.values())
        for name, key in keys.items():
            if key not in self.open:
                case = dict(cases[name])
                side = (
                    Here(self.answers(case)) if self.together else measuring.Child(self.file, case)
                )
                try:
                    self.open[key] = side, side.ask()
                except BaseException:
                    side.close()
                    raise
        return {name: self.open[key] for name, key in keys.items()}

    def close(self, *, but: Collection[str] = ()) -> None:
        """End all sides but these."""
        for key in [key for key in self.open if key not in but]:
            self.open.pop(key)[0].close()


def add_option(parser: argparse.ArgumentParser) -> None:
    """--together and --no-together, see `together`."""
    parser.add_argument(
        "--together", action=argparse.BooleanOptionalAction,
        help="all in this process, where a CPU's memory cannot be told apart; default: on a GPU",
    )  # fmt: skip


def together(options: argparse.Namespace) -> bool:
    return measuring.on_gpu(options.device) if options.together is None else bool(options.together)
