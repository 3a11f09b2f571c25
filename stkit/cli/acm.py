"""stkit acm: Activation Cluster Measurement of a checkpoint."""

from contextlib import nullcontext
from typing import Annotated, Any

import typer

from stkit.cli import claims, output
from stkit.cli import options as o
from stkit.core.checks import choose
from stkit.recipes.acm import VARIANTS

PLACE = 80
ALL_RANKS = True


def register(app: typer.Typer) -> None:
    """Add the command to the app."""
    app.command()(acm)


def acm(
    checkpoint: o.Checkpoint,
    source: o.Source,
    variant: Annotated[
        str, typer.Option(metavar="|".join(VARIANTS), help="Which of the ACM variants.")
    ] = "literal",
    per_class: Annotated[
        int | None,
        typer.Option(help="Images a class.  [default: 100 up to 10 classes, else 50]"),
    ] = None,
    out: o.OptionalOutput = None,
    split: o.Split = None,
    data_root: o.DataRoot = None,
    device: o.Device = "auto",
    threads: o.Threads = None,
    force: o.Force = False,
    json: o.Json = False,
    quiet: o.Quiet = False,
) -> None:
    """Activation Cluster Measurement of a checkpoint on a class-balanced draw of SOURCE.

    The draw is the one that staged training watches.

    \b
    Example:
      stkit acm st.safetensors sp.safetensors --variant ratio
    """
    choose("ACM variant", variant, VARIANTS)
    from stkit.measure.acm import acm as measured_acm

    runtime = o.runtime(device, threads=threads)
    runtime.agree(variant, per_class)
    with nullcontext() if out is None else claims.held(out, force=force, runtime=runtime):
        trained = o.open_checkpoint(checkpoint, runtime)
        images = o.open_source(source, split, data_root, runtime=runtime)
        measured = measured_acm(
            trained, images, variant=variant, per_class=per_class, runtime=runtime
        )
        if out is not None and runtime.first:
            measured.save(out, replace=force)
    shown: dict[str, Any] = {
        "acm": measured.acm, "variant": variant, "classes": measured.classes,
        "per_class": measured.per_class,
    }  # fmt: skip
    if out is not None:
        shown = {"output": str(out), **shown}
    output.result(shown, as_json=json, quiet=quiet, brief=out or measured.acm)
