"""`stkit poison --class-noise`: one noise a class, kept in a small file, and used again."""

from pathlib import Path
from typing import TYPE_CHECKING, Any

from stkit.cli import output, saving
from stkit.core.errors import ArtifactError

if TYPE_CHECKING:
    from stkit.data.images import Images
    from stkit.poisons.interface import Crafting


def again(
    crafting: "Crafting", expected: dict[str, Any], kept: Path, out: Path, *,
    precision: str, force: bool,
) -> dict[str, Any] | None:  # fmt: skip
    """The statistics of the poison put together as `out`; None where no noise of its is kept.

    A file that does not fit stays as it is, with a word about it.
    """
    from stkit.poisons import noise

    fixed = {"precision": crafting.runtime.precision} if precision != "auto" else {}
    statistics, runtime = None, crafting.runtime
    with runtime.together():
        if runtime.first and kept.exists():
            try:
                images = noise.again(kept, crafting.images, expected, fixed=fixed)
            except ArtifactError as error:
                output.note(f"note: {error}; the noise is made anew; remove it to keep that")
            else:
                saving.place(images.save, out, force=force)
                statistics = images.header["statistics"]
    shared: dict[str, Any] | None = runtime.shared(statistics)
    return shared


def keep(crafting: "Crafting", poisoned: "Images", kept: Path) -> None:
    """Write the noise of finished images to a file that is not there yet.

    They are not lost where that cannot be written.
    """
    from stkit.poisons import noise

    if crafting.runtime.first and not kept.exists():
        try:
            noise.write(kept, poisoned, crafting.images)
        except ArtifactError as error:
            output.note(f"note: {error}; the noise is not kept")
