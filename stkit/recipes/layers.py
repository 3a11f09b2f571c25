"""Layers of a model, and what is measured of them, as a command line names them. No torch.

A layer is a module's NAME, a NUMBER of `models.layers`, counted from 1 at the input, or
`penultimate`, the input of the classifier. `--record` takes what is to be measured, each with its
layers: `acm,gradients:1,layer2.0` is ACM of the penultimate layer and the gradients of two.
"""

from dataclasses import dataclass

from stkit.core.checks import nearest
from stkit.core.errors import RecipeError
from stkit.core.files import DIGITS

PENULTIMATE = "penultimate"
MEASURED = {"acm": PENULTIMATE, "gradients": "1"}
"""What may be recorded -> of which layer where none is named; 1 is the paper's shallow layer."""


def layer(text: str) -> str | int | None:
    """A layer as `models.features` takes it; whole numbers count layers."""
    if text == PENULTIMATE:
        return None
    return int(text) if text.isascii() and text.isdigit() and len(text) <= DIGITS else text


@dataclass(frozen=True)
class Record:
    """The layers of which ACM, and the mean absolute gradient, are measured at an epoch's end."""

    acm: tuple[str, ...] = ()
    gradients: tuple[str, ...] = ()

    @property
    def text(self) -> str:
        """As `--record` takes it, with every layer named."""
        named = {"acm": self.acm, "gradients": self.gradients}
        return ",".join(f"{what}:{','.join(layers)}" for what, layers in named.items() if layers)


def record(text: str) -> Record:
    """What `--record` asks for: THING[:LAYER,...],... of `MEASURED`; a layer follows its thing.

    RecipeError: an unknown thing, with the nearest; none, or a layer without a name; gradients of
    `penultimate`, which is no layer with parameters.
    """
    layers: dict[str, dict[str, None]] = {}
    last = ""  # the thing whose layers follow
    for word in (word.strip() for word in text.split(",")):
        what, colon, first = (each.strip() for each in word.partition(":"))
        if what in MEASURED:
            layers.setdefault(what, {})[first if colon else MEASURED[what]] = None
            last = what if colon else ""
        elif last:
            layers[last][word] = None
        else:
            raise RecipeError(nearest("thing to record", word, MEASURED))
    if any("" in named for named in layers.values()):
        raise RecipeError(f"record is {text!r}, expected a layer after each colon and comma")
    if PENULTIMATE in layers.get("gradients", {}):
        raise RecipeError(
            f"record is {text!r}, but {PENULTIMATE} has no parameters to have gradients; pass a "
            "number, counted from 1 at the input, or a module's name"
        )
    return Record(*(tuple(layers.get(what, {})) for what in MEASURED))
