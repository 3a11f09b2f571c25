"""Published accuracies to set beside one's own: `literature.toml`, read into a list of values."""

import tomllib
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from importlib.resources import files
from itertools import product
from math import isnan
from typing import Any


@dataclass(frozen=True)
class Anchor:
    """One published accuracy, in [0,1]. `key` is its source's short name, `table` the number of a
    table of the ST paper, empty for another source's."""

    key: str
    table: str
    source: str
    setting: str
    dataset: str
    poison: str
    rate: float
    frame: str
    model: str
    accuracy: float


@cache
def anchors() -> tuple[Anchor, ...]:
    """Every value there is, in the order of the file."""
    text = files("stkit.report").joinpath("literature.toml").read_text(encoding="utf-8")
    return tuple(value for table in tomllib.loads(text)["table"] for value in _values(table))


def _values(table: dict[str, Any]) -> Iterator[Anchor]:
    """A table has one axis of columns, and rows by poison, or by poison and frame."""
    about = {key: table[key] for key in ("key", "source", "setting", "dataset")}
    about["table"] = table.get("table", "")
    columns = [
        {"model": model, "frame": frame, "rate": rate}
        for model, frame, rate in product(
            table.get("models", [table.get("model")]), table.get("frames", [None]),
            table.get("rates", [1.0]),
        )
    ]  # fmt: skip
    for poison, rows in table["values"].items():
        for frame, row in (rows if isinstance(rows, dict) else {None: rows}).items():
            for column, percent in zip(columns, row, strict=True):
                if not isnan(percent):
                    place = {**column, "frame": frame or column["frame"]}
                    place["rate"] = 0.0 if poison == "clean" else place["rate"]
                    yield Anchor(**about, **place, poison=poison, accuracy=round(percent / 100, 6))


def beside(
    *, dataset: str, poison: str, rate: float, frame: str, model: str, table: str = ""
) -> dict[str, Anchor]:
    """What was published for a place: short name of the source -> the first value it has.

    Clean images are those of any poison at rate 0. table: of the ST paper, which goes before its
    others: natural training on REM has 21.86 in Table 1, and 23.51 in Table 5.
    """
    clean = poison == "clean" or rate == 0
    first: dict[str, Anchor] = {}
    for anchor in anchors():
        same = anchor.rate == 0 if clean else (anchor.poison, anchor.rate) == (poison, rate)
        if same and (anchor.dataset, anchor.frame, anchor.model) == (dataset, frame, model):
            known = first.setdefault(anchor.key, anchor)
            if table and anchor.table == table != known.table:
                first[anchor.key] = anchor
    return first
