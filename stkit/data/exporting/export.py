"""`export`: a data set written for other people's code."""

from pathlib import Path

from stkit.core import atomic
from stkit.core.checks import choose
from stkit.core.errors import RecipeError
from stkit.data.exporting.formats import FORMATS
from stkit.data.exporting.values import Exported, Progress
from stkit.data.images import Images


def export(
    images: Images,
    path: Path,
    *,
    format: str,
    clean: Images | None = None,
    force: bool = False,
    progress: Progress = lambda done, total: None,
) -> Exported:
    """Write a file or folder that other people's code reads; returns what was written.

    format: a name of `FORMATS`. clean: for em and rem, which hold the noise. Folders must be new,
    files too unless `force`. Errors: RecipeError for a clean set that is missing or not needed,
    DataError for what a format cannot hold, ArtifactError for what is in the way. All or nothing.
    """
    check(format, clean is not None)
    chosen = FORMATS[format]
    if chosen.tree:
        with atomic.whole_folder(path) as root:
            return chosen.write(images, clean, root, progress)
    atomic.free(path, force=force)
    with atomic.whole_file(path, replace=force) as file:
        return chosen.write(images, clean, file, progress)


def check(format: str, clean: bool) -> None:
    """RecipeError for an unknown format, and for one that a clean set is missing or not needed for;
    clean: whether one is given."""
    chosen = FORMATS[choose("format", format, FORMATS)]
    if chosen.noise and not clean:
        raise RecipeError(f"format {format} holds the noise, not the images; pass --clean SOURCE")
    if clean and not chosen.noise:
        raise RecipeError(f"option clean does not belong to format {format}; leave it out")
