"""stkit acm: Activation Cluster Measurement of a checkpoint."""

from contextlib import nullcontext
from typing import TYPE_CHECKING, Annotated, Any

import typer

from stkit.cli import claims, early, numbers, output
from stkit.cli import options as o
from stkit.core.checks import choose
from stkit.core.errors import RecipeError
from stkit.recipes import layers
from stkit.recipes.acm import VARIANTS
from stkit.recipes.layers import PENULTIMATE

if TYPE_CHECKING:
    from stkit.data.images import Images
    from stkit.engine.runtime import Runtime
    from stkit.measure.acm import Acm
    from stkit.measure.subject import Checkpoint

ALL = "all"
"""What `--layer` says of every layer."""

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
    layer: Annotated[
        str,
        typer.Option(
            "--layer",
            metavar="LAYER",
            help=f"Of which layer: a module's name, a number from 1 at the input, or {ALL}.",
        ),
    ] = PENULTIMATE,
    per_class: Annotated[
        int | None,
        typer.Option(
            parser=numbers.whole,
            help="Images a class.  [default: 100 up to 10 classes, else 50]",
        ),
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
      stkit acm nt.safetensors sp.safetensors --layer all
    """
    choose("ACM variant", variant, VARIANTS)
    if layer == ALL and out is not None:
        raise RecipeError(
            f"layer is {ALL}, but {out} would hold the clusters of one; leave -o out, or pass a "
            "layer's name or number"
        )
    early.look(out, force=force, checkpoints=(checkpoint,), sources=(source,))
    runtime = o.runtime(device, threads=threads)
    runtime.agree(variant, layer, per_class)
    with nullcontext() if out is None else claims.held(out, force=force, runtime=runtime):
        trained = o.open_checkpoint(checkpoint, runtime)
        images = o.open_source(source, split, data_root, runtime=runtime)
        measured = _measured(trained, images, layer, variant, per_class, runtime)
        if out is not None and runtime.first:
            measured[0].save(out, replace=force)
    if not runtime.first:
        return
    if layer == ALL:
        _show(measured, as_json=json)
        return
    (one,) = measured
    shown: dict[str, Any] = {
        "acm": one.acm, "variant": variant, "classes": one.classes, "per_class": one.per_class,
    }  # fmt: skip
    if one.layer is not None:
        shown["layer"] = one.layer
    if out is not None:
        shown = {"output": str(out), **shown}
    output.result(shown, as_json=json, quiet=quiet, brief=out or one.acm)


def _measured(
    trained: "Checkpoint",
    images: "Images",
    layer: str,
    variant: str,
    per_class: int | None,
    runtime: "Runtime",
) -> "list[Acm]":
    """ACM of the layer of this name, or of all."""
    from stkit.measure import acm as measures

    if layer == ALL:
        return measures.acm_by_layer(
            trained, images, variant=variant, per_class=per_class, runtime=runtime
        )
    of = layers.layer(layer)
    return [
        measures.acm(
            trained, images, variant=variant, layer=of, per_class=per_class, runtime=runtime
        )
    ]


def _show(measured: "list[Acm]", *, as_json: bool) -> None:
    """A row a layer, with every variant."""
    rows = [{"layer": PENULTIMATE if m.layer is None else m.layer, **m.scores} for m in measured]
    if as_json:
        about = {"classes": measured[0].classes, "per_class": measured[0].per_class}
        output.result({"layers": rows, **about}, as_json=True, quiet=False)
    else:
        output.say(output.rows(rows, "table"))
