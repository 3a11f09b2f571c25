"""stkit report: what came out, as rows, as the paper's tables, as a page."""

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from stkit.cli import claims, fitted, listed, output
from stkit.cli import options as o
from stkit.core import atomic
from stkit.core import text as harmless
from stkit.core.checks import choose
from stkit.core.errors import ArtifactError, RecipeError
from stkit.recipes.frames import NATURAL

if TYPE_CHECKING:
    from stkit.report.gather import Gathered
    from stkit.report.groups import Group, Measure

FORMATS = ("table", "markdown", "csv", "json", "latex", "html")
NO_TRAININGS = "found no trainings; pass checkpoints, or the folder of a bench"
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
    epochs: Annotated[
        bool, typer.Option("--epochs", help="A row an epoch of each training, as CSV or JSON.")
    ] = False,
    out: o.OptionalOutput = None,
    force: o.Force = False,
    json: listed.Json = False,
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

    gathered = gather.noted(files, on_note=output.note)
    if not gathered.results:
        raise ArtifactError(NO_TRAININGS)
    return output.rows(epochs.rows(gathered.results), format) + _lost(gathered, format)


def _lost(gathered: "Gathered", format: str) -> str:
    """Below a report what is not in it; beside one for machines, what is not there is a note."""
    from stkit.report import missing

    lines = missing.missing(gathered)
    if format not in ("table", "markdown"):
        for line in lines:
            output.note(f"note: {line}")
        return ""
    lines = [*([f"Skipped files: {len(gathered.skipped)}"] if gathered.skipped else []), *lines]
    return "".join(f"\n\n{_shown(format)(line)}" for line in lines)


def _shown(format: str) -> Callable[[str], str]:
    """What makes text harmless in tables for people."""
    return harmless.markdown if format == "markdown" else harmless.plain


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
        return _latex(made, str(layout), shown, anchors) + _lost(gathered, format)
    if format == "html":
        return _page(gathered, made, files, shown, anchors)
    if layout is None:
        made = [groups.Group((result,), result.frame) for result in gathered.results]
        text = listed.rows(gathered, format, made if anchors else [], wide)
    elif format in ("csv", "json"):
        text = output.rows(tables.records(made, with_anchors=anchors), format)
    else:
        text = _tables(made, layout, shown, format, anchors, wide)
    if anchors:
        text += _sources(made, format)
    return text + _lost(gathered, format)


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
    return "\n\n".join(
        f"{_shown(format)(table.title)}\n\n"
        + output.rows(table.texts(with_anchors=anchors), format,
                      fit=None if wide is None else fitted.Fit(wide, (), table.labels))
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
    lines = [*tables.sources(made), *([absent] if absent else [])]
    return "\n\n" + "\n".join(map(_shown(format), lines))
