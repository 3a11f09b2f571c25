"""stkit acm and stkit eval: measure a checkpoint on a data set."""

from typing import Annotated

import typer

from stkit.cli import options as o
from stkit.cli import output

PLACE = 90


def register(app: typer.Typer) -> None:
    app.command("eval")(evaluate)


def evaluate(
    checkpoint: o.Checkpoint,
    source: o.Source,
    split: o.Split = None,
    adversary: Annotated[
        float | None,
        typer.Option(parser=o.budget, help="Also robust accuracy: PGD-20 of this radius."),
    ] = None,
    batch_size: Annotated[
        int | None, typer.Option(help="Images at a time.  [default: 512, above 32 px fewer]")
    ] = None,
    out: o.OptionalOutput = None,
    seed: o.Seed = 0,
    data_root: o.DataRoot = None,
    device: o.Device = "auto",
    precision: o.Precision = "auto",
    force: o.Force = False,
    json: o.Json = False,
    quiet: o.Quiet = False,
) -> None:
    """Clean accuracy of a checkpoint on SOURCE's test split, and robust accuracy on request.

    \b
    Example:
      stkit eval st.safetensors cifar10 --adversary 4/255
    """
    from stkit.core import artifact, header
    from stkit.core.checks import as_dict, number
    from stkit.data.images import fits
    from stkit.engine.runtime import pick
    from stkit.measure import accuracy
    from stkit.training.checkpoint import load as load_checkpoint

    if batch_size is not None:
        number("batch-size", batch_size, 1, float("inf"))
    runtime = pick(device, precision)
    runtime.agree(adversary, seed, batch_size)
    if out is not None:
        artifact.free(out, force=force)
    with runtime.together():
        model, head = load_checkpoint(checkpoint, runtime.device)
    runtime.same(head["digest"], f"weights in {checkpoint}")
    images = o.open_source(source, split, data_root, default_split="test", runtime=runtime)
    fits(images, tuple(head["classes"]), head["size"], str(checkpoint))
    if split is None and not quiet:
        o.warn_of_training_images(images, source)
    pgd = accuracy.pgd20(adversary) if adversary is not None else None
    found = accuracy.evaluate(
        model, images, adversary=pgd, seed=seed, batch_size=batch_size, runtime=runtime
    )
    shown = {"accuracy": found.accuracy, "per_class": found.per_class, "n": len(images)}
    if found.robust_accuracy is not None:
        shown["robust_accuracy"] = found.robust_accuracy
    if out is not None:
        recipe = {"adversary": as_dict(pgd) if pgd else None, "precision": runtime.precision}
        head = header.make("eval", recipe, seed=seed, inputs=[head, images.provenance], **shown)
        if runtime.first:
            artifact.write(out, {"confusion": found.confusion}, head)
        shown = {"output": str(out), **shown}
    output.result(shown, as_json=json, quiet=quiet, brief=out or found.accuracy)
