"""stkit report: what came out, as rows, as the paper's tables, as a page."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from stkit.cli import claims, output
from stkit.cli import options as o
from stkit.core import atomic
from stkit.core import text as harmless
from stkit.core.checks import choose
from stkit.core.errors import ArtifactError, RecipeError
from stkit.recipes.frames import NATURAL

if TYPE_CHECKING:
    from stkit.report.gather import Gathered
    from stkit.report.groups import Group, Measure
    from stkit.report.result import Row, Value

FORMATS = ("table", "markdown", "csv", "json", "html")
LAYOUTS = ("1", "2", "4", "5", "7", "8")
MEASURES = ("test", "best", "holdout")
UNPOISONED = "no poisoned images among these; layouts 7 and 8 show them by their rate"

Paths = Annotated[
    list[Path],
    typer.Argument(metavar="PATH", help="Files written by stkit, or folders of stkit bench."),
]
Anchors = Annotated[bool, typer.Option("--anchors", help="Published numbers beside one's own.")]

PLACE = 110


def register(app: typer.Typer) -> None:
    """Put the command into the program."""
    app.command()(report)


def report(
    files: Paths,
    format: Annotated[str, typer.Option(metavar="|".join(FORMATS), help="How.")] = "table",
    layout: Annotated[
        str | None,
        typer.Option(
            metavar="|".join(LAYOUTS),
            help="As this table of the ST paper: mean and deviation over seeds "
            f"(difference to {NATURAL}).",
        ),
    ] = None,
    measure: Annotated[
        str, typer.Option(metavar="|".join(MEASURES), help="What --layout and HTML show.")
    ] = "test",
    anchors: Anchors = False,
    out: o.OptionalOutput = None,
    force: o.Force = False,
    json: o.Json = False,
) -> None:
    """One row a file: what was trained on what, and how well; or tables of the paper; or a page.

    Reads headers and results only. Layouts 1 and 2: poisons and frames by models; 4: poisons and
    models by frames; 5: frames, a table a model and poison; 7 and 8: poisons and frames by poison
    rates. HTML is one file that asks for nothing from elsewhere; it shows images where their data
    set files lie beside the results.

    \b
    Example:
      stkit report runs/*.safetensors --format markdown
      stkit report grid-out --layout 1 --anchors
      stkit report grid-out --format html -o report.html
    """
    format = "json" if json else choose("format", format, FORMATS)
    _consistent(format, layout, measure, out)
    if out is None:
        output.say(_report(files, format, layout, measure, anchors))
        return
    with claims.held(out, force=force):
        text = _report(files, format, layout, measure, anchors)
        atomic.write_text(out, text + "\n", replace=force)
    output.say(harmless.plain(str(out)))


def _report(files: list[Path], format: str, layout: str | None, measure: str, anchors: bool) -> str:
    """The report, in whichever format."""
    from stkit.report import gather, groups, tables

    gathered = gather.noted(files, on_note=output.note)
    shown = groups.MEASURES[measure]
    made = groups.grouped(gathered.results, shown)
    if layout is not None:
        made = tables.of_table(made, layout)
    if format == "html":
        return _page(gathered, made, files, shown, anchors)
    if layout is None:
        made = [groups.Group((result,), result.frame) for result in gathered.results]
        text = _rows(gathered, format, made if anchors else [])
    elif format in ("csv", "json"):
        text = output.rows(tables.records(made, with_anchors=anchors), format)
    else:
        text = _tables(made, layout, shown, format, anchors)
    if anchors:
        text += _sources(made, format)
    if gathered.skipped and format in ("table", "markdown"):
        text += f"\n\nSkipped files: {len(gathered.skipped)}"
    return text


def _consistent(format: str, layout: str | None, measure: str, out: Path | None) -> None:
    """RecipeError for options that do not go together."""
    if layout is not None:
        choose("layout", layout, LAYOUTS)
    choose("measure", measure, MEASURES)
    if format == "html" and out is None:
        raise RecipeError("HTML is written to a file; pass -o FILE.html")
    if format == "html" and layout is not None:
        raise RecipeError("HTML has tables of its own; leave out --layout")


def _page(
    gathered: "Gathered", made: "list[Group]", files: list[Path], measure: "Measure", anchors: bool
) -> str:
    from stkit.report import page

    if not gathered.results:
        raise ArtifactError("found no trainings; pass checkpoints, or the folder of a bench")
    return page.page(gathered, made, files, absent=measure.absent, with_anchors=anchors)


def _tables(
    made: "list[Group]", layout: str, measure: "Measure", format: str, anchors: bool
) -> str:
    """The tables of a layout, each under its title, and where published numbers come from."""
    from stkit.report import tables

    shown = harmless.markdown if format == "markdown" else harmless.plain
    return "\n\n".join(
        f"{shown(table.title)}\n\n{output.rows(table.texts(with_anchors=anchors), format)}"
        for table in tables.arrange(made, layout) if table.rows
    ) or (UNPOISONED if made else measure.absent)  # fmt: skip


def _sources(made: "list[Group]", format: str) -> str:
    """Below a report where published numbers come from and their setting, and why some are not
    there; beside one for machines, whose rows say their setting, the latter is a note."""
    from stkit.report import tables, unanchored

    absent = unanchored.absent(made)
    if format in ("csv", "json"):
        if absent:
            output.note(f"note: {absent}")
        return ""
    shown = harmless.markdown if format == "markdown" else harmless.plain
    lines = [*tables.sources(made), *([absent] if absent else [])]
    return "\n\n" + "\n".join(map(shown, lines))


def _rows(gathered: "Gathered", format: str, anchored: "list[Group]") -> str:
    """One row a file, settings that all share on a line of their own.

    anchored: the trainings that are to have published numbers beside them.
    """
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
    shared = _shared(rows)
    shown = harmless.markdown if format == "markdown" else harmless.plain
    head = "All: " + ", ".join(f"{k} {shown(output.text(v))}" for k, v in shared.items()) + "\n\n"
    left_out = {*shared, *(column.key for column in COLUMNS if column.machines)}
    rows = [{k: v for k, v in row.items() if k not in left_out} for row in rows]
    return (head if shared else "") + output.rows(rows, format)


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


def _shared(rows: "list[Row]") -> "Row":
    """Settings that all of several rows share, which need no column of their own."""
    if len(rows) < 2:
        return {}
    first = rows[0]
    return {
        key: first[key]
        for key in ("kind", "model", "epochs", "seed", "split")
        if key in first and all(row.get(key) == first[key] for row in rows)
    }
