"""stkit train: run the loop, show each epoch, save on a clock and on a signal."""

from pathlib import Path
from time import perf_counter
from typing import TYPE_CHECKING, Annotated, Any

import typer

from stkit.cli import options as o
from stkit.cli import output, saving
from stkit.core.checks import as_dict
from stkit.recipes.carried import AUGMENTATIONS, BUNDLES, MIXES, PREPARATIONS
from stkit.recipes.catalogue import MODELS, TIMM, model_name
from stkit.recipes.frames import ABOUT, FRAMES, GAMMAS, RESTORES, called, frame_with

if TYPE_CHECKING:
    from stkit.training.loop import Training

PARTS = {
    "once": [name if limits is None else f"{name}[-N]" for name, limits in PREPARATIONS.items()],
    "each step": [*AUGMENTATIONS, *MIXES, "dropout"],
    "bundles": BUNDLES,
}
"""What `--augment` knows, as the help shows it."""

PLACE = 70


def register(app: typer.Typer) -> None:
    app.command(
        help="Train a model on SOURCE by a frame and write a checkpoint.\n\n\b\nFrames:\n"
        + "\n".join(f"  {name:<12} {ABOUT[name]}" for name in FRAMES)
        + "\n\n\b\n--augment takes one or more, in any frame:\n"
        + "\n".join(f"  {kind:<12} {' '.join(names)}" for kind, names in PARTS.items())
        + "\n\n\b\nExample:\n"
        "  stkit train sp.safetensors --frame st --test cifar10 -o st.safetensors"
    )(train)


def train(
    source: o.Source,
    out: o.Output,
    frame: Annotated[str, typer.Option(metavar="FRAME", help=f"One of {', '.join(FRAMES)}.")],
    model: Annotated[
        str,
        typer.Option(metavar="MODEL", help=f"{', '.join(MODELS)}, or any of timm's: {TIMM}NAME."),
    ] = "resnet18",
    pretrained: Annotated[
        bool,
        typer.Option("--pretrained", help="Start from timm's weights, in its cache or downloaded."),
    ] = False,
    test: Annotated[
        str | None,
        typer.Option(metavar="SOURCE", help="Measure accuracy on its test split every epoch."),
    ] = None,
    epochs: Annotated[
        int | None, typer.Option(help="[default: 60 at 32x32 up to 10 classes, else 100]")
    ] = None,
    batch_size: Annotated[int, typer.Option(help="Images a step.")] = 128,
    lr: Annotated[
        float | None, typer.Option(help="[default: the paper's: 0.1; 0.2 for st-cg, st-full]")
    ] = None,
    fine_tune_epochs: Annotated[
        int | None, typer.Option(help="st-full.  [default: as many as --epochs]")
    ] = None,
    fine_tune_lr: Annotated[float | None, typer.Option(help="st-full.  [default: 0.3]")] = None,
    gamma: Annotated[
        float | None,
        typer.Option(
            help="st*: roll back above this ACM.  [default: the variant's: "
            + ", ".join(f"{k} {v:g}" for k, v in GAMMAS.items())
            + "]"
        ),
    ] = None,  # fmt: skip
    beta: Annotated[
        float | None, typer.Option(parser=o.fraction, help="st*: 1/stages.  [default: 1/4]")
    ] = None,
    acm_variant: Annotated[
        str | None,
        typer.Option(metavar="|".join(GAMMAS), help="st*: which ACM.  [default: literal]"),
    ] = None,
    check_every: Annotated[
        str | None,
        typer.Option(metavar="epoch|STEPS", help="st*: when ACM is judged.  [default: epoch]"),
    ] = None,
    restore: Annotated[
        str | None,
        typer.Option(
            metavar="|".join(RESTORES),
            help="st*: momentum at a roll-back: as it was, as it is, zero.  [default: all]",
        ),
    ] = None,
    gate: Annotated[
        bool, typer.Option("--gate", help="st-full: ACM is judged in the fine-tune too.")
    ] = False,
    adversary: Annotated[
        float | None,
        typer.Option(parser=o.budget, help="at: radius of the adversary.  [default: 4/255]"),
    ] = None,
    augment: Annotated[
        str | None,
        typer.Option(metavar="NAME,...", help="In place of the frame's own: see the list above."),
    ] = None,
    jitter: Annotated[
        float | None,
        typer.Option(help="Strength of the colour jitter.  [default: 1, which is SimCLR's]"),
    ] = None,
    weight_decay: Annotated[float | None, typer.Option(help="[default: 1e-4]")] = None,
    holdout: Annotated[int, typer.Option(help="Training images kept out for validation.")] = 0,
    mean: Annotated[
        Any,
        typer.Option(
            parser=o.triple,
            metavar="R,G,B",
            help="Subtracted in the model.  [default: 0; a timm model's own]",
        ),
    ] = None,  # fmt: skip
    std: Annotated[
        Any,
        typer.Option(
            parser=o.triple,
            metavar="R,G,B",
            help="Divided by in the model.  [default: 1; a timm model's own]",
        ),
    ] = None,  # fmt: skip
    seed: o.Seed = 0,
    split: o.Split = None,
    data_root: o.DataRoot = None,
    device: o.Device = "auto",
    precision: o.Precision = "auto",
    step: o.Step = "auto",
    sync_bn: o.SyncBn = False,
    dry_run: o.DryRun = False,
    resume: o.Resume = False,
    force: o.Force = False,
    json: o.Json = False,
    quiet: o.Quiet = False,
) -> None:
    chosen = frame_with(
        frame, epochs=epochs, lr=lr, fine_tune_epochs=fine_tune_epochs, fine_tune_lr=fine_tune_lr,
        gamma=gamma, beta=beta, variant=acm_variant, check_every=_steps(check_every),
        adversary=adversary, augment=augment, weight_decay=weight_decay, jitter=jitter,
        restore=restore, gate=gate,
    )  # fmt: skip
    model_name(model)
    from stkit.engine.runtime import pick
    from stkit.recipes.training import Job
    from stkit.training.loop import Training

    runtime = pick(device, precision, step=step, sync_bn=sync_bn)
    name = called(frame, augment)
    job = Job(name, chosen, model, batch_size, seed, holdout, pretrained, mean, std)
    runtime.agree(job, resume)
    with runtime.together():
        if not dry_run:
            saving.clear(out, resume=resume, force=force)
    images = o.open_source(source, split, data_root, runtime=runtime)
    tested = None
    if test is not None:
        tested = o.open_source(test, None, data_root, default_split="test", runtime=runtime)
    training = Training(images, job, runtime=runtime, test=tested)
    if dry_run:
        output.result(_plan(training, out), as_json=json, quiet=quiet, brief=out)
        return
    if tested is not None and not quiet:
        o.warn_of_training_images(tested, str(test))
    if resume:
        saving.take_up(training, out, "checkpoint")
    first, start = training.executed, perf_counter()
    saving.run(
        training, out, lambda: training.save(out),
        label=frame, line=None if quiet else lambda record: _line(record, training),
    )  # fmt: skip
    seconds = perf_counter() - start
    steps = training.executed - first
    speed = steps * training.plan.batch_size / seconds if steps else None
    computing = {
        "seconds": seconds, "images_per_second": speed, "peak_memory": runtime.peak_memory(),
        "device": runtime.machine,
    }  # fmt: skip
    output.result(
        _summary(training, out) | computing,
        as_json=json, quiet=quiet, brief=out,
    )  # fmt: skip


