"""stkit train: run the loop, show each epoch, save on a clock and on a signal."""

from contextlib import nullcontext
from pathlib import Path
from time import perf_counter
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer

from stkit.cli import claims, events, keeping, output, saving, telling
from stkit.cli import options as o
from stkit.core.files import DIGITS
from stkit.recipes.acm import VARIANTS
from stkit.recipes.carried import AUGMENTATIONS, BUNDLES, MIXES, PREPARATIONS
from stkit.recipes.catalogue import MODELS, TIMM, model_name
from stkit.recipes.frames import FRAMES
from stkit.recipes.ladder import AUTO
from stkit.recipes.layers import MEASURED, layer
from stkit.recipes.options import OPTIONS, frame_with
from stkit.recipes.staged import INDICATORS, RESTORES
from stkit.recipes.training import TrainingRecipe, init

if TYPE_CHECKING:
    from stkit.training.loop import Training
    from stkit.training.schedule import Epoch

KNOWN = {
    "once": [name if limits is None else f"{name}[-N]" for name, limits in PREPARATIONS.items()],
    "each step": [*AUGMENTATIONS, *MIXES, "dropout"],
    "bundles": BUNDLES,
    "by pilots": [AUTO],
}
"""What `--augment` knows, as the help shows it."""

PLACE = 70
ALL_RANKS = True


def register(app: typer.Typer) -> None:
    """Add the command to the app."""
    app.command(
        help="Train a model on SOURCE by a frame and write a checkpoint.\n\n\b\nFrames:\n"
        + "\n".join(f"  {name:<12} {frame.about}" for name, frame in FRAMES.items())
        + "\n\n\b\n--augment takes one or more, in any frame:\n"
        + "\n".join(f"  {kind:<12} {' '.join(names)}" for kind, names in KNOWN.items())
        + "\n\n\b\nExample:\n"
        "  stkit train sp.safetensors --frame st --test cifar10 -o st.safetensors"
    )(train)


def train(
    source: o.Source,
    out: o.Output,
    frame: Annotated[
        str, typer.Option("--frame", metavar="FRAME", help=f"One of {', '.join(FRAMES)}.")
    ],
    model: Annotated[
        str,
        typer.Option(
            "--model", metavar="MODEL", help=f"{', '.join(MODELS)}, or any of timm's: {TIMM}NAME."
        ),
    ] = "resnet18",
    pretrained: Annotated[
        bool,
        typer.Option("--pretrained", help="Start from timm's weights, in its cache or downloaded."),
    ] = False,
    init_from: o.InitFrom = None,
    init_layers: o.InitLayers = None,
    freeze: o.Freeze = False,
    test: Annotated[
        str | None,
        typer.Option(metavar="SOURCE", help="Measure accuracy on its test split every epoch."),
    ] = None,
    epochs: Annotated[int | None, typer.Option(help=OPTIONS["epochs"].help)] = None,
    batch_size: Annotated[int, typer.Option(help="Images a step.")] = 128,
    lr: Annotated[float | None, typer.Option(help=OPTIONS["lr"].help)] = None,
    fine_tune_epochs: Annotated[
        int | None, typer.Option(help=OPTIONS["fine_tune_epochs"].help)
    ] = None,
    fine_tune_lr: Annotated[float | None, typer.Option(help=OPTIONS["fine_tune_lr"].help)] = None,
    indicator: Annotated[
        str | None,
        typer.Option(metavar="|".join(INDICATORS), help=OPTIONS["indicator"].help),
    ] = None,
    gamma: Annotated[
        float | None,
        typer.Option(help=OPTIONS["gamma"].help),
    ] = None,
    beta: Annotated[
        float | None, typer.Option(parser=o.fraction, help=OPTIONS["beta"].help)
    ] = None,
    acm_variant: Annotated[
        str | None,
        typer.Option(metavar="|".join(VARIANTS), help=OPTIONS["variant"].help),
    ] = None,
    acm_layer: Annotated[
        Any, typer.Option(parser=layer, metavar="LAYER", help=OPTIONS["layer"].help)
    ] = None,
    check_every: Annotated[
        str | None,
        typer.Option(metavar="epoch|STEPS", help=OPTIONS["check_every"].help),
    ] = None,
    restore: Annotated[
        str | None,
        typer.Option(
            metavar="|".join(RESTORES),
            help=OPTIONS["restore"].help,
        ),
    ] = None,
    gate: Annotated[bool, typer.Option("--gate", help=OPTIONS["gate"].help)] = False,
    adversary: Annotated[
        float | None,
        typer.Option(parser=o.budget, help=OPTIONS["adversary"].help),
    ] = None,
    augment: Annotated[
        str | None,
        typer.Option(metavar="NAME,...", help=OPTIONS["augment"].help),
    ] = None,
    jitter: Annotated[
        Any,
        typer.Option(parser=o.strengths, metavar="X|B,C,S,H", help=OPTIONS["jitter"].help),
    ] = None,
    weight_decay: Annotated[float | None, typer.Option(help=OPTIONS["weight_decay"].help)] = None,
    holdout: Annotated[int, typer.Option(help="Training images kept out for validation.")] = 0,
    purified: Annotated[
        bool,
        typer.Option(
            "--purified",
            help="Measure the held-out images washed, too: what a shortcut does not survive.",
        ),
    ] = False,
    mean: Annotated[
        Any,
        typer.Option(
            parser=o.triple,
            metavar="R,G,B",
            help="Subtracted in the model.  [default: 0; a timm model's own]",
        ),
    ] = None,
    std: Annotated[
        Any,
        typer.Option(
            parser=o.triple,
            metavar="R,G,B",
            help="Divided by in the model.  [default: 1; a timm model's own]",
        ),
    ] = None,
    keep: Annotated[
        Any,
        typer.Option(
            parser=keeping.spans,
            metavar="EPOCHS",
            help="Also write the weights of these epochs, beside FILE: 1,3,10-20.",
        ),
    ] = None,
    record: Annotated[
        str | None,
        typer.Option(
            metavar="acm,gradients[:LAYER,...]",
            help="Measure at each epoch's end; layers by number or name.  "
            f"[default layers: {', '.join(f'{k} {v}' for k, v in MEASURED.items())}]",
        ),
    ] = None,
    log_dir: o.LogDir = None,
    seed: o.Seed = 0,
    split: o.Split = None,
    data_root: o.DataRoot = None,
    device: o.Device = "auto",
    precision: o.Precision = "auto",
    step: o.Step = "auto",
    sync_bn: o.SyncBn = False,
    threads: o.Threads = None,
    deterministic: o.Deterministic = False,
    dry_run: o.DryRun = False,
    resume: o.Resume = False,
    force: o.Force = False,
    json: o.Json = False,
    quiet: o.Quiet = False,
) -> None:
    """Train by a frame, or go on with it, and say what came out."""
    chosen = frame_with(
        frame, epochs=epochs, lr=lr, fine_tune_epochs=fine_tune_epochs, fine_tune_lr=fine_tune_lr,
        indicator=indicator, gamma=gamma, beta=beta, variant=acm_variant, layer=acm_layer,
        check_every=interval(check_every), adversary=adversary, augment=augment,
        weight_decay=weight_decay, jitter=jitter, restore=restore, gate=gate,
    )  # fmt: skip
    model_name(model)
    events.check(log_dir, resume=resume, force=force)
    from stkit.training.loop import Training

    runtime = o.runtime(
        device, precision, step=step, sync_bn=sync_bn, threads=threads,
        deterministic=deterministic, begun=claims.begun(out, resume=resume, force=force),
    )  # fmt: skip
    recipe = TrainingRecipe(
        chosen, model, batch_size, seed, holdout, pretrained, mean, std, record=record,
        init=init(init_from, init_layers, freeze), purified=purified,
    )  # fmt: skip
    runtime.agree(recipe, recipe.frame.name, resume, keep)
    with (
        nullcontext() if dry_run else claims.held(out, force=force, resume=resume, runtime=runtime)
    ):
        images = o.open_source(source, split, data_root, runtime=runtime)
        tested = None
        if test is not None:
            tested = o.open_source(test, None, data_root, default_split="test", runtime=runtime)
        given = o.open_donor(init_from, runtime)
        training = Training(
            images, recipe, runtime=runtime, test=tested, donor=given,
            on_chosen=lambda chosen: None if quiet else output.note(f"auto: {chosen.told()}"),
        )  # fmt: skip
        kept = keeping.Kept(keeping.files(out, keep or (), training.plan.epochs), force)
        if dry_run:
            output.result(telling.plan(training, out, kept), as_json=json, quiet=quiet, brief=out)
            return
        if tested is not None and not quiet:
            o.warn_of_training_images(tested, str(test))
        if not quiet:
            telling.note_left_out(training)
            telling.explain_tau(training)
        with keeping.held(kept.paths, force=force, resume=resume, runtime=runtime):
            came_out = _run(training, out, kept, log_dir, resume=resume, force=force, quiet=quiet)
    output.result(came_out, as_json=json, quiet=quiet, brief=out)


