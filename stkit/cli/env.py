"""stkit env: versions and devices."""

import typer

from stkit.cli import options as o
from stkit.cli import output

KINDS = ("methods", "frames", "models", "datasets")

PLACE = 140


def register(app: typer.Typer) -> None:
    """Add the command to the app."""
    app.command()(env)


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
    facts = {
        "stkit": __version__,
        "python": platform.python_version(),
        "system": platform.platform(),
        **{name: version(name) for name in packages},
        "threads": torch.get_num_threads(),
        "gpus": [torch.cuda.get_device_name(i) for i in range(count)],
    }
    output.result(facts, as_json=json, quiet=False)