def _steps(check_every: str | None) -> int | None:
    if check_every is None or check_every == "epoch":
        return None
    if not (check_every.isascii() and check_every.isdigit()) or int(check_every) < 1:
        raise typer.BadParameter(
            f"--check-every is {check_every!r}, expected `epoch` or a number of steps"
        )
    return int(check_every)


def _line(record: dict, training: "Training") -> str:
    """An epoch's record in one line."""
    parts = [
        f"epoch {record['epoch']}/{training.plan.epochs}",
        f"loss {record['loss']:.3f}",
        f"train {record['train_accuracy']:.4f}",
    ]
    for key, name in (("holdout_accuracy", "holdout"), ("accuracy", "test")):
        if key in record:
            parts.append(f"{name} {record[key]:.4f}")
    for check in record.get("checks", [])[-1:]:
        staged = training.plan.phases[record["phase"] - 1].staged
        assert staged is not None
        parts.append(f"ACM {check['acm'][staged.variant]:.2e}, tau {check['tau']}")
        if check["verdict"] != "keep":
            parts.append(check["verdict"])
    if "accuracy" in record.get("final", {}):
        parts.append(f"test after it {record['final']['accuracy']:.4f}")
    return "  ".join(parts)


def _summary(training: "Training", out: Path) -> dict:
    from stkit.report.result import summary

    return {"output": str(out)} | summary(training.head())


def _plan(training: "Training", out: Path) -> dict:
    weights = sum(v.nbytes for v in training.tensors().values())
    return {
        "output": str(out), "frame": training.job.name, "model": training.job.model,
        "phases": [as_dict(phase) for phase in training.plan.phases],
        "n": len(training.plan.train_rows), "batch_size": training.plan.batch_size,
        "epochs": training.plan.epochs, "steps": training.plan.steps,
        "layers": len(training.layers), "device": str(training.runtime.device),
        "precision": training.runtime.precision,
        "memory_bytes": training.images.pixels.nbytes + 2 * weights,
        "disk_bytes": weights,
    }  # fmt: skip
