"""stkit report, plot: what came out, as rows, as the paper's tables, as a page, as pictures."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from stkit.cli import options as o
from stkit.cli import output
from stkit.core.checks import choose
from stkit.core.errors import ArtifactError, RecipeError

if TYPE_CHECKING:
    from stkit.report.gather import Gathered

FORMATS = ("table", "markdown", "csv", "json", "html")
LAYOUTS = ("1", "2", "4", "7", "8")
MEASURES = {"test": "accuracy", "best": "best_accuracy", "holdout": "holdout_accuracy"}
ABSENT = {
    "test": "no such accuracies; `stkit train` takes them with --test SOURCE",
    "best": "no such accuracies; `stkit train` takes them with --test SOURCE",
    "holdout": "no such accuracies; `stkit train` takes them with --holdout N",
}
UNPOISONED = "no poisoned images among these; layouts 7 and 8 show them by their rate"
KINDS = ("accuracy", "acm", "images")
WIDE = ("images_per_second", "peak_memory")  # for machines; too much for a table of rows

Paths = Annotated[
    list[Path],
    typer.Argument(metavar="PATH", help="Files written by stkit, or folders of stkit bench."),
]
Anchors = Annotated[bool, typer.Option("--anchors", help="Published numbers beside one's own.")]

PLACE = 110


def register(app: typer.Typer) -> None:
    app.command()(report)


def report(
    files: Paths,
    format: Annotated[str, typer.Option(metavar="|".join(FORMATS), help="How.")] = "table",
    layout: Annotated[
        str | None,
        typer.Option(
            metavar="|".join(LAYOUTS),
            help="As this table of the ST paper: mean and deviation over seeds (difference to nt).",
        ),
    ] = None,
    measure: Annotated[
        str, typer.Option(metavar="test|best|holdout", help="What --layout and HTML show.")
    ] = "test",
    anchors: Anchors = False,
    out: o.OptionalOutput = None,
    force: o.Force = False,
    json: o.Json = False,
) -> None:
    """One row a file: what was trained on what, and how well; or tables of the paper; or a page.

    Reads headers and results only. Layouts 1 and 2: poisons and frames by models; 4: poisons and
    models by frames; 7 and 8: poisons and frames by poison rates. HTML is one file that asks for
    nothing from elsewhere; it shows images where their data set files lie beside the results.

    \b
    Example:
      stkit report runs/*.safetensors --format markdown
      stkit report grid-out --layout 1 --anchors
      stkit report grid-out --format html -o report.html
    """
    format = "json" if json else choose("format", format, FORMATS)
    if layout is not None:
        choose("layout", layout, LAYOUTS)
    choose("measure", measure, MEASURES)
    if format == "html" and out is None:
        raise RecipeError("HTML is written to a file; pass -o FILE.html")
    if format == "html" and layout is not None:
        raise RecipeError("HTML has tables of its own; leave out --layout")
    if out is not None:
        free(out, force)
    from stkit.report import gather, page, result, tables

    found = gather.gather(files)
    notes(found)
    made = tables.groups(found.entries, MEASURES[measure])
    if format == "html":
        if not found.entries:
            raise ArtifactError("found no trainings; pass checkpoints, or the folder of a bench")
        text = page.page(found, made, files, absent=ABSENT[measure], with_anchors=anchors)
    elif layout is None:
        text = _rows(found, format, anchors)
    elif format in ("csv", "json"):
        text = output.rows(tables.records(made, with_anchors=anchors), format)
    else:
        text = "\n\n".join(
            f"{table.title}\n\n{output.rows(table.texts(with_anchors=anchors), format)}"
            for table in tables.arrange(made, layout) if table.rows
        ) or (UNPOISONED if made else ABSENT[measure])  # fmt: skip
        text += _sources(made) if anchors else ""
    if found.skipped and format in ("table", "markdown"):
        text += f"\n\nSkipped files: {len(found.skipped)}"
    if out is None:
        typer.echo(text)
    else:
        result.whole(out, text + "\n")
        typer.echo(out)


def free(out: Path, force: bool) -> None:
    if out.exists() and not force:
        raise ArtifactError(f"{out}: exists already; pass --force to replace it or another -o")


def notes(found: "Gathered") -> None:
    """What a reader of the numbers should know, a line each; an error when nothing is left."""
    if len(found.skipped) == 1 and not found.rows and not found.passed:
        ((file, why),) = found.skipped.items()
        raise ArtifactError(f"{file}: {why}")
    for file, why in found.skipped.items():
        output.note(f"note: skipped {file}: {why}")
    if found.passed:
        output.note(f"note: passed over {found.passed} other JSON files, which no bench wrote")
    if found.versions():
        output.note(f"note: made by different versions: {found.versions()}")
    if not found.rows:
        raise ArtifactError(
            "found nothing to report; pass files written by stkit, or the folder of a stkit bench"
        )


def _rows(found: "Gathered", format: str, anchors: bool) -> str:
    """One row a file, settings that all share on a line of their own."""
    rows = found.rows
    if anchors:
        beside = {entry.file: entry for entry in found.entries}
        rows = [row | _published(beside.get(row["file"])) for row in rows]
    if format == "json":
        return output.rows(rows, format)
    keys = _columns(rows)
    rows = [{key: row.get(key) for key in keys} for row in rows]
    for row in rows:
        if row.get("stages") is not None:
            row["stages"] = output.stages(row["stages"])
    if format == "csv":
        return output.rows(rows, format)
    shared = _shared(rows)
    head = "All: " + ", ".join(f"{k} {output.text(v)}" for k, v in shared.items()) + "\n\n"
    rows = [{k: v for k, v in row.items() if k not in (*shared, *WIDE)} for row in rows]
    return (head if shared else "") + output.rows(rows, format)


def _columns(rows: list[dict]) -> list[str]:
    """The keys of all rows, each as near after its neighbour in its row as can be."""
    keys: list[str] = []
    for row in rows:
        place = 0
        for key in row:
            if key not in keys:
                keys.insert(place, key)
            place = keys.index(key) + 1
    return keys


def _published(entry: Any) -> dict[str, float]:
    from stkit.report.tables import Group

    if entry is None:
        return {}
    return {key: a.accuracy for key, a in Group([entry], entry.frame).published.items()}


def _shared(found: list[dict]) -> dict:
    """Settings that all of several rows share, which need no column of their own."""
    if len(found) < 2:
        return {}
    first = found[0]
    return {
        key: first[key]
        for key in ("kind", "model", "epochs", "seed", "split")
        if key in first and all(row.get(key) == first[key] for row in found)
    }


def _sources(made: list) -> str:
    """The sources of the published numbers shown, a line each."""
    lines = dict.fromkeys(
        f"{a.key}: {a.source} ({a.setting})" for group in made for a in group.published.values()
    )
    return "\n\n" + "\n".join(lines) if lines else ""
