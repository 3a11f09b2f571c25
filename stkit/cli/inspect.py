"""stkit inspect: what a file says of itself, and what was done to its images."""

from dataclasses import asdict
from pathlib import Path
from typing import Annotated, Any

import typer

from stkit.cli import options as o
from stkit.cli import output

PLACE = 20


def register(app: typer.Typer) -> None:
    """Add the command to the app."""
    app.command()(inspect)


def inspect(
    files: Annotated[list[Path], typer.Argument(metavar="FILE", help="Files written by stkit.")],
    clean: Annotated[
        str | None, typer.Option(metavar="SOURCE", help="The clean images to compare with.")
    ] = None,
    split: o.Split = None,
    data_root: o.DataRoot = None,
    verify: Annotated[
        bool,
        typer.Option("--verify", help="Compare the tensors with the digest, whatever their size."),
    ] = False,
    json: o.Json = False,
) -> None:
    """Print what a file holds, its header; with --clean, also what was done to the images.

    \b
    Example:
      stkit inspect sp.safetensors --clean digits
    """
    from stkit.core import header

    for file in files:
        head = header.read(file)
        first = {"file": str(file)} | (
            _images(file, head, json) if head["kind"] == "dataset" else {}
        )
        shown = first | head | first  # whatever a forged header has by these names
        if verify:
            from stkit.core import artifact

            artifact.read(file, verify=True)
            shown["verified"] = True
        if clean is not None:
            from stkit.data.images import read
            from stkit.measure.comparison import compare

            noisy = read(file)
            original = o.open_source(clean, split, data_root, default_split=noisy.header["split"])
            shown |= asdict(compare(noisy, original))
        if not json:
            shown["inputs"] = "; ".join(map(_made_of, head["inputs"])) or None
            if head.get("records"):
                shown["records"] = _records(head["records"])
        output.result(shown, as_json=json, quiet=False)


def _made_of(head: dict[str, Any]) -> str:
    """A file that another was made of, and what that was made of, in short."""
    recipe = head["recipe"]
    made = recipe.get("method") or recipe.get("frame") or recipe.get("source")
    first = " ".join(filter(None, (head["kind"], made, head["digest"][:16])))
    parents = " and ".join(map(_made_of, head["inputs"]))
    return f"{first}, from {parents}" if parents else first


def _records(records: list[dict[str, Any]]) -> str:
    """How many there are, and the numbers of the last."""
    last = {key: value for key, value in records[-1].items() if not isinstance(value, dict | list)}
    return f"{len(records)}, the last: {output.text(last)}"


def _images(path: Path, head: dict[str, Any], as_json: bool) -> dict[str, Any]:
    """What a data set's file holds."""
    from stkit.report.contents import contents

    classes = head["classes"]
    held = contents(path, len(classes))
    if as_json:
        return asdict(held)
    return {
        "images": f"{held.n:,}", "size": f"{held.width}x{held.height}",
        "classes": f"{len(classes)}: {output.text(classes)}",
        "images a class": held.balance(classes),
    }  # fmt: skip
