"""stkit check: does a protection work?"""

from dataclasses import asdict
from time import perf_counter
from typing import TYPE_CHECKING, Annotated, Any

import typer

from stkit.cli import options as o
from stkit.cli import output
from stkit.core.errors import RecipeError
from stkit.recipes.check import AGAINST, SIDE, Trial, against
from stkit.recipes.probe import PLAIN
from stkit.recipes.settings import settings

if TYPE_CHECKING:
    from stkit.training.checked import Checked

PLACE = 24
USUAL = Trial()
HELP = {name: about.help for name, about in settings(Trial).items()}
TRIED = " ".join(AGAINST)


def register(app: typer.Typer) -> None:
    """Add the command to the app."""
    app.command()(check)


def check(
    source: Annotated[
        str, typer.Argument(metavar="PUBLISHED", help=f"The images as published: {o.SOURCE}.")
    ],
    clean: Annotated[
        str | None, typer.Option(metavar="SOURCE", help="The originals. Always needed.")
    ] = None,
    augment: Annotated[
        list[str] | None,
        typer.Option(
            metavar="LIST",
            help="Train on the published images with this too, named as train --augment does; more "
            f"than once. [default: {TRIED}]",
        ),
    ] = None,
    size: Annotated[
        int | None,
        typer.Option(help=f"Side of what both are reduced to.  [default: at most {SIDE}]"),
    ] = None,
    images: Annotated[int | None, typer.Option(help=HELP["images"])] = USUAL.images,
    epochs: Annotated[int, typer.Option(help=HELP["epochs"])] = USUAL.epochs,
    batch_size: Annotated[int, typer.Option(help=HELP["batch_size"])] = USUAL.batch_size,
    model: Annotated[str, typer.Option(help=HELP["model"])] = USUAL.model,
    seed: o.Seed = 0,
    split: o.Split = None,
    data_root: o.DataRoot = None,
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
    runtime = o.runtime(device, precision, threads=threads)
    from stkit.training.check import check as checked

    poisoned = o.open_source(source, split, data_root, size=size)
    original = o.open_source(
        clean, split, data_root, size=size, default_split=poisoned.header["split"]
    )
    start = perf_counter()
    with output.bar("checking") as progress:
        found = checked(
            poisoned, original, lists, trial=trial, size=size, seed=seed, runtime=runtime,
            on_progress=progress,
        )  # fmt: skip
    _show(found, perf_counter() - start, as_json=json, quiet=quiet)


def _show(found: "Checked", seconds: float, *, as_json: bool, quiet: bool) -> None:
    """What was looked at, three tables, and the verdict; of a quiet one the loss."""
    if as_json or quiet:
        made: dict[str, Any] = asdict(found) | {
            "loss": found.loss, "best": found.best, "given_back": found.given_back,
            "verdict": found.verdict, "seconds": seconds,
        }  # fmt: skip
        output.result(made, as_json=as_json, quiet=quiet, brief=output.text(found.loss))
        return
    output.result(_about(found), as_json=False, quiet=False)
    output.say("\n" + output.rows(_readings(found), "table"))
    output.say("\n" + output.rows(_trainings(found), "table"))
    output.say(f"\n{found.verdict}")


def _about(found: "Checked") -> dict[str, Any]:
    """The images, the change and the trainings, a line each."""
    compared, trial, side = found.comparison, found.trial, found.size
    reduced = ", reduced: at their own size the change may do more" if found.reduced else ""
    return {
        "images": f"{found.images:,} of {found.classes} classes, {side}x{side}{reduced}",
        "changed": f"{compared.poisoned_share:.1%}"
        + (", alike within each class" if compared.class_wise else ""),
        "L-inf": f"{255 * compared.linf:.0f}/255 at most",
        "L2": f"{compared.l2_mean:.3g} on the average, on a scale of 0 to 1 a pixel",
        "PSNR": f"{compared.psnr:.1f} dB",
        "SSIM": f"{found.ssim:.3f} (1: the same)",
        "trainings": f"{trial.model}, {trial.epochs} epochs, {trial.batch_size} images a step, on "
        f"{found.trained_on:,} images; tested on {found.held_out:,} others, clean",
    }


def _readings(found: "Checked") -> list[dict[str, Any]]:
    """Of each preparation, what is read off the published images and off the clean ones."""
    pairs = zip(found.probed.readings, found.probed_clean.readings, strict=True)
    return [
        {
            "labels read after": one.prepared, "linear": one.linear,
            "convolution": one.convolution, "linear, clean": other.linear,
            "convolution, clean": other.convolution,
        }
        for one, other in pairs
    ]  # fmt: skip


def _trainings(found: "Checked") -> list[dict[str, Any]]:
    """A row for each training."""
    told = [("clean", PLAIN, found.clean), ("published", PLAIN, found.poisoned)]
    told += [("published", name, value) for name, value in found.prepared.items()]
    return [
        {"trained on": images, "with": name, "accuracy": value, "points": _points(value, found)}
        for images, name, value in told
    ]


def _points(accuracy: float, found: "Checked") -> str:
    """How far it is from what is learned of clean images."""
    return "-" if accuracy == found.clean else f"{100 * (accuracy - found.clean):+.1f}"
