"""stkit report: what came out, as rows, as the paper's tables, as a page."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from stkit.cli import claims, fitted, output
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

FORMATS = ("table", "markdown", "csv", "json", "latex", "html")
NO_TRAININGS = "found no trainings; pass checkpoints, or the folder of a bench"
LAYOUTS = ("1", "2", "4", "5", "7", "8")
MEASURES = ("test", "best", "holdout")
SETTINGS = ("kind", "model", "epochs", "seed", "split")
TOLD = (*SETTINGS, "data", "frame", "rung", "kept", "method", "variant", "per_class", "n")
"""What goes into the line above where all rows share it: in a pipe, and on a terminal."""
WORTHLESS = (
    "seconds", "best_rolled_back", "kind", "train_accuracy", "best_accuracy", "variant",
    "per_class", "n", "epochs", "stages", "retained_share", "acm", "seed", "split", "model",
)  # fmt: skip
"""Columns that fall away where a terminal is narrow, the first first."""
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
    epochs: Annotated[
        bool, typer.Option("--epochs", help="A row an epoch of each training, as CSV or JSON.")
    ] = False,
    out: o.OptionalOutput = None,
    force: o.Force = False,
    json: o.Json = False,
) -> None:
    """One row a file: what was trained on what, and how well; or tables of the paper; or a page.

    Reads headers and results only. Layouts 1 and 2: poisons and frames by models; 4: poisons and
    models by frames; 5: frames, a table a model and poison; 7 and 8: poisons and frames by poison
    rates. LaTeX is of a layout, for booktabs. HTML is one file that asks for nothing from
    elsewhere; it shows images where their data set files lie beside the results.

    \b
    Example:
      stkit report runs/*.safetensors --format markdown
      stkit report grid-out --layout 1 --anchors
      stkit report grid-out --layout 1 --format latex -o table.tex
      stkit report st.safetensors --epochs -o epochs.csv
      stkit report grid-out --format html -o report.html
    """
    format = "json" if json else choose("format", format, FORMATS)
    _consistent(format, layout, measure, out)
    if epochs and (layout is not None or anchors or format not in ("table", "csv", "json")):
        raise RecipeError(
            "--epochs is a table of its own, CSV or JSON; leave out --layout, --anchors and others "
            "of --format"
        )

    def made() -> str:
        if epochs:
            return _epochs(files, "json" if format == "json" else "csv")
        wide = fitted.width() if out is None else None
        return _report(files, format, layout, measure, anchors, wide)

    if out is None:
        output.say(made())
        return
    with claims.held(out, force=force):
        text = made()
        atomic.write_text(out, text + "\n", replace=force)
    output.say(harmless.plain(str(out)))


def _epochs(files: list[Path], format: str) -> str:
    """A row an epoch of each training."""
    from stkit.report import epochs, gather

    results = gather.noted(files, on_note=output.note).results
    if not results:
        raise ArtifactError(NO_TRAININGS)
    return output.rows(epochs.rows(results), format)


def _report(
    files: list[Path],
    format: str,
    layout: str | None,
    measure: str,
    anchors: bool,
    wide: int | None,
) -> str:
    """The report, in whichever format; wide: of the terminal, where it is for one."""
    from stkit.report import gather, groups, tables

    gathered = gather.noted(files, on_note=output.note)
    shown = groups.MEASURES[measure]
    made = groups.grouped(gathered.results, shown)
    if layout is not None:
        made = tables.of_table(made, layout)
    if format == "latex":
        return _latex(made, str(layout), shown, anchors)
    if format == "html":
        return _page(gathered, made, files, shown, anchors)
    if layout is None:
        made = [groups.Group((result,), result.frame) for result in gathered.results]
        text = _rows(gathered, format, made if anchors else [], wide)
    elif format in ("csv", "json"):
        text = output.rows(tables.records(made, with_anchors=anchors), format)
    else:
        text = _tables(made, layout, shown, format, anchors, wide)
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
    if format == "latex" and layout is None:
        raise RecipeError(
            f"LaTeX is of one of the paper's tables; pass --layout {'|'.join(LAYOUTS)}"
        )
    if format == "html" and layout is not None:
        raise RecipeError("HTML has tables of its own; leave out --layout")


def _page(
    gathered: "Gathered", made: "list[Group]", files: list[Path], measure: "Measure", anchors: bool
) -> str:
    from stkit.report import page

    if not gathered.results:
        raise ArtifactError(NO_TRAININGS)
    return page.page(gathered, made, files, absent=measure.absent, with_anchors=anchors)


def _latex(made: "list[Group]", layout: str, measure: "Measure", anchors: bool) -> str:
    from stkit.report import latex, tables, unanchored

    arranged = [table for table in tables.arrange(made, layout) if table.rows]
    if not arranged:
        raise ArtifactError(UNPOISONED if made else measure.absent)
    notes = [*tables.sources(made), unanchored.absent(made)] if anchors else []
    return latex.latex(arranged, [note for note in notes if note], with_anchors=anchors)


def _tables(
    made: "list[Group]",
    layout: str,
    measure: "Measure",
    format: str,
    anchors: bool,
    wide: int | None,
) -> str:
    """The tables of a layout, each under its title."""
    from stkit.report import tables

    arranged = [table for table in tables.arrange(made, layout) if table.rows]
    shown = harmless.markdown if format == "markdown" else harmless.plain
    return "\n\n".join(
        f"{shown(table.title)}\n\n"
        + output.rows(table.texts(with_anchors=anchors), format,
                      fit=_fit(wide, texts=table.labels))
        for table in arranged
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


def _rows(gathered: "Gathered", format: str, anchored: "list[Group]", wide: int | None) -> str:
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
    on_screen = wide is not None and format == "table"
    shared = _shared(rows, TOLD if on_screen else SETTINGS)
    if on_screen:
        rows = _in_folder(rows, shared)
    shown = harmless.markdown if format == "markdown" else harmless.plain
    head = "All: " + ", ".join(f"{k} {shown(output.text(v))}" for k, v in shared.items()) + "\n\n"
    left_out = {*shared, *(column.key for column in COLUMNS if column.machines)}
    rows = [{k: v for k, v in row.items() if k not in left_out} for row in rows]
    table = output.rows(rows, format, fit=_fit(wide, WORTHLESS, ("file", "data", "frame")))
    staged = on_screen and any(row.get("stages") not in (None, "-") for row in rows)
    return (head if shared else "") + table + (f"\n{output.STAGES}" if staged else "")


def _in_folder(rows: "list[Row]", shared: "Row") -> "list[Row]":
    """The rows with their files within the folder that all are in, which is shared."""
    places = {str(Path(str(row["file"])).parent) for row in rows}
    if len(rows) < 2 or len(places) > 1 or places == {"."}:
        return rows
    shared["folder"] = places.pop()
    return [row | {"file": Path(str(row["file"])).name} for row in rows]


def _fit(
    wide: int | None, worthless: tuple[str, ...] = (), texts: tuple[str, ...] = ()
) -> fitted.Fit | None:
    return None if wide is None else fitted.Fit(wide, worthless, texts)


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
