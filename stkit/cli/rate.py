"""stkit rate: a poison at a lower rate."""

from pathlib import Path
from time import perf_counter
from typing import TYPE_CHECKING, Annotated, Any

import typer

from stkit.cli import options as o
from stkit.cli.poison import Request, say
from stkit.core.checks import number
from stkit.recipes.catalogue import MODELS, TIMM

if TYPE_CHECKING:
    pass

Rate = Annotated[
    float, typer.Option("--poison-rate", help="The share of images that get noise, 0 to 1.")
]
FIELDS: dict[str, tuple[Any, str | dict[str, str], str | None]] = {
    "epsilon": (o.budget, "Per-pixel budget.", None),
    "bound": (str, "The ball of epsilon; l2 has radius epsilon * sqrt(3HW).", "l2|linf"),
    "patch": (int, "Side of a patch in pixels; 8 at 32 px, 32 at 224 px.", None),
    "rounding": (str, "How noise becomes grey levels, once.", "floor|nearest"),
    "objective": (str, "The authors' code, or their paper's Eq. 2.", "code|paper"),
    "pixels": (int, "Pixels an image.", None),
    "scope": (str, "One noise an image, or one a class.", "sample|class"),
    "step_size": (
        o.budget,
        {"em": "Size of a step of the noise; epsilon / 10.",
         "rem": "Size of a step of the noise; 1.6/255, at 224 px 2/255."}, None,
    ),
    "steps": (
        int, {"em": "Steps of the noise; 20, class-wise 1.",
              "rem": "Steps of the noise; 10, at 224 px 7."}, None,
    ),
    "model_steps": (
        int, {"em": "SGD steps of the surrogate a round; 10, CIFAR-100 20, 224 px 100.",
              "rem": "SGD steps of the surrogate; 5000, at 224 px 3000."}, None,
    ),
    "batch_size": (
        int, {"em": "Images a batch; 512, at 224 px 32.", "rem": "Images a batch; 128."}, None,
    ),
    "stop_error": (o.fraction, "The error that ends it; 0.01, at 224 px 0.1.", None),
    "max_rounds": (int, "Rounds at most; the best one is kept.", None),
    "sign": (str, "positive drops the negative half, as the authors' loader.", "both|positive"),
    "clip": (float, "Largest L2 norm of the surrogate's gradient.", None),
    "eot": (int, "Draws of the augmentation a step; 5, at 224 px 4.", None),
    "adversary": (o.budget, "Radius of the inner attack.", None),
    "adversary_step_size": (o.budget, "Its step; 0.8/255, at 224 px 1/255.", None),
    "adversary_steps": (int, "Its steps; 10, at 224 px 7.", None),
    "lr_decay_every": (int, "Steps after which lr falls to a tenth; 2000, 224 px 1200.", None),
    "augment": (str, "cg: jitter and grey in the draws as well (REM-T).", "plain|cg"),
    "fast": (bool, "A short cut with fewer draws and steps: weaker noise, labelled so.", None),
    "model": (str, f"The surrogate: {', '.join(MODELS)}, or {TIMM}NAME.", "MODEL"),
    "lr": (float, "The surrogate's learning rate.", None),
    "momentum": (float, "The surrogate's momentum.", None),
    "weight_decay": (
        float, {"em": "The surrogate's; 5e-4, CIFAR-100 and 224 px 5e-5.",
                "rem": "The surrogate's."}, None,
    ),
}  # fmt: skip
"""Field -> type, help (by method where it differs), what stands for its value in the help."""

PLACE = 40


def register(app: typer.Typer) -> None:
    app.command()(rate)


def rate(
    file: Annotated[
        Path, typer.Argument(metavar="FILE", help="A data set that stkit poison has made.")
    ],
    clean: Annotated[
        str, typer.Option(metavar="SOURCE", help="The clean images that it was made from.")
    ],
    poison_rate: Rate,
    out: o.Output,
    split: o.Split = None,
    data_root: o.DataRoot = None,
    force: o.Force = False,
    json: o.Json = False,
    quiet: o.Quiet = False,
) -> None:
    """Publish a poison at a lower rate: its noise on fewer images, the others as they were.

    The file is what `stkit poison` would write for that rate, which need not make the noise again.

    \b
    Example:
      stkit rate em.safetensors --clean cifar10 --poison-rate 0.2 -o em-20.safetensors
    """
    number("poison-rate", poison_rate, 0, 1)
    from stkit import poisons
    from stkit.core import artifact
    from stkit.data.images import read

    artifact.free(out, force=force)
    made = read(file)
    original = o.open_source(clean, split, data_root, default_split=made.header["split"])
    start = perf_counter()
    found = poisons.at_rate(made, original, poison_rate)
    seconds = perf_counter() - start
    found.save(out)
    statistics, method = found.header["statistics"], found.header["method"]
    asked = Request(clean, out, 0, poison_rate, split, data_root, False, force, json, quiet)
    say(method, statistics, seconds, asked, len(found))
