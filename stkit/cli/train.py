"""stkit train: run the loop, show each epoch, save on a clock and on a signal."""

from contextlib import nullcontext
from pathlib import Path
from shlex import quote
from time import perf_counter
from typing import TYPE_CHECKING, Any

import typer

from stkit.cli import claims, early, events, keeping, output, saving, telling
from stkit.cli import options as o
from stkit.cli import train_options as t
from stkit.core.errors import sized
from stkit.recipes.carried import AUGMENTATIONS, BUNDLES, MIXES, PREPARATIONS
from stkit.recipes.catalogue import model_name
from stkit.recipes.frames import FRAMES
from stkit.recipes.ladder import AUTO
from stkit.recipes.options import frame_with
from stkit.recipes.training import TrainingRecipe, init

if TYPE_CHECKING:
    from stkit.data.images import Images
    from stkit.engine.runtime import Runtime
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
        + "\n".join(f"  {name:<13} {frame.about}" for name, frame in FRAMES.items())
        + "\n\n\b\n--augment takes one or more, in any frame:\n"
        + "\n".join(f"  {kind:<13} {' '.join(names)}" for kind, names in KNOWN.items())
        + "\n\n\b\nExample:\n"
        "  stkit train sp.safetensors --frame st --test cifar10 -o st.safetensors"
    )(train)


def train(
    source: o.Source,
    out: o.Output,
    frame: t.Frame,
    test: t.Test = None,
    holdout: t.Holdout = TrainingRecipe.holdout,
    split: o.Split = None,
    data_root: o.DataRoot = None,
    mean: t.Mean = None,
    std: t.Std = None,
    model: t.Model = TrainingRecipe.model,
    epochs: t.Epochs = None,
    batch_size: t.BatchSize = TrainingRecipe.batch_size,
    lr: t.Lr = None,
    weight_decay: t.WeightDecay = None,
    augment: t.Augment = None,
    jitter: t.Jitter = None,
    adversary: t.Adversary = None,
    fine_tune_epochs: t.FineTuneEpochs = None,
    fine_tune_lr: t.FineTuneLr = None,
    pretrained: t.Pretrained = TrainingRecipe.pretrained,
    init_from: o.InitFrom = None,
    init_layers: o.InitLayers = None,
    freeze: o.Freeze = False,
    indicator: t.Indicator = None,
    gamma: t.Gamma = None,
    beta: t.Beta = None,
    acm_variant: t.AcmVariant = None,
    acm_layer: t.AcmLayer = None,
    check_every: t.CheckEvery = None,
    restore: t.Restore = None,
    gate: t.Gate = False,
    seed: o.Seed = TrainingRecipe.seed,
    device: o.Device = "auto",
    precision: o.Precision = "auto",
    step: o.Step = "auto",
    sync_bn: o.SyncBn = False,
    threads: o.Threads = None,
    deterministic: o.Deterministic = False,
    dry_run: o.DryRun = False,
    resume: o.Resume = False,
    keep: t.Keep = None,
    record: t.Record = None,
    purified: t.Purified = TrainingRecipe.purified,
    log_dir: t.LogDir = None,
    force: o.Force = False,
    json: o.Json = False,
    quiet: o.Quiet = False,
) -> None:
    """Train by a frame, or go on with it, and say what came out."""
    chosen = frame_with(
        frame, epochs=epochs, lr=lr, fine_tune_epochs=fine_tune_epochs, fine_tune_lr=fine_tune_lr,
        indicator=indicator, gamma=gamma, beta=beta, variant=acm_variant, layer=acm_layer,
        check_every=t.interval(check_every), adversary=adversary, augment=augment,
        weight_decay=weight_decay, jitter=jitter, restore=restore, gate=gate,
    )  # fmt: skip
    model_name(model)
    events.check(log_dir, resume=resume, force=force)
    recipe = TrainingRecipe(
        chosen, model, batch_size, seed, holdout, pretrained, mean, std, record=record,
        init=init(init_from, init_layers, freeze), purified=purified,
    )  # fmt: skip
    early.look(
        None if dry_run else out, force=force, resume=resume, sources=(source, test),
        checkpoints=(init_from,),
    )  # fmt: skip
    from stkit.training.loop import Training

    runtime = o.runtime(
        device, precision, step=step, sync_bn=sync_bn, threads=threads,
        deterministic=deterministic, begun=claims.begun(out, resume=resume, force=force),
    )  # fmt: skip
    runtime.agree(recipe, recipe.frame.name, resume, keep)
    with (
        nullcontext() if dry_run else claims.held(out, force=force, resume=resume, runtime=runtime)
    ):
        images, tested = _opened(source, split, test, data_root, runtime)
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
            telling.explain(training)
        with keeping.held(kept.paths, force=force, resume=resume, runtime=runtime):
            came_out = _run(training, out, kept, log_dir, resume=resume, force=force, quiet=quiet)
    output.result(came_out, as_json=json, quiet=quiet, brief=out)


def _opened(
    source: str, split: str | None, test: str | None, data_root: Path | None, runtime: "Runtime"
) -> "tuple[Images, Images | None]":
    """What to train on, and to test on if that is asked for."""
    images = o.open_source(source, split, data_root, runtime=runtime)
    if test is None:
        return images, None
    with sized(f"{quote(test)} --split test", images.size):
        tested = o.open_source(test, None, data_root, default_split="test", runtime=runtime)
    return images, tested


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
    first, start, beginning = training.executed, perf_counter(), telling.Beginning(training)

    def line(record: "Epoch") -> str:
        beginning.look(epoch_is_over=True)
        return telling.line(record, training)

    with events.logged(log_dir if runtime.first else None, past=len(training.epochs)) as log:

        def took(record: "Epoch") -> None:
            kept.take(training, record)
            log(record)

        saving.run(
            training, out, lambda: training.save, label=training.recipe.frame.name,
            line=None if quiet else line, force=force,
            on_step=None if quiet else beginning.look, on_record=took,
        )  # fmt: skip
    seconds = perf_counter() - start
    if not quiet:
        telling.explain_acm(training)
    steps = training.executed - first
    speed = steps * training.plan.batch_size / seconds if steps else None
    return telling.summary(training.head(), out) | kept.came_out(len(training.epochs)) | {
        "seconds": seconds, "images_per_second": speed, "peak_memory": runtime.peak_memory(),
        "device": runtime.machine,
    }  # fmt: skip
