"""stkit rate: a poison at a lower rate."""

from pathlib import Path
from time import perf_counter
from typing import Annotated

import typer

from stkit.cli import claims, early
from stkit.cli import options as o
from stkit.cli.poison import Rate, Request, say
from stkit.core.checks import number

PLACE = 40


def register(app: typer.Typer) -> None:
    """Add the command."""
    app.command()(rate)


def rate(
    file: Annotated[
        Path, typer.Argument(metavar="FILE", help="A data set that stkit poison has made.")
    ],
    clean: Annotated[
        str, typer.Option(metavar="SOURCE", help="The clean images that it was made from.")
    ],
    poison_rate: Rate,
    out: o.Output,
    split: o.Split = None,
    data_root: o.DataRoot = None,
    force: o.Force = False,
    json: o.Json = False,
    quiet: o.Quiet = False,
) -> None:
    """Publish a poison at a lower rate: its noise on fewer images, the others as they were.

    The file is what `stkit poison` would write for that rate, which need not make the noise again.

    \b
    Example:
      stkit rate em.safetensors --clean cifar10 --poison-rate 0.2 -o em-20.safetensors
    """
    number("poison-rate", poison_rate, 0, 1)
    early.look(out, force=force, sources=(str(file), clean))
    from stkit import poisons
    from stkit.data.images import read

    with claims.held(out, force=force):
        whole = read(file)
        original = o.open_source(clean, split, data_root, default_split=whole.header["split"])
        start = perf_counter()
        less = poisons.at_rate(whole, original, poison_rate)
        seconds = perf_counter() - start
        less.save(out, replace=force)
    method, statistics = less.header["method"], less.header["statistics"]
    asked = Request(method, clean, out, 0, poison_rate, split, data_root, False, force, json, quiet)
    say(statistics, seconds, asked, len(less))
