"""stkit list, env: what is there, and where it runs."""

from typing import Annotated

import typer

from stkit.cli import options as o
from stkit.cli import output
from stkit.frames import FRAMES
from stkit.recipes import ABOUT, DATASETS, METHODS, MODELS, as_dict, choose

KINDS = ("methods", "frames", "models", "datasets")


def register(app: typer.Typer) -> None:
    app.command("list")(names)
    app.command()(env)


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