def _run(
    training: "Training",
    out: Path,
    kept: keeping.Kept,
    log_dir: Path | None,
    *,
    resume: bool,
    force: bool,
    quiet: bool,
) -> dict[str, Any]:
    """Train to the end, unless that was done before; what came out, and what it took."""
    runtime = training.runtime
    if resume:
        expected = training.head()
        done = claims.finished(out, "checkpoint", expected, runtime, force=force)
        if done is None:
            saving.take_up(training, out, "checkpoint")
        past = len(training.epochs if done is None else done["records"])
        kept.resumed(expected, past, runtime)
        if done is not None:
            timeless = {"seconds": None, "images_per_second": None}
            return telling.summary(done, out) | kept.came_out(past) | timeless
    first, start = training.executed, perf_counter()

    with events.logged(log_dir if runtime.first else None, past=len(training.epochs)) as log:

        def took(record: "Epoch") -> None:
            kept.take(training, record)
            log(record)

        saving.run(
            training, out, lambda: training.save, label=training.recipe.frame.name,
            line=None if quiet else lambda record: telling.line(record, training), force=force,
            on_record=took,
        )  # fmt: skip
    seconds = perf_counter() - start
    steps = training.executed - first
    speed = steps * training.plan.batch_size / seconds if steps else None
    return telling.summary(training.head(), out) | kept.came_out(len(training.epochs)) | {
        "seconds": seconds, "images_per_second": speed, "peak_memory": runtime.peak_memory(),
        "device": runtime.machine,
    }  # fmt: skip


def interval(check_every: str | None) -> int | Literal["epoch"] | None:
    """What `--check-every` says: a number of steps, or once an epoch; None: as the frame does."""
    if check_every is None:
        return None
    if check_every == "epoch":
        return "epoch"
    digits = check_every.isascii() and check_every.isdigit() and len(check_every) <= DIGITS
    if not digits or int(check_every) < 1:
        raise typer.BadParameter(
            f"--check-every is {check_every!r}, expected `epoch` or a number of steps"
        )
    return int(check_every)
