"""Writing a data set for others to read: a tree of images, or the layouts of EM, REM and others.

Rows are in the order of `index`, the order that other people's loaders know. What `stkit import`
reads back are the same published images, from every format.
"""

from collections.abc import Callable
from pathlib import Path

from stkit.core import artifact
from stkit.core.checks import choose
from stkit.core.errors import RecipeError
from stkit.data.exporting import files, folders
from stkit.data.exporting.folders import Progress, file_names, folder
from stkit.data.images import Images

__all__ = ["check", "export", "file_names", "folder"]

FOLDERS = {"folder": folder, "png": folders.png}
NOISE: dict[str, Callable[[Images, Path, Images], str]] = {"em": files.em, "rem": files.rem}
FORMATS = ("folder", "em", "rem", "png", "npz")


def export(
    images: Images,
    path: Path,
    *,
    format: str,
    clean: Images | None = None,
    force: bool = False,
    progress: Progress = lambda done, total: None,
) -> dict[str, int | str]:
    """Write a file or folder that other people's code reads; returns what was written.

    clean: for em and rem, which hold the noise. Folders must be new, files too unless `force`.
    Errors: RecipeError for a clean set that is missing or not needed, DataError for what a format
    cannot hold, ArtifactError for what is in the way. All or nothing.
    """
    check(format, path, clean is not None, force=force)
    found: dict[str, int | str] = {"n": len(images)}
    if clean is not None:
        found["scope"] = NOISE[format](images, path, clean)
    elif format in FOLDERS:
        FOLDERS[format](images, path, progress=progress)
    else:
        files.npz(images, path)
    return found


def check(format: str, path: Path, clean: bool, *, force: bool = False) -> None:
    """What `export` refuses before anything is read: `clean` says whether a clean set is given."""
    choose("format", format, FORMATS)
    if format in NOISE and not clean:
        raise RecipeError(f"format {format} holds the noise, not the images; pass --clean SOURCE")
    if clean and format not in NOISE:
        raise RecipeError(f"option clean does not belong to format {format}; leave it out")
    if format in FOLDERS:
        folders.unused(path)
    else:
        artifact.free(path, force=force)
