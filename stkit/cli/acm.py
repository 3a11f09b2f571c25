"""stkit acm: Activation Cluster Measurement of a checkpoint."""

from typing import Annotated

import typer

from stkit.cli import options as o
from stkit.cli import output
from stkit.core.checks import choose
from stkit.recipes.frames import GAMMAS

PLACE = 80


def register(app: typer.Typer) -> None:
    app.command()(acm)


def acm(
    checkpoint: o.Checkpoint,
    source: o.Source,
    variant: Annotated[
        str, typer.Option(metavar="|".join(GAMMAS), help="Which of the ACM variants.")
    ] = "literal",
    per_class: Annotated[
        int | None,
        typer.Option(help="Images a class.  [default: 100 up to 10 classes, else 50]"),
    ] = None,
    out: o.OptionalOutput = None,
    split: o.Split = None,
    data_root: o.DataRoot = None,
    device: o.Device = "auto",
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
    choose("ACM variant", variant, GAMMAS)
    from stkit.core import artifact, header
    from stkit.data.holdout import split as split_off
    from stkit.data.images import fits
    from stkit.data.prepare import prepare
    from stkit.engine.runtime import pick
    from stkit.measure import acm
    from stkit.training.checkpoint import load as load_checkpoint

    if out is not None:
        artifact.free(out, force=force)
    runtime = pick(device)
    runtime.agree(variant, per_class)
    with runtime.together():
        model, head = load_checkpoint(checkpoint, runtime.device)
    runtime.same(head["digest"], f"weights in {checkpoint}")
    images = o.open_source(source, split, data_root, runtime=runtime)
    fits(images, tuple(head["classes"]), head["size"], str(checkpoint))
    holdout = head["recipe"]["holdout"]
    trained_on = holdout and images.provenance["digest"] == head["inputs"][0]["digest"]
    images = prepare(images, tuple(head["recipe"]["phases"][0]["prepare"]), seed=head["seed"])
    if trained_on:
        images = images.rows(split_off(images, holdout, head["seed"])[0])
    found = acm.acm(
        model, images, variant=variant, per_class=per_class, seed=head["seed"], runtime=runtime
    )
    shown = {"acm": found.scores[variant], "variant": variant, "classes": len(images.classes),
             "per_class": found.per_class}  # fmt: skip
    if out is not None:
        clusters = found.clusters
        tensors = {"L": clusters.L, "sigma": clusters.sigma, "R": clusters.radius}
        recipe = {"variant": variant, "per_class": found.per_class}
        parents = [head, images.provenance]
        head = header.make(
            "acm", recipe, seed=head["seed"], inputs=parents, **shown, scores=found.scores
        )
        if runtime.first:
            artifact.write(out, tensors, head)
        shown = {"output": str(out), **shown}
    output.result(shown, as_json=json, quiet=quiet, brief=out or found.scores[variant])
