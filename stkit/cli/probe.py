"""stkit probe: how much of its labels a published set gives away."""

from dataclasses import asdict
from time import perf_counter
from typing import TYPE_CHECKING, Annotated, Any

import typer

from stkit.cli import early, output
from stkit.cli import options as o
from stkit.recipes.probe import PLAIN, PREPARED, prepared

if TYPE_CHECKING:
    from stkit.measure.separability import Probed

PLACE = 22
BY_DEFAULT = " ".join(PREPARED[1:])


def register(app: typer.Typer) -> None:
    """Add the command to the app."""
    app.command()(probe)


def probe(
    source: o.Source,
    prepare: Annotated[
        list[str] | None,
        typer.Option(
            metavar="PREPARATION,...",
            help="Also after these preparations, named as train --augment does; more than once. "
            f"[default: {BY_DEFAULT}]",
        ),
    ] = None,
    seed: o.Seed = 0,
    split: o.Split = None,
    data_root: o.DataRoot = None,
    threads: o.Threads = None,
    json: o.Json = False,
    quiet: o.Quiet = False,
) -> None:
    """How much of its labels a published set gives away without being learned from.

    A linear classifier of pixels, and one of random convolutions, are fitted on up to 8,000 images
    and read the labels of 2,000 others, as published and after each preparation. No clean image is
    needed. It takes about a minute.

    \b
    Example:
      stkit probe sp.safetensors
      stkit probe sp.safetensors --prepare gray,jpeg-50 --prepare bdr-3
    """
    lists = [PLAIN, *prepare] if prepare else list(PREPARED)
    for each in lists:
        prepared(each)
    early.look(sources=(source,))
    from stkit.engine.process import settings
    from stkit.engine.runtime import pick
    from stkit.measure import separability

    runtime = pick("cpu", threads=threads)
    images = o.open_source(source, split, data_root)
    start = perf_counter()
    with settings(runtime), output.bar("reading labels") as progress:
        probed = separability.probe(images, lists, seed=seed, on_reading=progress)
    _show(probed, perf_counter() - start, as_json=json, quiet=quiet)


def _show(probed: "Probed", seconds: float, *, as_json: bool, quiet: bool) -> None:
    """A row for each preparation, and the verdict; of a quiet one the published images' alone."""
    if quiet:
        output.say(output.text(probed.readings[0].linear))
        return
    shown: dict[str, Any] = {**asdict(probed), "verdict": probed.verdict, "seconds": seconds}
    if as_json:
        output.result(shown, as_json=True, quiet=False)
        return
    output.say(output.rows(shown["readings"], "table"))
    output.say(f"\n{probed.verdict}")
