"""stkit check: does a protection work?"""

from dataclasses import asdict, fields
from time import perf_counter
from typing import TYPE_CHECKING, Annotated, Any

import typer

from stkit.cli import early, output, usage
from stkit.cli import options as o
from stkit.cli import train_options as t
from stkit.cli.numbers import whole
from stkit.core.errors import RecipeError
from stkit.recipes.check import AGAINST, SIDE, Trial, against
from stkit.recipes.probe import PLAIN

if TYPE_CHECKING:
    from stkit.training.checked import Checked

PLACE = 24
USUAL = Trial()
HELP = {each.name: each.metadata["setting"].help for each in fields(Trial) if each.metadata}
TRIED = " ".join(AGAINST)


def register(app: typer.Typer) -> None:
    """Add the command to the app."""
    app.command()(check)


def check(
    source: Annotated[
        str, typer.Argument(metavar="PUBLISHED", help=f"The images as published: {o.SOURCE}.")
    ],
    clean: Annotated[
        str | None,
        typer.Option(
            metavar="SOURCE", help="The originals. Always needed.", rich_help_panel=usage.DATA
        ),
    ] = None,
    size: Annotated[
        int | None,
        typer.Option(
            parser=whole,
            rich_help_panel=usage.DATA,
            help=f"Side of what both are reduced to.  [default: at most {SIDE}]",
        ),
    ] = None,
    images: Annotated[
        int | None,
        typer.Option(parser=whole, help=HELP["images"], rich_help_panel=usage.DATA),
    ] = USUAL.images,
    split: o.Split = None,
    data_root: o.DataRoot = None,
    augment: Annotated[
        list[str] | None,
        typer.Option(
            metavar="NAME,...",
            rich_help_panel=usage.FRAME,
            help="Also train on the published images with these, named as train --augment does; "
            f"more than once. [default: {TRIED}]",
        ),
    ] = None,
    model: t.Model = USUAL.model,
    epochs: Annotated[
        int, typer.Option(parser=whole, help=HELP["epochs"], rich_help_panel=usage.FRAME)
    ] = USUAL.epochs,
    batch_size: Annotated[
        int, typer.Option(parser=whole, help=HELP["batch_size"], rich_help_panel=usage.FRAME)
    ] = USUAL.batch_size,
    seed: o.Seed = 0,
    device: o.Device = "auto",
    precision: o.Precision = "auto",
    threads: o.Threads = None,
    json: o.Json = False,
    quiet: o.Quiet = False,
) -> None:
    """Does a protection work? Published images and their originals, side by side.

    How large the change is and how visible, what simple classifiers read off it, and what a small
    net learns in a short training: on the clean images, on the published ones, and on these
    prepared as a trainer might. All are tested on clean images that none of them saw. It takes
    some minutes on two cores. The last line says what came out; with -q only what natural training
    loses is printed, 0.41 for 41 points.

    \b
    Example:
      stkit check sp.safetensors --clean cifar10
      stkit check protected/ --clean photos/ --size 64 --augment gray --augment ueraser
    """
    if clean is None:
        raise RecipeError(
            "found no --clean, expected the originals of the published images; pass --clean "
            "SOURCE, or ask stkit probe what a set gives away without them"
        )
    lists = against(AGAINST if augment is None else augment)
    trial = Trial(images, epochs, batch_size, model)
    early.look(sources=(source, clean))
    runtime = o.runtime(device, precision, threads=threads)
    from stkit.training.check import check as checked

    poisoned = o.open_source(source, split, data_root, size=size)
    original = o.open_source(
        clean, split, data_root, size=size, default_split=poisoned.header["split"]
    )
    start = perf_counter()
    with output.bar("checking") as progress:
        outcome = checked(
            poisoned, original, lists, trial=trial, size=size, seed=seed, runtime=runtime,
            on_progress=progress,
        )  # fmt: skip
    show(outcome, perf_counter() - start, as_json=json, quiet=quiet)


def show(outcome: "Checked", seconds: float, *, as_json: bool, quiet: bool) -> None:
    """What was looked at, three tables, and the verdict; of a quiet one the loss."""
    if as_json or quiet:
        made: dict[str, Any] = asdict(outcome) | {
            "loss": outcome.loss, "best": outcome.best, "given_back": outcome.given_back,
            "verdict": outcome.verdict, "seconds": seconds,
        }  # fmt: skip
        output.result(made, as_json=as_json, quiet=quiet, brief=output.text(outcome.loss))
        return
    output.result(_about(outcome), as_json=False, quiet=False)
    output.say("\n" + output.rows(_readings(outcome), "table"))
    output.say("\n" + output.rows(_trainings(outcome), "table"))
    output.say(
        f"\nOn {outcome.held_out:,} images a difference up to {100 * outcome.noise:.0f} points "
        "may be the noise of counting."
    )
    output.say(f"\n{outcome.verdict}")


def _about(outcome: "Checked") -> dict[str, Any]:
    """The images, the change and the trainings, a line each."""
    compared, trial, side = outcome.comparison, outcome.trial, outcome.size
    reduced = ", reduced: at their own size the change may do more" if outcome.reduced else ""
    return {
        "images": f"{outcome.images:,} of {outcome.classes} classes, {side}x{side}{reduced}",
        "changed": f"{compared.poisoned_share:.1%}"
        + (", alike within each class" if compared.class_wise else ""),
        "L-inf": f"{255 * compared.linf:.0f}/255 at most",
        "L2": f"{compared.l2_mean:.3g} on the average, on a scale of 0 to 1 a pixel",
        "PSNR": f"{compared.psnr:.1f} dB",
        "SSIM": f"{outcome.ssim:.3f} (1: the same)",
        "trainings": f"{trial.model}, {trial.epochs} epoch{'s' * (trial.epochs > 1)}, "
        f"{trial.batch_size} images a step, on {outcome.trained_on:,} images; "
        f"tested on {outcome.held_out:,} others, clean",
    }


def _readings(outcome: "Checked") -> list[dict[str, Any]]:
    """Of each preparation, what is read off the published images and off the clean ones."""
    pairs = zip(outcome.probed.readings, outcome.probed_clean.readings, strict=True)
    return [
        {
            "labels read after": one.prepared, "linear": one.linear,
            "convolution": one.convolution, "linear, clean": other.linear,
            "convolution, clean": other.convolution,
        }
        for one, other in pairs
    ]  # fmt: skip


def _trainings(outcome: "Checked") -> list[dict[str, Any]]:
    """A row for each training, and how far it is from what is learned of clean images."""
    told = [("published", PLAIN, outcome.poisoned)]
    told += [("published", name, value) for name, value in outcome.prepared.items()]
    first = {"trained on": "clean", "with": PLAIN, "accuracy": outcome.clean, "points": "-"}
    return [first] + [
        {
            "trained on": images, "with": name, "accuracy": value,
            "points": f"{100 * (value - outcome.clean):+.1f}",
        }
        for images, name, value in told
    ]  # fmt: skip
