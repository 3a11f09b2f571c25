"""stkit acm and stkit eval: measure a checkpoint on a data set."""

from typing import Annotated

import typer

from stkit.cli import options as o
from stkit.cli import output
from stkit.frames import GAMMAS
from stkit.recipes import choose


def register(app: typer.Typer) -> None:
    app.command()(acm)
    app.command("eval")(evaluate)


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
    from stkit import acm_score, artifacts, checkpoints, header
    from stkit.data import fits
    from stkit.plan import split as split_off
    from stkit.prepare import prepare
    from stkit.runtime import pick

    if out is not None:
        artifacts.free(out, force=force)
    runtime = pick(device)
    runtime.agree(variant, per_class)
    with runtime.together():
        model, head = checkpoints.load(checkpoint, runtime.device)
    runtime.same(head["digest"], f"weights in {checkpoint}")
    images = o.open_source(source, split, data_root, runtime=runtime)
    fits(images, tuple(head["classes"]), head["size"], str(checkpoint))
    holdout = head["recipe"]["holdout"]
    trained_on = holdout and images.provenance["digest"] == head["inputs"][0]["digest"]
    images = prepare(images, tuple(head["recipe"]["phases"][0]["prepare"]), seed=head["seed"])
    if trained_on:
        images = images.rows(split_off(images, holdout, head["seed"])[0])
    found = acm_score.acm(
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
            artifacts.write(out, tensors, head)
        shown = {"output": str(out), **shown}
    output.result(shown, as_json=json, quiet=quiet, brief=out or found.scores[variant])


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
    from stkit import artifacts, checkpoints, evaluation, header
    from stkit.data import fits
    from stkit.recipes import as_dict, number
    from stkit.runtime import pick

    if batch_size is not None:
        number("batch-size", batch_size, 1, float("inf"))
    runtime = pick(device, precision)
    runtime.agree(adversary, seed, batch_size)
    if out is not None:
        artifacts.free(out, force=force)
    with runtime.together():
        model, head = checkpoints.load(checkpoint, runtime.device)
    runtime.same(head["digest"], f"weights in {checkpoint}")
    images = o.open_source(source, split, data_root, default_split="test", runtime=runtime)
    fits(images, tuple(head["classes"]), head["size"], str(checkpoint))
    if split is None and not quiet:
        o.warn_of_training_images(images, source)
    pgd = evaluation.pgd20(adversary) if adversary is not None else None
    found = evaluation.evaluate(
        model, images, adversary=pgd, seed=seed, batch_size=batch_size, runtime=runtime
    )
    shown = {"accuracy": found.accuracy, "per_class": found.per_class, "n": len(images)}
    if found.robust_accuracy is not None:
        shown["robust_accuracy"] = found.robust_accuracy
    if out is not None:
        recipe = {"adversary": as_dict(pgd) if pgd else None, "precision": runtime.precision}
        head = header.make("eval", recipe, seed=seed, inputs=[head, images.provenance], **shown)
        if runtime.first:
            artifacts.write(out, {"confusion": found.confusion}, head)
        shown = {"output": str(out), **shown}
    output.result(shown, as_json=json, quiet=quiet, brief=out or found.accuracy)
