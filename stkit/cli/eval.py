"""stkit eval: accuracy of a checkpoint on a data set."""

from contextlib import nullcontext
from shlex import quote
from typing import Annotated, Any

import typer

from stkit.cli import claims, early, numbers, output
from stkit.cli import options as o
from stkit.core.checks import number
from stkit.core.errors import sized

PLACE = 90
ALL_RANKS = True


def register(app: typer.Typer) -> None:
    """Add the command to the app."""
    app.command("eval")(evaluate)


def evaluate(
    checkpoint: o.Checkpoint,
    source: o.Source,
    split: o.Split = None,
    adversary: Annotated[
        float | None,
        typer.Option(parser=numbers.budget, help="Also robust accuracy: PGD-20 of this radius."),
    ] = None,
    batch_size: Annotated[
        int | None,
        typer.Option(
            parser=numbers.whole, help="Images at a time.  [default: 512, above 32 px fewer]"
        ),
    ] = None,
    out: o.OptionalOutput = None,
    seed: o.Seed = 0,
    data_root: o.DataRoot = None,
    device: o.Device = "auto",
    precision: o.Precision = "auto",
    threads: o.Threads = None,
    force: o.Force = False,
    json: o.Json = False,
    quiet: o.Quiet = False,
) -> None:
    """Clean accuracy of a checkpoint on SOURCE's test split, and robust accuracy on request.

    \b
    Example:
      stkit eval st.safetensors cifar10 --adversary 4/255
    """
    if batch_size is not None:
        number("batch-size", batch_size, 1, float("inf"))
    early.look(out, force=force, checkpoints=(checkpoint,), sources=(source,))
    from stkit.measure.accuracy import evaluate as evaluation

    runtime = o.runtime(device, precision, threads=threads)
    runtime.agree(adversary, seed, batch_size)
    with nullcontext() if out is None else claims.held(out, force=force, runtime=runtime):
        trained = o.open_checkpoint(checkpoint, runtime)
        with sized(f"{quote(source)} --split {split or 'test'}", trained.header["size"]):
            images = o.open_source(source, split, data_root, default_split="test", runtime=runtime)
        trained.check(images)
        if split is None and not quiet:
            o.warn_of_training_images(images, source)
        measured = evaluation(
            trained, images, adversary=adversary, seed=seed, batch_size=batch_size, runtime=runtime
        )
        if out is not None and runtime.first:
            measured.save(out, replace=force)
    shown: dict[str, Any] = {
        "accuracy": measured.accuracy, "per_class": measured.per_class, "n": measured.n,
    }  # fmt: skip
    if measured.robust is not None:
        shown["robust_accuracy"] = measured.robust_accuracy
    if out is not None:
        shown = {"output": str(out), **shown}
    output.result(shown, as_json=json, quiet=quiet, brief=out or measured.accuracy)
