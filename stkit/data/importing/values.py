"""The values between a layout and the rest. Without torch and NumPy, for the command line."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from stkit.core.checks import choose, number
from stkit.core.errors import RecipeError
from stkit.recipes.settings import ROUNDINGS, budget

if TYPE_CHECKING:
    from torch import Tensor

    from stkit.data.images import Images


LOADER = "loader"  # the arithmetic of the authors' loader, see `loaders`
CLEAN = "clean"  # what reports call images without a poison
ORDERS = ("rows", "index")
NAME = 60  # characters of a poison's name at most


@dataclass(frozen=True)
class Options:
    """The user's word on a file; None lets the file speak for itself.

    rounding: floor or nearest, of noise as if it were exact, or LOADER.
    epsilon: in [0,1]; the noise may be no larger (SP: the root mean square of an image's noise);
    without one a cap is put on what is plausible. labels: the `.npy` file with the labels of SP
    noise or NTGA images. index: the `.npy` file with the positions of the images that an array is
    for, where it is for some only. order: what arrays of one's own, and these positions, count:
    `rows` of the clean set, or its `index`, by which a part of a set has places in the whole, and
    a folder its names in sorted order. name: what the poison is called; by
    default as its file. seed: of the draw among several noises a class.
    """

    scope: str | None = None
    sign: str | None = None
    rounding: str | None = None
    epsilon: float | None = None
    labels: Path | None = None
    index: Path | None = None
    order: str = "index"
    name: str | None = None
    seed: int = 0

    def __post_init__(self) -> None:
        for name, value, known in (
            ("scope", self.scope, ("sample", "class")),
            ("sign", self.sign, ("both", "positive")),
            ("order", self.order, ORDERS),
            ("rounding", self.rounding, (*ROUNDINGS, LOADER)),
        ):
            if value is not None:
                choose(name, value, known)
        if self.epsilon is not None:
            budget(self.epsilon)
        if self.name is not None:
            called(self.name)
        number("seed", self.seed, 0, 2**32 - 1)


def called(name: str) -> str:
    """A poison's name as it is. RecipeError for one that reports could not show, or that says
    something else there."""
    if not name.strip() or len(name) > NAME or not name.isprintable() or name == CLEAN:
        expected = f"expected 1 to {NAME} characters that can be printed, and not {CLEAN!r}"
        raise RecipeError(f"the name is {name!r}, {expected}, as reports call it; pass --name NAME")
    return name


@dataclass(frozen=True)
class Reading:
    """Poisoned images uint8 [n,3,H,W], read from a file, and what goes into their header.

    content: the file's content in words. scope, sign, rounding: as they were taken, None where the
    layout has no such thing. rows int64 [n]: of the clean set (None: all, in their order). rate:
    the share of images that the file is for, where that is recorded. notes: doubts, for people.
    """

    pixels: "Tensor"
    content: str
    scope: str | None = None
    sign: str | None = None
    rounding: str | None = None
    rows: "Tensor | None" = None
    rate: float | None = None
    notes: tuple[str, ...] = ()


def always(content: Any, options: Options) -> bool:
    """For `Layout.matches`: whatever is of this kind may be of this layout."""
    return True


def never(content: Any, options: Options) -> bool:
    """For `Layout.matches`: what no other layout takes is looked at by `own`."""
    return False


@dataclass(frozen=True)
class Layout:
    """A way in which noise or poisoned images lie in a file: one value a module of `layouts`.

    name: what --format calls it. place: where it stands in lists. kind: of file, as
    `foreign.kind_of` says; also: others it may lie in. about: for messages. holds: for the
    command's help; "" where a neighbour's says it too. read: what is in the file, the clean images
    and the options -> the poisoned images; DataError where they do not fit, RecipeError for what is
    ambiguous. options: the fields of `Options` that it takes. matches: whether `auto` may take the
    content for it; the layouts of a kind are asked from the last to the first, so a general one
    stands first.
    """

    name: str
    place: int
    kind: str
    about: str
    holds: str
    read: Callable[[Any, "Images", Options], Reading]
    options: tuple[str, ...] = ("epsilon",)
    matches: Callable[[Any, Options], bool] = always
    also: tuple[str, ...] = ()
