"""The options of `stkit train`, in the sections of its help."""

from typing import Annotated, Any, Literal

import typer

from stkit.cli import keeping, numbers
from stkit.cli.usage import DATA, FRAME, OUTPUT, STAGED
from stkit.core.files import DIGITS
from stkit.recipes.acm import VARIANTS
from stkit.recipes.catalogue import MODELS, TIMM
from stkit.recipes.layers import MEASURED, layer
from stkit.recipes.options import OPTIONS
from stkit.recipes.staged import INDICATORS, RESTORES

# Data

Test = Annotated[
    str | None,
    typer.Option(
        metavar="SOURCE", help="Measure accuracy on its test split every epoch.",
        rich_help_panel=DATA,
    ),
]  # fmt: skip
Holdout = Annotated[
    int,
    typer.Option(
        parser=numbers.whole, help="Training images kept out for validation.", rich_help_panel=DATA
    ),
]
Mean = Annotated[
    Any,
    typer.Option(
        parser=numbers.triple, metavar="R,G,B", rich_help_panel=DATA,
        help="Subtracted in the model.  [default: 0; a timm model's own]",
    ),
]  # fmt: skip
Std = Annotated[
    Any,
    typer.Option(
        parser=numbers.triple, metavar="R,G,B", rich_help_panel=DATA,
        help="Divided by in the model.  [default: 1; a timm model's own]",
    ),
]  # fmt: skip

# Frame and model

Frame = Annotated[
    str,
    typer.Option("--frame", metavar="FRAME", help="One of the list above.", rich_help_panel=FRAME),
]
Model = Annotated[
    str,
    typer.Option(
        "--model", metavar="MODEL", rich_help_panel=FRAME,
        help=f"{', '.join(MODELS)}, or any of timm's: {TIMM}NAME.",
    ),
]  # fmt: skip
Pretrained = Annotated[
    bool,
    typer.Option(
        "--pretrained", help="Start from timm's weights, in its cache or downloaded.",
        rich_help_panel=FRAME,
    ),
]  # fmt: skip
Epochs = Annotated[
    int | None,
    typer.Option(parser=numbers.whole, help=OPTIONS["epochs"].help, rich_help_panel=FRAME),
]
BatchSize = Annotated[
    int, typer.Option(parser=numbers.whole, help="Images a step.", rich_help_panel=FRAME)
]
Lr = Annotated[
    float | None, typer.Option(parser=numbers.real, help=OPTIONS["lr"].help, rich_help_panel=FRAME)
]
WeightDecay = Annotated[
    float | None,
    typer.Option(parser=numbers.real, help=OPTIONS["weight_decay"].help, rich_help_panel=FRAME),
]
Adversary = Annotated[
    float | None,
    typer.Option(parser=numbers.budget, help=OPTIONS["adversary"].help, rich_help_panel=FRAME),
]
Augment = Annotated[
    str | None,
    typer.Option(metavar="NAME,...", help=OPTIONS["augment"].help, rich_help_panel=FRAME),
]
Jitter = Annotated[
    Any,
    typer.Option(
        parser=numbers.strengths, metavar="X|B,C,S,H", help=OPTIONS["jitter"].help,
        rich_help_panel=FRAME,
    ),
]  # fmt: skip
FineTuneEpochs = Annotated[
    int | None,
    typer.Option(
        parser=numbers.whole, help=OPTIONS["fine_tune_epochs"].help, rich_help_panel=FRAME
    ),
]
FineTuneLr = Annotated[
    float | None,
    typer.Option(parser=numbers.real, help=OPTIONS["fine_tune_lr"].help, rich_help_panel=FRAME),
]

# Staged training

Indicator = Annotated[
    str | None,
    typer.Option(
        metavar="|".join(INDICATORS), help=OPTIONS["indicator"].help, rich_help_panel=STAGED
    ),
]
Gamma = Annotated[
    float | None,
    typer.Option(parser=numbers.real, help=OPTIONS["gamma"].help, rich_help_panel=STAGED),
]
Beta = Annotated[
    float | None,
    typer.Option(parser=numbers.fraction, help=OPTIONS["beta"].help, rich_help_panel=STAGED),
]
AcmVariant = Annotated[
    str | None,
    typer.Option(metavar="|".join(VARIANTS), help=OPTIONS["variant"].help, rich_help_panel=STAGED),
]
AcmLayer = Annotated[
    Any,
    typer.Option(parser=layer, metavar="LAYER", help=OPTIONS["layer"].help, rich_help_panel=STAGED),
]
CheckEvery = Annotated[
    str | None,
    typer.Option(metavar="epoch|STEPS", help=OPTIONS["check_every"].help, rich_help_panel=STAGED),
]
Restore = Annotated[
    str | None,
    typer.Option(metavar="|".join(RESTORES), help=OPTIONS["restore"].help, rich_help_panel=STAGED),
]
Gate = Annotated[bool, typer.Option("--gate", help=OPTIONS["gate"].help, rich_help_panel=STAGED)]

# Output

Keep = Annotated[
    Any,
    typer.Option(
        parser=keeping.spans, metavar="EPOCHS", rich_help_panel=OUTPUT,
        help="Also write the weights of these epochs, beside FILE: 1,3,10-20.",
    ),
]  # fmt: skip
Record = Annotated[
    str | None,
    typer.Option(
        metavar="acm,gradients[:LAYER,...]", rich_help_panel=OUTPUT,
        help="Measure at each epoch's end; layers by number or name.  "
        f"[default layers: {', '.join(f'{k} {v}' for k, v in MEASURED.items())}]",
    ),
]  # fmt: skip
Purified = Annotated[
    bool,
    typer.Option(
        "--purified", rich_help_panel=OUTPUT,
        help="Measure the held-out images washed, too: what a shortcut does not survive.",
    ),
]  # fmt: skip


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
