"""The rows of `stkit report`: one a file, for people as for machines, which take a list of them."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from stkit.cli import fitted, output
from stkit.cli.usage import OUTPUT
from stkit.core import text as harmless

if TYPE_CHECKING:
    from stkit.report.gather import Gathered
    from stkit.report.groups import Group
    from stkit.report.result import Row, Value

Json = Annotated[
    bool, typer.Option("--json", help="Print one JSON list on stdout.", rich_help_panel=OUTPUT)
]
SETTINGS = ("kind", "model", "epochs", "seed", "split")
TOLD = (*SETTINGS, "data", "frame", "rung", "kept", "method", "variant", "per_class", "n")
"""What goes into the line above where all rows share it: in a pipe, and on a terminal."""
WORTHLESS = (
    "seconds", "best_rolled_back", "kind", "train_accuracy", "best_accuracy", "variant",
    "per_class", "n", "epochs", "stages", "retained_share", "acm", "seed", "split", "model",
)  # fmt: skip
"""Columns that fall away where a terminal is narrow, the first first."""
HELD = (
    "holdout: images of the published set that were kept out; retained share: of the accuracy on "
    "them, what is left on the same images washed"
)
"""Below a table on a terminal."""


def rows(gathered: "Gathered", format: str, anchored: "list[Group]", wide: int | None) -> str:
    """One row a file, settings that all share on a line of their own.

    anchored: the trainings that are to have published numbers beside them.
    """
    from stkit.report.files import RUN
    from stkit.report.result import COLUMNS

    machines = format in ("csv", "json")
    beside: dict[str, Row] = {
        group.first.file: group.with_settings if machines else group.numbers for group in anchored
    }
    rows = [row | beside.get(str(row["file"]), {}) for row in gathered.rows]
    if format == "json":
        return output.rows(rows, format)
    keys = _keys(rows)
    rows = [{key: _text(row.get(key)) for key in keys} for row in rows]
    if format == "csv":
        return output.rows(rows, format)
    rows = [row | {"kind": "run"} if row["kind"] == RUN else row for row in rows]
    on_screen = wide is not None and format == "table"
    shared = _shared(rows, TOLD if on_screen else SETTINGS)
    if on_screen:
        rows = _in_folder(rows, shared)
    shown = harmless.markdown if format == "markdown" else harmless.plain
    head = "All: " + ", ".join(f"{k} {shown(output.text(v))}" for k, v in shared.items()) + "\n\n"
    left_out = {*shared, *(column.key for column in COLUMNS if column.machines)}
    rows = [{k: v for k, v in row.items() if k not in left_out} for row in rows]
    fit = None if wide is None else fitted.Fit(wide, WORTHLESS, ("file", "data", "frame"))
    table = output.rows(rows, format, fit=fit)
    staged = on_screen and any(row.get("stages") not in (None, "-") for row in rows)
    held = on_screen and any(row.get("retained_share") is not None for row in rows)
    below = [*([output.STAGES] if staged else []), *([HELD] if held else [])]
    return "\n".join([(head if shared else "") + table, *below])


def _in_folder(rows: "list[Row]", shared: "Row") -> "list[Row]":
    """The rows with their files within the folder that all are in, which is shared."""
    places = {str(Path(str(row["file"])).parent) for row in rows}
    if len(rows) < 2 or len(places) > 1 or places == {"."}:
        return rows
    shared["folder"] = places.pop()
    return [row | {"file": Path(str(row["file"])).name} for row in rows]


def _text(value: "Value") -> "Value":
    """A value as tables and CSV have it."""
    return output.stages(value) if isinstance(value, list) else value


def _keys(rows: "list[Row]") -> list[str]:
    """The keys of all rows, each as near after its neighbour in its row as can be."""
    keys: list[str] = []
    for row in rows:
        place = 0
        for key in row:
            if key not in keys:
                keys.insert(place, key)
            place = keys.index(key) + 1
    return keys


def _shared(rows: "list[Row]", keys: tuple[str, ...]) -> "Row":
    """Those of several rows' settings that all share, which need no column of their own."""
    if len(rows) < 2:
        return {}
    first = rows[0]
    return {
        key: first[key]
        for key in keys
        if key in first and all(row.get(key) == first[key] for row in rows)
    }
