"""The values between a format and the rest. Without torch and NumPy, for the command line."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from stkit.data.images import Images

Progress = Callable[[int, int], None]  # done, total


@dataclass(frozen=True)
class Exported:
    """The number of images written, of noise its scope, class or sample; and what some reader will
    not read as it is."""

    n: int
    scope: str | None = None
    warning: str | None = None


@dataclass(frozen=True)
class Format:
    """A form in which other people's code reads a data set: one value a module of `formats`.

    name: what --format calls it. place: where it stands in lists. form: its files, for the
    command's help. write: the images, the clean ones (None, unless it holds noise), the open file
    or new folder, and progress; DataError for what it cannot hold. noise: whether it holds
    the noise, not the images. tree: whether it is a folder. names: of a tree's files.
    """

    name: str
    place: int
    form: str
    write: Callable[["Images", "Images | None", Any, Progress], Exported]
    noise: bool = False
    tree: bool = False
    names: str = ""
