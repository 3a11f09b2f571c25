"""stkit report, list, env: what is in the files, what is there, and where it runs."""

from pathlib import Path
from typing import Annotated

import typer

from stkit.cli import options as o
from stkit.cli import output
from stkit.frames import FRAMES
from stkit.recipes import ABOUT, DATASETS, METHODS, MODELS, as_dict, choose

FORMATS = ("table", "markdown", "csv", "json")
KINDS = ("methods", "frames", "models", "datasets")


def register(app: typer.Typer) -> None:
    app.command()(report)
    app.command("list")(names)
    app.command()(env)


def report(
    files: Annotated[list[Path], typer.Argument(metavar="FILE", help="Files written by stkit.")],
    format: Annotated[str, typer.Option(metavar="|".join(FORMATS), help="How.")] = "table",
    json: o.Json = False,
) -> None:
    """One row a file: what was trained on what, and how well. Reads headers only.

    \b
    Example:
      stkit report runs/*.safetensors --format markdown
    """
    from stkit.report import rows

    choose("format", format, FORMATS)
    found = rows(files)
    if format != "json" and not json:
        for row in found:
            if "stages" in row:
                row["stages"] = output.stages(row["stages"])
    if format in ("table", "markdown") and not json:
        shared = _shared(found)
        if shared:
            typer.echo(
                "All: " + ", ".join(f"{k} {output.text(v)}" for k, v in shared.items()) + "\n"
            )
        found = [{k: v for k, v in row.items() if k not in shared} for row in found]
    typer.echo(output.rows(found, "json" if json else format))


def _shared(found: list[dict]) -> dict:
    """Settings that all of several rows share, which need no column of their own."""
    if len(found) < 2:
        return {}
    first = found[0]
    return {
        key: first[key]
        for key in ("kind", "model", "epochs", "seed")
        if key in first and all(row.get(key) == first[key] for row in found)
    }


def names(
    kind: Annotated[str, typer.Argument(metavar="|".join(KINDS))],
    json: o.Json = False,
    quiet: o.Quiet = False,
) -> None:
    """The methods, frames, models or datasets there are.

    \b
    Example:
      stkit list frames
    """
    choose("kind", kind, KINDS)
    if kind == "datasets":
        found = [{"name": name, "about": line} for name, line in DATASETS.items()]
    elif kind == "models":
        found = [{"name": name, **as_dict(net)} for name, net in MODELS.items()]
    else:
        known = METHODS if kind == "methods" else FRAMES
        found = [{"name": name, "about": ABOUT[name]} for name in known]
    if quiet:
        typer.echo("\n".join(row["name"] for row in found))
        return
    typer.echo(output.rows(found, "json" if json else "table"))


def env(json: o.Json = False) -> None:
    """Versions and devices, for bug reports.

    \b
    Example:
      stkit env
    """
    import platform
    from importlib.metadata import version

    import torch

    from stkit import __version__

    packages = ("torch", "torchvision", "timm", "safetensors", "numpy", "scikit-learn", "typer")
    count = torch.cuda.device_count() if torch.cuda.is_available() else 0
    found = {
        "stkit": __version__,
        "python": platform.python_version(),
        "system": platform.platform(),
        **{name: version(name) for name in packages},
        "threads": torch.get_num_threads(),
        "gpus": [torch.cuda.get_device_name(i) for i in range(count)],
    }
    output.result(found, as_json=json, quiet=False)
