"""What may be asked of a picture besides files; the options of `stkit plot` are made of it.

To add one: a field here, and its name in the `TAKES` of the kinds that use it.
"""

from collections.abc import Callable
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import TYPE_CHECKING

from stkit.core.errors import RecipeError
from stkit.recipes.acm import VARIANTS
from stkit.recipes.landscape import Plane
from stkit.recipes.layers import PENULTIMATE, layer
from stkit.recipes.settings import COUNT, Setting, check, setting

if TYPE_CHECKING:
    from stkit.measure.survey import Survey

Row = dict[str, str | int | float | None]
Rows = list[Row]
"""The numbers behind a picture, one row a point."""


def ignored(done: int, total: int) -> None:
    """What becomes of progress that nobody looks at."""


@dataclass(frozen=True)
class Asked:
    """What is asked; None: nothing is said of it. RecipeError for what is out of its limits.

    Nobody asks for the last two, `plots.draw` and who calls it say them. on_progress: called with
    (done, total) by kinds that work long. carry: takes every step of work that `resume` goes on
    with, and saves it; None: its steps are taken at one go.
    """

    source: str | None = setting(
        None, "The images that the model is shown; of tsne also several, with commas.",
        metavar="SOURCE",
    )  # fmt: skip
    split: str | None = setting(None, "The split of SOURCE to take.", choices=("train", "test"))
    data_root: Path | None = field(
        default=None,
        metadata={"setting": Setting("Where cifar10 and cifar100 are kept.", metavar="PATH")},
    )
    size: int | None = setting(None, "Pixels of the images' side.", limits=COUNT)
    limit: int | None = setting(None, "How many images, class-balanced.", limits=COUNT)
    per_class: int | None = setting(None, "Images a class.", limits=COUNT)
    layer: str | None = setting(
        None, f"A module's name, a number counted from 1 at the input, or {PENULTIMATE}.",
        metavar="LAYER[,LAYER...]",
    )  # fmt: skip
    variant: str | None = setting(None, "Which of the ACM variants.", choices=tuple(VARIANTS))
    model: str | None = setting(
        None, "A model's name, or a number of layers.", metavar="NAME|LAYERS"
    )
    beta: float | None = setting(None, "Of Eq. 7: 1 by a number of stages.", unit="fraction")
    points: int | None = setting(
        None, f"Along each of the two directions, odd.  [default: {Plane.points}]", limits=COUNT
    )
    span: float | None = setting(
        None, f"How far to go along each of them, either way.  [default: {Plane.span:g}]"
    )
    columns: int | None = setting(
        None, "How many columns of a paper's page it is wide, 1 or 2.", limits=(1, 2)
    )
    seed: int | None = setting(None, "The seed of every random draw.", limits=(0, 2**63 - 1))
    device: str | None = setting(None, "Where to compute.", metavar="auto|cpu|cuda|cuda:N|mps")
    threads: int | None = setting(None, "Of a CPU; they decide the last bits.", limits=COUNT)
    resume: bool | None = setting(None, "Go on from FILE.part where there is one.")
    on_progress: Callable[[int, int], None] = ignored
    carry: "Callable[[Survey], None] | None" = None

    def __post_init__(self) -> None:
        check(self)

    @property
    def layers(self) -> tuple[str | int | None, ...]:
        """The layers asked for, as `models.features` takes them; empty: none."""
        named = [] if self.layer is None else [name.strip() for name in self.layer.split(",")]
        if not all(named):
            raise RecipeError(f"layer is {self.layer!r}, expected names or numbers with commas")
        return tuple(map(layer, named))

    def given(self) -> list[str]:
        """The fields that something is said of; `data_root` may come from the environment."""
        options = [each.name for each in fields(self) if "setting" in each.metadata]
        return [name for name in options if name != "data_root" and getattr(self, name) is not None]


def option(name: str) -> str:
    """A field as the command line calls it."""
    return "--" + name.replace("_", "-")
